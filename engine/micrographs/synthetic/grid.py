"""The periodic grid that every synthetic material is drawn on.

A voxel has the phase of its centre, centres lie at whole numbers. So the fraction and the correlation functions at
whole lags follow the formulas of the continuum exactly, with no error of resolution.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.micrographs.files import available_memory_bytes, side_text

WORKING_BYTES = 64
"""Memory taken per voxel while a material is drawn: complex fields and their transforms are the most."""

Labels = NDArray[np.uint8]


class Material(Protocol):
    """A synthetic material: its samples are a function of (its parameters, shape, seed) alone."""

    @property
    def phases(self) -> tuple[str, ...]:
        """Name of label 0, 1, ...; none where a sample is grey values."""

    def sample(self, shape: tuple[int, ...], seed: int) -> Labels:
        """One sample: labels (or grey values 0..255), (y, x) or (z, y, x), uint8, periodic."""


def check_grid(shape: Sequence[int], seed: int) -> tuple[int, ...]:
    """The shape as whole numbers.

    Raises:
        InputError: not two or three sides of at least 2 voxels, more than memory holds, or a seed that cannot be.
    """
    sides = tuple(int(side) for side in shape)
    if len(sides) not in (2, 3) or min(sides) < 2:
        raise InputError(f"shape: must be two (y, x) or three (z, y, x) sides of at least 2 voxels, not {sides}")
    needed, free = math.prod(sides) * WORKING_BYTES, available_memory_bytes()
    if needed > free:
        raise InputError(
            f"shape: {side_text(sides)} takes {needed / 2**30:.3g} GiB to draw and {free / 2**30:.3g} GiB of memory "
            "are free; ask for a smaller one"
        )
    if not 0 <= seed < 2**63:
        raise InputError(f"seed: must lie within [0, 2**63), not {seed}")
    return sides


def must_lie_within(name: str, value: float, low: float, high: float) -> None:
    """Raise InputError unless low < value < high."""
    if not low < value < high:
        raise InputError(f"{name}: must lie between {low:g} and {high:g} (ends excluded), not {value:g}")


def draw_body(
    labels: NDArray[Any],
    centre: NDArray[np.float64],
    reach: float,
    inside: Callable[[NDArray[np.float64]], NDArray[np.bool_]],
    label: int = 1,
) -> None:
    """Give the voxels of a body their label, wrapping around the borders; in place.

    Args:
        labels: periodic grid.
        centre: [d], voxels.
        reach: no point of the body is farther than this from the centre along any axis; below (side - 1) / 2.
        inside: offsets from the centre [..., d] -> which of them lie in the body [...].
        label: what to write.
    """
    starts = np.ceil(centre - reach).astype(int)
    stops = np.floor(centre + reach).astype(int) + 1
    axes = [np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)]
    offsets = np.stack(np.meshgrid(*(axis - c for axis, c in zip(axes, centre, strict=True)), indexing="ij"), axis=-1)
    where = np.ix_(*(axis % side for axis, side in zip(axes, labels.shape, strict=True)))
    labels[where] = np.where(inside(offsets), label, labels[where])


def ball_volume(radius: float, dimensions: int) -> float:
    """Area of a disk or volume of a ball."""
    return math.pi * radius**2 if dimensions == 2 else 4 / 3 * math.pi * radius**3


def ball_surface(radius: float, dimensions: int) -> float:
    """Circumference of a disk or surface of a ball."""
    return 2 * math.pi * radius if dimensions == 2 else 4 * math.pi * radius**2


def balls_overlap(distance: NDArray[Any] | float, radius: float, dimensions: int) -> NDArray[np.float64]:
    """Volume common to two equal balls (area common to two disks) whose centres are `distance` apart."""
    r = np.minimum(np.asarray(distance, dtype=np.float64), 2 * radius)
    if dimensions == 2:
        return np.asarray(2 * radius**2 * np.arccos(r / (2 * radius)) - r / 2 * np.sqrt(4 * radius**2 - r**2))
    x = r / (2 * radius)
    return np.asarray(4 / 3 * math.pi * radius**3 * (1 - 1.5 * x + 0.5 * x**3))
