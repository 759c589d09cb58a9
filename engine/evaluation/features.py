"""Features of images for distances between sets. Every result names its features: only equal names compare.

Three kinds: the Inception network of the published Frechet distances, from a file on disk; the denoiser of a bundle; a
fixed network of random filters, which needs nothing. The last two are not comparable with published numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.descriptors.gram import random_filters
from engine.errors import InputError
from engine.micrographs.crops import one_hot
from engine.micrographs.files import sha256_of

if TYPE_CHECKING:
    from engine.models.bundle import Bundle

IMAGES_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class FeatureExtractor:
    """A named map from images to vectors."""

    name: str
    comparable: bool
    """With published Frechet distances."""
    vectors: Callable[[Tensor], Tensor]
    """one-hot phases [B, K, H, W] -> [B, F]."""

    def __call__(self, images: NDArray[np.uint8], phases: int) -> NDArray[np.float64]:
        """Phase indices [N, H, W] -> features [N, F]."""
        parts = torch.from_numpy(np.ascontiguousarray(images)).split(IMAGES_AT_ONCE)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            found = [self.vectors(one_hot(part, phases)).double() for part in parts]
        return np.asarray(torch.cat(found).numpy())


def random_features(phases: int) -> FeatureExtractor:
    """Means over the image of rectified random filters (`engine.descriptors.gram.random_filters`)."""
    network = random_filters(phases)

    def vectors(images: Tensor) -> Tensor:
        return torch.cat([maps.mean(dim=(2, 3)) for maps in network.layers(images)], dim=1)

    return FeatureExtractor(name=network.name, comparable=False, vectors=vectors)


def denoiser_features(bundle: "Bundle") -> FeatureExtractor:
    """Means over the image of the deepest level of a bundle's denoiser, shown the clean latents at its first time."""
    step = bundle.factor * 2 ** (len(bundle.card.denoiser.multipliers) - 1)

    def vectors(images: Tensor) -> Tensor:
        h, w = (n // step * step for n in images.shape[-2:])
        latents = bundle.autoencoder.encode(images[..., :h, :w].to(bundle.device))
        time = torch.zeros(len(latents), device=latents.device)
        return bundle.denoiser.features(latents, time).mean(dim=(2, 3)).cpu()

    name = f"denoiser of the bundle {bundle.card.name} ({bundle.card.hash[:12]}), deepest level"
    return FeatureExtractor(name=name, comparable=False, vectors=vectors)


def inception_features(weights: Path) -> FeatureExtractor:
    """The 2,048 features of the Inception network of published Frechet distances, phases as evenly spaced grey levels.

    Args:
        weights: `inception-2015-12-05.pt`, the TorchScript file that NVIDIA publishes with StyleGAN (called as
            `network(uint8 [B, 3, H, W], return_features=True)`). Give only a file that you trust: it holds a program.

    Raises:
        InputError: no such file, or not a network that answers so.
    """
    if not weights.is_file():
        raise InputError(f"--inception {weights}: no such file; see docs/evaluation.md for which one is meant")
    try:
        network = torch.jit.load(str(weights), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        network(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), return_features=True)
    except Exception as error:  # torch raises a dozen unrelated types; all mean that the file is another one
        raise InputError(
            f"--inception {weights}: not the expected TorchScript network ({type(error).__name__})"
        ) from None

    def vectors(images: Tensor) -> Tensor:
        grey = images.argmax(dim=1, keepdim=True) * (255 / (images.shape[1] - 1))
        out: Tensor = network(grey.round().to(torch.uint8).expand(-1, 3, -1, -1), return_features=True)
        return out.flatten(1)

    return FeatureExtractor(
        name=f"Inception, {weights.name} {sha256_of(weights)[:12]}", comparable=True, vectors=vectors
    )
