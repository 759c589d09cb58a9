"""Pairs and blocks of neighbouring voxels: what surfaces, triple lines and Euler numbers are counted on."""

from itertools import combinations
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Field = TypeVar("Field", Tensor, NDArray[Any])


def neighbours(field: Field, axis: int, periodic: bool) -> tuple[Field, Field]:
    """Every voxel with the next one along an axis: two fields of one shape.

    Args:
        field: [..., *space], numpy or torch.
        axis: counted from the end, such as -1.
        periodic: the last voxel's neighbour is the first; otherwise there is one pair less than voxels.
    """
    if periodic:
        rolled = torch.roll(field, -1, axis) if isinstance(field, Tensor) else np.roll(field, -1, axis)
        return field, rolled
    n = field.shape[axis]
    first: list[slice] = [slice(None)] * field.ndim
    second = list(first)
    first[axis], second[axis] = slice(0, n - 1), slice(1, n)
    return field[tuple(first)], field[tuple(second)]


def squares(field: Field, axes: tuple[int, int], periodic: bool) -> tuple[Field, Field, Field, Field]:
    """The four voxels around every edge across two axes (in an image: around every vertex)."""
    low, high = neighbours(field, axes[0], periodic)
    a, b = neighbours(low, axes[1], periodic)
    c, d = neighbours(high, axes[1], periodic)
    return a, b, c, d


def axis_pairs(space_dims: int) -> list[tuple[int, int]]:
    """Pairs of axes, counted from the end: one in an image, three in a volume."""
    return list(combinations(range(-space_dims, 0), 2))
