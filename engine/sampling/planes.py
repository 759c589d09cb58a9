"""Volumes as stacks of planes.

Shapes: `B` volumes, `C` channels, `D H W` space along axes 0, 1, 2 (z, y, x).
"""

from torch import Tensor


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
