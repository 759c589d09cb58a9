"""The networks as the samplers want them: a plane denoiser and a codec between phases and latents.

Networks run on chunks of fixed size, the last one padded, in bfloat16 where the processor has it: so a plane's result
does not depend on what else is in the batch.

Shapes: `P` planes, `C` latent channels, `K` phases, `H W` pixels, `h w` latent pixels.
"""

import copy
import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from engine.models.bundle import Bundle
from engine.models.training import autocast

_Module = TypeVar("_Module", bound=nn.Module)

CHUNK_PIXELS = {"cpu": 16 * 16 * 16, "cuda": 1024 * 16 * 16}
"""Latent pixels that one network call works on: the sixteen planes of a 64-cubed volume on a CPU (its caches), far more
on a GPU."""


def chunk_planes(device: str, h: int, w: int) -> int:
    """Planes per network call."""
    return max(1, CHUNK_PIXELS[device.split(":")[0]] // (h * w))


def in_chunks(function: Callable[[Tensor], Tensor], planes: Tensor, chunk: int) -> Tensor:
    """Apply `function` to chunks of exactly `chunk` planes; the last is padded with zeros and cut back."""
    parts = []
    for start in range(0, planes.shape[0], chunk):
        part = planes[start : start + chunk]
        missing = chunk - part.shape[0]
        if missing:
            part = torch.cat([part, part.new_zeros(missing, *part.shape[1:])])
        parts.append(function(part)[: chunk - missing])
    return torch.cat(parts)


class Inference:
    """A bundle's networks, ready for sampling and guidance."""

    def __init__(self, bundle: Bundle) -> None:
        self.device, self.schedule, self.factor = bundle.device, bundle.schedule, bundle.factor
        reduced = not isinstance(autocast(bundle.device), torch.autocast)
        self.dtype = torch.float32 if reduced else torch.bfloat16
        self._denoiser = _cast(bundle.denoiser, self.dtype)
        self._autoencoder = _cast(bundle.autoencoder, self.dtype)
        self._predicts_v = bundle.card.denoiser.prediction == "v"

    @torch.no_grad()
    def denoise(self, planes: Tensor, abar: float) -> Tensor:
        """Clean estimate of noisy latent planes [P, C, h, w] float32 (v: Salimans & Ho 2022; epsilon: Ho et al.)."""
        chunk = chunk_planes(self.device, *planes.shape[-2:])
        time = torch.full((chunk,), self.schedule.time_of(abar), device=planes.device)
        predicted = in_chunks(lambda part: self._denoiser(part.to(self.dtype), time).float(), planes, chunk)
        a, s = math.sqrt(abar), math.sqrt(1 - abar)
        return a * planes - s * predicted if self._predicts_v else (planes - s * predicted) / a

    def decode(self, latents: Tensor) -> Tensor:
        """Latent planes [P, C, h, w] -> phase probabilities [P, K, H, W], float32; differentiable."""
        chunk = chunk_planes(self.device, *latents.shape[-2:])
        return in_chunks(lambda part: self._autoencoder.decode(part.to(self.dtype)).float(), latents, chunk)

    @torch.no_grad()
    def encode(self, probabilities: Tensor) -> Tensor:
        """Phase probabilities [P, K, H, W] -> normalised latents [P, C, h, w], float32."""
        h, w = (size // self.factor for size in probabilities.shape[-2:])
        chunk = chunk_planes(self.device, h, w)
        return in_chunks(lambda part: self._autoencoder.encode(part.to(self.dtype)).float(), probabilities, chunk)


def _cast(model: _Module, dtype: torch.dtype) -> _Module:
    return copy.deepcopy(model).to(dtype).eval().requires_grad_(False)
