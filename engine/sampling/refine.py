"""From a latent volume to phases at full resolution.

Planes are worked on so many at once, chosen from the free memory (`engine.memory`): the codec and the denoiser give a
plane the same result whatever its company, so that number changes nothing but the memory.

Shapes: `B` volumes, `C` latent channels, `K` phases, `P` planes, `d h w` latent space, `D H W` voxels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.sampling.multiplane import Noise, PlaneDenoiser

MARGIN = 2  # latent pixels around a plane that is decoded


class Codec(Protocol):
    """Between phase probabilities and normalised latents, plane by plane."""

    factor: int
    channels: int
    """C."""

    def encode(self, probabilities: Tensor) -> Tensor:
        """[P, K, H, W] -> [P, C, h, w]."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """[P, C, h, w] -> [P, K, H, W]."""
        ...


@dataclass(frozen=True, kw_only=True)
class Border:
    """How planes are worked on whose opposite sides join."""

    margin: int = 0
    """Latent pixels of the other side around each plane that is encoded, denoised or decoded; 0: the sides do not join
    and the networks see a border."""
    offset: bool = False
    """Each redraw lays its lattice of latents elsewhere, by a number of voxels drawn for each volume and axis. No face
    is special, and neither are the places where planes of latents stood before."""


OPEN = Border()


def stretch(volume: Tensor, axis: int, factor: int, correlation: Tensor | None = None) -> Tensor:
    """Interpolate a periodic latent volume along one axis only: [B, C, d, h, w] -> `factor` times the size there.

    Copying each plane over its slab, as published, throws away the resolution along the stacking axis. Linear weights
    between two planes lose variance half-way, and what is decoded there is too smooth, with too little of the minority
    phase. Spherical weights sin((1-s)a)/sin a and sin(s a)/sin a, a the angle whose cosine is the correlation of
    neighbouring planes, keep unit variance and make the correlation of two interpolated planes depend on their distance
    alone, so that the lattice of the latents leaves no rhythm.

    Args:
        correlation: [C] of latents one latent pixel apart; None interpolates linearly.
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


def decode_volume(
    latents: Tensor,
    codec: Codec,
    correlations: Tensor | None = None,
    *,
    margin: int = MARGIN,
    at_once: int | None = None,
) -> Tensor:
    """Decode along the three axes, latents interpolated between planes, and average the probabilities.

    Each plane is decoded with a margin of its other side (the volume is a torus), so that no voxel stands at the border
    of a decoded image.

    Args:
        latents: [B, C, d, h, w].
        correlations: [C], or [C, 3] where the axes differ, as for `stretch`.
        at_once: planes; None takes all.

    Returns:
        [B, K, D, H, W].
    """
    total: Tensor | None = None
    for axis in range(3):
        along = correlations[:, axis] if correlations is not None and correlations.ndim == 2 else correlations
        stretched = stretch(latents, axis, codec.factor, along)
        total = _add_planes(lambda planes, _: _decode(planes, codec, margin), stretched, axis, codec, at_once, total)
    assert total is not None
    return total.div_(3)


@torch.no_grad()
def redraw_planes(
    probabilities: Tensor,
    axis: int,
    codec: Codec,
    denoise: PlaneDenoiser,
    abar: float,
    noise: Noise,
    *,
    border: Border = OPEN,
    at_once: int | None = None,
) -> Tensor:
    """SDEdit (Meng et al. 2022) of every plane across one axis: encode, add noise, one clean estimate, decode.

    [B, K, D, H, W] -> [B, K, D, H, W].
    """
    return _redraw(probabilities, axis, codec, denoise, abar, noise, border, at_once, None)


@torch.no_grad()
def refine(
    probabilities: Tensor,
    codec: Codec,
    denoise: PlaneDenoiser,
    levels: list[float],
    noise: Noise,
    *,
    border: Border = OPEN,
    at_once: int | None = None,
) -> Tensor:
    """Passes of `redraw_planes` over the three axes, averaged; restores detail that decoding between planes smooths.

    Args:
        probabilities: [B, K, D, H, W].
        levels: alpha-bar of each pass; no level, no change. At 1 nothing is noised or denoised: a round of encoding and
            decoding, as MicroLad has five.
        border, at_once: as for `redraw_planes`.
    """
    for abar in levels:
        total: Tensor | None = None
        for axis in range(3):
            total = _redraw(probabilities, axis, codec, denoise, abar, noise, border, at_once, total)
        assert total is not None
        probabilities = total.div_(3)
    return probabilities


def _redraw(
    probabilities: Tensor,
    axis: int,
    codec: Codec,
    denoise: PlaneDenoiser,
    abar: float,
    noise: Noise,
    border: Border,
    at_once: int | None,
    total: Tensor | None,
) -> Tensor:
    """`redraw_planes`, added to what is there."""
    volumes, count = probabilities.shape[0], probabilities.shape[2 + axis]
    sides = [side for other, side in enumerate(probabilities.shape[2:]) if other != axis]
    offsets = torch.zeros(2, volumes, dtype=torch.long)
    if border.offset:
        offsets = torch.tensor([noise.integers(0, side) for side in sides])
    fresh: Tensor | None = None
    if abar < 1:
        fresh = noise((count, codec.channels, *(side // codec.factor for side in sides))).flatten(
            0, 1
        )  # [B*n, C, h, w]

    def redrawn(planes: Tensor, where: slice) -> Tensor:
        turns = offsets.repeat_interleave(count, dim=1)[:, where] if border.offset else None
        planes = planes if turns is None else _turned(planes, turns)
        latents = _encode(planes, codec, border.margin)
        if fresh is not None:
            noised = math.sqrt(abar) * latents + math.sqrt(1 - abar) * fresh[where]
            wide = denoise(_wrapped(noised, border.margin), abar, axis)
        else:
            wide = _wrapped(latents, border.margin)
        decoded = _cut(codec.decode(wide), border.margin * codec.factor)
        return decoded if turns is None else _turned(decoded, -turns)

    return _add_planes(redrawn, probabilities, axis, codec, at_once, total)


def _add_planes(
    function: Callable[[Tensor, slice], Tensor],
    volume: Tensor,
    axis: int,
    codec: Codec,
    at_once: int | None,
    total: Tensor | None,
) -> Tensor:
    """Apply `function` to the planes of volumes [B, C, D, H, W] across an axis, so many at once, and add the results
    up as volumes [B, K, D', H', W']; a total that is there is added to in place."""
    source = volume.movedim(2 + axis, 1)  # [B, n, C, h, w]
    volumes, count = source.shape[:2]
    planes = volumes * count
    for start in range(0, planes, at_once or planes):
        where = slice(start, min(start + (at_once or planes), planes))
        index = torch.arange(where.start, where.stop, device=volume.device)
        member, place = index // count, index % count
        found = function(source[member, place], where)
        if total is None:
            space = list(found.shape[2:])
            space.insert(axis, count)
            total = found.new_zeros(volumes, found.shape[1], *space)
        target = total.movedim(2 + axis, 1)
        target[member, place] += found
    assert total is not None
    return total


def _encode(planes: Tensor, codec: Codec, margin: int) -> Tensor:
    return _cut(codec.encode(_wrapped(planes, margin * codec.factor)), margin)


def _decode(latents: Tensor, codec: Codec, margin: int) -> Tensor:
    return _cut(codec.decode(_wrapped(latents, margin)), margin * codec.factor)


def _wrapped(planes: Tensor, margin: int) -> Tensor:
    """With a margin of the other side."""
    return F.pad(planes, (margin,) * 4, mode="circular") if margin else planes


def _cut(planes: Tensor, margin: int) -> Tensor:
    """Without the margin."""
    return planes[..., margin : planes.shape[-2] - margin, margin : planes.shape[-1] - margin]


def _turned(planes: Tensor, turns: Tensor) -> Tensor:
    """Each plane [P, K, H, W] rolled by numbers of its own, [2, P] pixels along its rows and columns."""
    count, channels, height, width = planes.shape
    turns = turns.to(planes.device)
    rows = (torch.arange(height, device=planes.device) - turns[0][:, None]) % height  # [P, H]
    columns = (torch.arange(width, device=planes.device) - turns[1][:, None]) % width  # [P, W]
    every = torch.arange(count, device=planes.device)[:, None, None, None]
    each = torch.arange(channels, device=planes.device)[None, :, None, None]
    return planes[every, each, rows[:, None, :, None], columns[:, None, None, :]]
