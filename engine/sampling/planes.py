"""Volumes as stacks of planes and lines.

Shapes: `B` volumes, `C` channels, `D H W` space along axes 0, 1, 2 (z, y, x).
"""

import torch
from torch import Tensor

AXES = (0, 1, 2)


def to_planes(volume: Tensor, axis: int) -> Tensor:
    """[B, C, D, H, W] -> the planes across `axis` as one batch [B*n, C, h, w], n the size along `axis`."""
    moved = volume.movedim(2 + axis, 1)  # [B, n, C, h, w]
    return moved.reshape(-1, *moved.shape[2:])


def to_volume(planes: Tensor, axis: int, volumes: int) -> Tensor:
    """Inverse of `to_planes`: [B*n, C, h, w] -> [B, C, D, H, W], contiguous.

    The layout matters: the last bits of a Fourier transform depend on the strides of its input, and those of a view on
    the size of the batch.
    """
    return planes.reshape(volumes, -1, *planes.shape[1:]).movedim(1, 2 + axis).contiguous()


def to_lines(volume: Tensor, axis: int) -> Tensor:
    """[B, C, D, H, W] -> the lines along `axis` as one batch [N, C, L], N = B D H W / L."""
    moved = volume.permute(_order(axis))  # [B, h, w, C, L]
    return moved.reshape(-1, *moved.shape[3:])


def lines_to_volume(lines: Tensor, axis: int, shape: torch.Size) -> Tensor:
    """Inverse of `to_lines`; contiguous, as of planes."""
    order = _order(axis)
    moved = lines.reshape([shape[dim] for dim in order])
    return moved.permute([order.index(dim) for dim in range(5)]).contiguous()


def _order(axis: int) -> list[int]:
    """Of the dimensions of a volume: batch, the axes across the lines, channels, the lines' own."""
    return [0, *(2 + other for other in AXES if other != axis), 1, 2 + axis]
