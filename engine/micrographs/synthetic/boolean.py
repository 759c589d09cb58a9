"""Overlapping spheres, the Boolean model: balls (disks in 2D) at the points of a Poisson process.

Everything about the space between them follows from one sentence: a test body misses all balls with probability
exp(-rho * volume of the body dilated by the radius), rho balls per volume (Torquato, Random Heterogeneous Materials,
2002, chapters 5 and 6; Chiu et al., Stochastic Geometry and its Applications, 2013, chapter 3).
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.micrographs.synthetic.grid import (
    Labels,
    ball_surface,
    ball_volume,
    balls_overlap,
    check_grid,
    draw_body,
    must_lie_within,
)


@dataclass(frozen=True, kw_only=True)
class OverlappingSpheres:
    """Balls of one radius that may overlap, in 3D; disks in 2D.

    In a periodic grid the formulas hold for lags up to the shortest side less the diameter.
    """

    phases: ClassVar[tuple[str, ...]] = ("matrix", "spheres")

    fraction: float = 0.4
    """Of the spheres, overlaps counted once: the expected value, single samples scatter about it."""
    radius: float = 6.0
    """In voxels."""

    def __post_init__(self) -> None:
        must_lie_within("fraction", self.fraction, 0, 1)
        must_lie_within("radius", self.radius, 0, math.inf)

    def sample(self, shape: tuple[int, ...], seed: int) -> Labels:
        """One sample, periodic.

        Raises:
            InputError: a shape or seed that cannot be, or a sphere that does not fit into the shape.
        """
        sides = check_grid(shape, seed)
        if 2 * self.radius >= min(sides) - 1:
            raise InputError(
                f"radius: a sphere must fit into the shape {sides}, so it must be below "
                f"{(min(sides) - 1) / 2:g} voxels, not {self.radius:g}"
            )
        generator = np.random.default_rng(seed)
        labels = np.zeros(sides, np.uint8)
        count = generator.poisson(self.density(len(sides)) * math.prod(sides))
        for centre in generator.uniform(size=(count, len(sides))) * sides:
            draw_body(labels, centre, self.radius, lambda offset: (offset**2).sum(axis=-1) <= self.radius**2)
        return labels

    def density(self, dimensions: int) -> float:
        """Spheres per voxel: fraction = 1 - exp(-density * ball volume)."""
        return -math.log1p(-self.fraction) / ball_volume(self.radius, dimensions)

    def matrix_s2(self, lags: NDArray[Any], dimensions: int) -> NDArray[np.float64]:
        """Probability that two points a lag apart both lie between the spheres."""
        union = 2 * ball_volume(self.radius, dimensions) - balls_overlap(lags, self.radius, dimensions)
        return np.exp(-self.density(dimensions) * union)

    def s2(self, lags: NDArray[Any], dimensions: int) -> NDArray[np.float64]:
        """Probability that two points a lag apart both lie in spheres."""
        return 2 * self.fraction - 1 + self.matrix_s2(lags, dimensions)

    def matrix_lineal_path(
        self, lengths: NDArray[Any], dimensions: int, *, spacing: float = 0.0
    ) -> NDArray[np.float64]:
        """Probability that a segment lies wholly between the spheres.

        Args:
            lengths: [R], voxels.
            dimensions: 2 or 3.
            spacing: 0 for the segment itself; 1 for voxel centres in a row, which is what can be counted on a grid
                and what `engine.descriptors.lineal_path` counts: a little more likely, since a sphere can pass
                between two centres.
        """
        lengths = np.asarray(lengths, dtype=np.float64)
        volume = ball_volume(self.radius, dimensions)
        # A ball moved along a line sweeps its cross-section; a row of balls adds to its first what each next one does
        # not share with the one before.
        swept = ball_volume(self.radius, 2) if dimensions == 3 else 2 * self.radius
        per_length = (volume - float(balls_overlap(spacing, self.radius, dimensions))) / spacing if spacing else swept
        return np.exp(-self.density(dimensions) * (volume + per_length * lengths))

    def surface_area(self, dimensions: int) -> float:
        """Interface per volume in 1/voxel (length per area in 2D): each sphere's surface outside the others."""
        return self.density(dimensions) * ball_surface(self.radius, dimensions) * (1 - self.fraction)
