"""Features of images for distances between sets. Every result names its features: only equal names compare.

Three kinds: the Inception network of the published Frechet distances, from a file of weights; the denoiser of a bundle;
a fixed network of random filters, which needs nothing. The last two are not comparable with published numbers.
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
from engine.evaluation.inception import load_inception
from engine.micrographs.crops import one_hot
from engine.micrographs.files import sha256_of

if TYPE_CHECKING:
    from engine.models.bundle import Bundle

IMAGES_AT_ONCE = 32
PUBLISHED = "6726825d"
"""First digits of the SHA-256 of the published Inception weights, which its file names carry."""


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
    step = bundle.card.side_step

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
        weights: the file of weights (`engine.evaluation.inception`). Only the published one makes distances comparable;
            it is known by its hash, and weights of the right shapes with another hash are named as such.

    Raises:
        InputError: no such file, or one with other contents.
    """
    network = load_inception(weights)
    digest = sha256_of(weights)
    published = digest.startswith(PUBLISHED)

    def vectors(images: Tensor) -> Tensor:
        grey = images.argmax(dim=1, keepdim=True) * (255 / (images.shape[1] - 1))
        out: Tensor = network(grey.round().to(torch.uint8).expand(-1, 3, -1, -1))
        return out

    kind = "Inception" if published else "Inception with weights that are not the published ones"
    return FeatureExtractor(name=f"{kind}, {weights.name} {digest[:12]}", comparable=published, vectors=vectors)
