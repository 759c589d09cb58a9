"""From a latent volume to phases at full resolution.

Shapes: `B` volumes, `C` latent channels, `K` phases, `d h w` latent space, `D H W` voxels (factor times d h w).
"""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.sampling.multiplane import Noise, PlaneDenoiser
from engine.sampling.planes import to_planes, to_volume


class Codec(Protocol):
    """Between phase probabilities and normalised latents, plane by plane."""

    factor: int

    def encode(self, probabilities: Tensor) -> Tensor:
        """[P, K, H, W] -> [P, C, h, w]."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """[P, C, h, w] -> [P, K, H, W]."""
        ...


def stretch(volume: Tensor, axis: int, factor: int, correlation: Tensor | None = None) -> Tensor:
    """Interpolate a latent volume linearly along one axis only: [B, C, d, h, w] -> `factor` times the size there.

    Copying each plane over its slab, as published, throws away the resolution along the stacking axis. A plane half-way
    between two has less variance than either, though, and decodes too smooth, with too little of the minority phase;
    given the correlation of neighbouring latent pixels, each plane is scaled back to unit variance.

    Args:
        correlation: [C] autocovariance of the normalised latents at distance 1; None leaves the variance as it falls.
    """
    moved = volume.movedim(2 + axis, -1)
    flat = moved.reshape(1, -1, moved.shape[-1])
    longer = F.interpolate(flat, scale_factor=float(factor), mode="linear", align_corners=False)
    longer = longer.reshape(*moved.shape[:-1], -1).movedim(-1, 2 + axis)
    if correlation is None:
        return longer
    planes = volume.shape[2 + axis]
    position = ((torch.arange(planes * factor, device=volume.device) + 0.5) / factor - 0.5).clamp(0, planes - 1)
    share = position - position.floor()  # of the farther plane; 0 beyond the outermost planes
    variance = share**2 + (1 - share) ** 2 + 2 * share * (1 - share) * correlation[:, None]  # [C, n]
    shape = [1, -1, 1, 1, 1]
    shape[2 + axis] = planes * factor
    return longer / variance.sqrt().reshape([volume.shape[1] if side == -1 else side for side in shape])


def decode_volume(latents: Tensor, codec: Codec, correlation: Tensor | None = None) -> Tensor:
    """Decode along the three axes, latents interpolated between planes, and average the probabilities.

    [B, C, d, h, w] -> [B, K, D, H, W]; `correlation` as for `stretch`.
    """
    out: Tensor | None = None
    for axis in range(3):
        planes = to_planes(stretch(latents, axis, codec.factor, correlation), axis)
        decoded = to_volume(codec.decode(planes), axis, latents.shape[0])
        out = decoded if out is None else out + decoded
    assert out is not None
    return out / 3


@torch.no_grad()
def redraw_planes(
    probabilities: Tensor, axis: int, codec: Codec, denoise: PlaneDenoiser, abar: float, noise: Noise
) -> Tensor:
    """SDEdit (Meng et al. 2022) of every plane across one axis: encode, add noise, one clean estimate, decode.

    [B, K, D, H, W] -> [B, K, D, H, W].
    """
    volumes = probabilities.shape[0]
    latents = codec.encode(to_planes(probabilities, axis))
    fresh = noise((latents.shape[0] // volumes, *latents.shape[1:])).flatten(0, 1)
    clean = denoise(math.sqrt(abar) * latents + math.sqrt(1 - abar) * fresh, abar)
    return to_volume(codec.decode(clean), axis, volumes)


def refine(probabilities: Tensor, codec: Codec, denoise: PlaneDenoiser, levels: list[float], noise: Noise) -> Tensor:
    """Passes of `redraw_planes` over the three axes, averaged; restores detail that decoding between planes smooths.

    Args:
        probabilities: [B, K, D, H, W].
        levels: alpha-bar of each pass; no level, no change.
    """
    for abar in levels:
        redrawn = [redraw_planes(probabilities, axis, codec, denoise, abar, noise) for axis in range(3)]
        probabilities = (redrawn[0] + redrawn[1] + redrawn[2]) / 3
    return probabilities
