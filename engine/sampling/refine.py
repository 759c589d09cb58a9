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

MARGIN = 2  # latent pixels around a plane that is decoded


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
    """Interpolate a periodic latent volume along one axis only: [B, C, d, h, w] -> `factor` times the size there.

    Copying each plane over its slab, as published, throws away the resolution along the stacking axis. Linear weights
    between two planes lose variance half-way, and what is decoded there is too smooth, with too little of the minority
    phase. Spherical weights sin((1-s)a)/sin a and sin(s a)/sin a, a the angle whose cosine is the correlation of
    neighbouring planes, keep unit variance and make the correlation of two interpolated planes depend on their distance
    alone, so that the lattice of the latents leaves no rhythm.

    Args:
        correlation: [C] autocovariance of the normalised latents at distance 1; None interpolates linearly.
    """
    planes = volume.shape[2 + axis]
    position = (torch.arange(planes * factor, device=volume.device) + 0.5) / factor - 0.5
    low = position.floor()
    share = (position - low)[None]  # of the farther plane, [1, n]
    if correlation is None:
        near, far = 1 - share, share
    else:
        angle = correlation.clamp(-0.99, 0.99).arccos()[:, None]
        near, far = ((1 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin()
    shape = [1, -1, 1, 1, 1]
    shape[2 + axis] = planes * factor
    shape[1] = near.shape[0]
    index = low.long() % planes
    first, second = volume.index_select(2 + axis, index), volume.index_select(2 + axis, (index + 1) % planes)
    return first * near.reshape(shape) + second * far.reshape(shape)


def decode_volume(latents: Tensor, codec: Codec, correlations: Tensor | None = None) -> Tensor:
    """Decode along the three axes, latents interpolated between planes, and average the probabilities.

    Each plane is decoded with a margin of its other side (the volume is a torus), so that no voxel stands at the border
    of a decoded image.

    [B, C, d, h, w] -> [B, K, D, H, W]; `correlations` [C], or [C, 3] where the axes differ, as for `stretch`.
    """
    out: Tensor | None = None
    for axis in range(3):
        along = correlations[:, axis] if correlations is not None and correlations.ndim == 2 else correlations
        planes = to_planes(stretch(latents, axis, codec.factor, along), axis)
        wide = codec.decode(F.pad(planes, (MARGIN,) * 4, mode="circular"))
        cut = slice(MARGIN * codec.factor, -MARGIN * codec.factor)
        decoded = to_volume(wide[..., cut, cut], axis, latents.shape[0])
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
    clean = denoise(math.sqrt(abar) * latents + math.sqrt(1 - abar) * fresh, abar, axis)
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
