"""Grains: cells of a Voronoi diagram and of a power diagram with given cell sizes.

Labels are 0 in the grains and 1 on their boundaries, as in the alloy images of Lee and Yun.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.micrographs.synthetic.grid import Labels, check_grid, must_lie_within

LLOYD_ROUNDS = 8
"""First rounds of the fit, in which seeds move to the middle of their cells: grains become compact, as relaxed ones
are."""
PLACES = 16
"""Random places from which a new seed takes the one with the most room."""
COARSE_ROUNDS, FINE_ROUNDS = 40, 20
"""Rounds that fit weights to sizes, in 3D first on every other voxel of each axis (eight times faster), then on all."""


@dataclass(frozen=True, kw_only=True)
class VoronoiGrains:
    """Poisson-Voronoi tessellation: cells of the points of a Poisson process."""

    phases: ClassVar[tuple[str, ...]] = ("grain", "boundary")

    diameter: float = 16.0
    """Of the disk (ball) as large as the mean grain, in voxels."""
    boundary: float = 1.5
    """Thickness of the boundaries in voxels."""

    def __post_init__(self) -> None:
        must_lie_within("diameter", self.diameter, 0, math.inf)
        must_lie_within("boundary", self.boundary, 0, math.inf)

    def sample(self, shape: tuple[int, ...], seed: int) -> Labels:
        """One sample, periodic.

        Raises:
            InputError: a shape or seed that cannot be.
        """
        return self.tessellation(shape, seed).boundaries(self.boundary)

    def tessellation(self, shape: tuple[int, ...], seed: int) -> "Tessellation":
        """The grains themselves."""
        sides = check_grid(shape, seed)
        generator = np.random.default_rng(seed)
        count = max(2, generator.poisson(self.density(len(sides)) * math.prod(sides)))
        return tessellate(generator.uniform(size=(count, len(sides))) * sides, np.zeros(count), sides)

    def density(self, dimensions: int) -> float:
        """Grains per voxel."""
        return 1 / ball_size(self.diameter, dimensions)

    def boundary_density(self, dimensions: int) -> float:
        """Boundary per volume in 1/voxel: length per area 2 sqrt(rho) in 2D, area per volume
        (256 pi / 3)^(1/3) Gamma(5/3) rho^(1/3) / 2 in 3D, a face counted once (Meijering 1953; Miles 1972)."""
        density = self.density(dimensions)
        if dimensions == 2:
            return 2 * math.sqrt(density)
        return float((256 * math.pi / 3) ** (1 / 3) * math.gamma(5 / 3) * density ** (1 / 3) / 2)


@dataclass(frozen=True, kw_only=True)
class SizedGrains:
    """Grains of several size classes, each with its share of the volume: the alloy of Lee and Yun.

    Sizes are drawn by their eqs. 25 and 26 (the probability of a class is its share over its grain size) and the
    power diagram is fitted to them (Bourne et al., Phil. Mag. 100, 2677, 2020); theirs takes the diagram of packed
    circles, whose cells have the sizes roughly. They speak of three types of grain and list five classes, used here.
    """

    phases: ClassVar[tuple[str, ...]] = ("grain", "boundary")

    diameter: float = 16.0
    """Of the disk (ball) as large as the mean grain, in voxels."""
    ratios: tuple[float, ...] = (1.0, 2.0, 2.5, 3.0, 4.0)
    """Diameters of the classes relative to each other."""
    shares: tuple[float, ...] = (0.15, 0.2, 0.3, 0.2, 0.15)
    """Of the volume, by class; they sum to 1."""
    boundary: float = 1.5
    """Thickness of the boundaries in voxels."""

    def __post_init__(self) -> None:
        must_lie_within("diameter", self.diameter, 0, math.inf)
        must_lie_within("boundary", self.boundary, 0, math.inf)
        if len(self.ratios) != len(self.shares) or min(self.ratios) <= 0 or min(self.shares) <= 0:
            raise InputError("ratios, shares: must be as many of one as of the other, all positive")
        if abs(sum(self.shares) - 1) > 1e-6:
            raise InputError(f"shares: must sum to 1, not {sum(self.shares):g}")

    def sample(self, shape: tuple[int, ...], seed: int) -> Labels:
        """One sample, periodic.

        Raises:
            InputError: a shape or seed that cannot be.
        """
        return self.tessellation(shape, seed).boundaries(self.boundary)

    def class_volumes(self, dimensions: int) -> NDArray[np.float64]:
        """Grain volume (area) of each class in voxels; the mean over grains is that of `diameter`."""
        relative = np.asarray(self.ratios) ** dimensions
        return np.asarray(relative / (self.probabilities(dimensions) @ relative) * ball_size(self.diameter, dimensions))

    def probabilities(self, dimensions: int) -> NDArray[np.float64]:
        """Share of the grains, by number, in each class (eqs. 25 and 26)."""
        number = np.asarray(self.shares) / np.asarray(self.ratios) ** dimensions
        return np.asarray(number / number.sum())

    def drawn_volumes(self, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float64]:
        """Volumes of the grains of one sample: drawn until the shape is full, then scaled to fill it exactly."""
        total, volumes = math.prod(shape), self.class_volumes(len(shape))
        most = 2 + math.ceil(total / volumes.min())  # more grains than fit
        chosen = volumes[generator.choice(len(volumes), size=most, p=self.probabilities(len(shape)))]
        filled = np.cumsum(chosen)
        chosen = chosen[: max(2, 1 + int(np.argmin(np.abs(filled - total))))]
        return np.asarray(chosen * total / chosen.sum())

    def tessellation(self, shape: tuple[int, ...], seed: int) -> "Tessellation":
        """The grains themselves."""
        sides = check_grid(shape, seed)
        generator = np.random.default_rng(seed)
        volumes = self.drawn_volumes(sides, generator)
        return fit_sizes(_spread_seeds(volumes, sides, generator), volumes, sides)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tessellation:
    """A power diagram on the periodic grid: a voxel belongs to the seed of least |x - seed|^2 - weight."""

    grains: NDArray[np.int32]
    """Number of the grain of each voxel."""
    to_boundary: NDArray[np.float32]
    """Distance of each voxel to the plane between its grain and the next nearest seed, in voxels."""
    seeds: NDArray[np.float64]
    """[count, d], voxels."""
    weights: NDArray[np.float64]
    """[count], voxels squared; 0 for a Voronoi diagram."""

    @property
    def volumes(self) -> NDArray[np.int64]:
        """Voxels of each grain."""
        return np.bincount(self.grains.ravel(), minlength=len(self.seeds))

    def boundaries(self, thickness: float) -> Labels:
        """1 within half a thickness of a boundary, 0 elsewhere."""
        return np.asarray(self.to_boundary < thickness / 2, dtype=np.uint8)


def ball_size(diameter: float, dimensions: int) -> float:
    """Area of the disk, volume of the ball."""
    return math.pi / 4 * diameter**2 if dimensions == 2 else math.pi / 6 * diameter**3


def tessellate(seeds: NDArray[np.float64], weights: NDArray[np.float64], shape: tuple[int, ...]) -> Tessellation:
    """Power diagram of seeds in a periodic box.

    A weight becomes a coordinate of its own, sqrt(largest weight - weight), so that a nearest-neighbour tree finds
    the cells (Aurenhammer 1987).
    """
    lifted, points, owners = _lift(seeds, weights, shape)
    grid = _grid(shape, 1)
    distances, nearest = lifted.query(np.column_stack([grid, np.zeros(len(grid))]), k=2)
    first, second = points[nearest[:, 0]], points[nearest[:, 1]]
    between = np.maximum(np.linalg.norm(first - second, axis=1), 1e-9)
    gap = (distances[:, 1] ** 2 - distances[:, 0] ** 2) / (2 * between)
    return Tessellation(
        grains=owners[nearest[:, 0]].reshape(shape).astype(np.int32),
        to_boundary=gap.reshape(shape).astype(np.float32),
        seeds=seeds,
        weights=weights,
    )


def fit_sizes(seeds: NDArray[np.float64], volumes: NDArray[np.float64], shape: tuple[int, ...]) -> Tessellation:
    """Power diagram whose cells have the given volumes (sum = number of voxels) to about 1 %, small ones to 3 voxels.

    Moving a weight by w moves every face of the cell by w / (2 * distance of the seeds), so a cell of radius r grows
    by about pi/2 w in 2D and pi r w in 3D: a Newton step with the diagonal alone, at half length.
    """
    dimensions = len(shape)
    radius = _radii(volumes, dimensions)
    growth = np.full_like(radius, math.pi / 2) if dimensions == 2 else math.pi * radius
    weights = radius**2
    for turn in range(COARSE_ROUNDS + FINE_ROUNDS):
        stride = 2 if dimensions == 3 and turn < COARSE_ROUNDS else 1
        points = _grid(shape, stride)
        tree, _, owners = _lift(seeds, weights, shape)
        owner = owners[tree.query(np.column_stack([points, np.zeros(len(points))]))[1]]
        missing = volumes - np.bincount(owner, minlength=len(seeds)) * (math.prod(shape) / len(points))
        if stride == 1 and (np.abs(missing) <= np.maximum(0.01 * volumes, 1)).all():
            break
        if turn < LLOYD_ROUNDS:
            seeds = _middles(points, owner, seeds, shape)
        weights = weights + 0.5 * missing / growth
    return tessellate(seeds, weights, shape)


def _radii(volumes: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(volumes / math.pi) if dimensions == 2 else (3 * volumes / (4 * math.pi)) ** (1 / 3))


def _spread_seeds(
    volumes: NDArray[np.float64], shape: tuple[int, ...], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Seeds with room about them, large grains first: of some random places each takes the one with the most room
    (two seeds close together would leave one of them no cell)."""
    box, radii = np.asarray(shape, dtype=np.float64), _radii(volumes, len(shape))
    seeds = np.zeros((len(volumes), len(shape)))
    order = np.argsort(-radii, kind="stable")
    for done, grain in enumerate(order):
        places = generator.uniform(size=(PLACES, len(shape))) * box
        offset = places[:, None] - seeds[order[:done]]
        offset -= box * np.round(offset / box)
        room = np.linalg.norm(offset, axis=-1) - radii[order[:done]]
        seeds[grain] = places[np.argmax(room.min(axis=1, initial=np.inf))]
    return seeds


def _lift(seeds: NDArray[np.float64], weights: NDArray[np.float64], shape: tuple[int, ...]) -> Any:
    """Tree of the seeds and their periodic images with the weight as a further coordinate; their points; whose."""
    from scipy.spatial import cKDTree

    box = np.asarray(shape, dtype=np.float64)
    height = np.sqrt(weights.max() - weights)
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * len(shape), indexing="ij"), axis=-1).reshape(-1, len(shape))
    points = (seeds[None] + shifts[:, None] * box).reshape(-1, len(shape))
    owners = np.tile(np.arange(len(seeds)), len(shifts))
    near = ((points > -0.75 * box) & (points < 1.75 * box)).all(axis=1)  # farther images own no voxel
    points, owners = points[near], owners[near]
    return cKDTree(np.column_stack([points, height[owners]])), points, owners


def _grid(shape: tuple[int, ...], stride: int) -> NDArray[np.int64]:
    """Voxel centres [points, d], every `stride`-th along each axis."""
    axes = np.meshgrid(*(np.arange(0, side, stride) for side in shape), indexing="ij")
    return np.stack(axes, axis=-1).reshape(-1, len(shape))


def _middles(
    points: NDArray[np.int64], owner: NDArray[Any], seeds: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Middle of each cell, found about its seed so that cells may lie across a border; an empty cell keeps its seed."""
    box = np.asarray(shape, dtype=np.float64)
    offset = points - seeds[owner]
    offset -= box * np.round(offset / box)
    count = np.maximum(np.bincount(owner, minlength=len(seeds)), 1)
    moved = [np.bincount(owner, weights=offset[:, axis], minlength=len(seeds)) / count for axis in range(len(shape))]
    return np.asarray((seeds + np.stack(moved, axis=1)) % box)
