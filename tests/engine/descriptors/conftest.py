"""The Boolean model of overlapping spheres: random volumes whose statistics are known exactly, voxels included."""

from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True)
class BooleanModel:
    """Spheres of one radius at Poisson points of a given density; the phase is what no sphere covers.

    The probability that a set of voxel centres is uncovered is exp(-density * volume of the union of spheres
    around them), so the formulas hold on the voxel grid without any discretisation error.
    """

    radius: float
    density: float
    masks: np.ndarray  # [count, n, n, n] bool

    @property
    def sphere(self) -> float:
        return 4 / 3 * np.pi * self.radius**3

    def union_of_two(self, distance: np.ndarray) -> np.ndarray:
        x = np.minimum(distance / (2 * self.radius), 1.0)
        return self.sphere * (1 + 1.5 * x - 0.5 * x**3)

    def s2(self, distance: np.ndarray) -> np.ndarray:
        return np.exp(-self.density * self.union_of_two(np.asarray(distance, dtype=float)))

    def lineal_path(self, r: np.ndarray) -> np.ndarray:
        """r + 1 spheres in a row, one voxel apart: each adds what the last one does not cover."""
        step = self.union_of_two(np.float64(1.0)) - self.sphere
        return np.exp(-self.density * (self.sphere + r * step))


@pytest.fixture(scope="session")
def boolean_model() -> BooleanModel:
    radius, side, count = 5.0, 40, 32
    density = np.log(2) / (4 / 3 * np.pi * radius**3)  # half of the space is uncovered
    generator = np.random.default_rng(0)
    masks = np.ones((count, side, side, side), dtype=bool)
    grid = np.arange(side)
    for mask in masks:
        # centres outside the cube reach in: the model is stationary up to the border
        number = generator.poisson(density * (side + 2 * radius) ** 3)
        for centre in generator.uniform(-radius, side + radius, size=(number, 3)):
            near = [grid[np.abs(grid - c) < radius] for c in centre]
            z, y, x = (axis - c for axis, c in zip(np.ix_(*near), centre, strict=True))
            mask[np.ix_(*near)] &= z**2 + y**2 + x**2 >= radius**2
    return BooleanModel(radius=radius, density=float(density), masks=masks)


def assert_within_standard_errors(samples: np.ndarray, exact: np.ndarray, allowed: float = 3.0) -> None:
    """The mean of independent samples [count, ...] lies within `allowed` standard errors of `exact`."""
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    assert np.all(error > 0)
    distance = np.abs(samples.mean(axis=0) - exact) / error
    assert distance.max() <= allowed, f"up to {distance.max():.2f} standard errors off"


@pytest.fixture(scope="session")
def within_standard_errors():
    return assert_within_standard_errors
