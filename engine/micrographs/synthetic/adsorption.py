"""Random sequential adsorption: bodies are dropped at random and stay where they touch no other.

One kind of body does for all: the ball (length 0) and the fibre with round ends, a segment dilated by a radius.
Disks reach a fraction of .5 in this way. Fibres of several directions jam far below: those that find no place are
dropped all the same and every fibre that touches another is pushed away from it until none does (as in the
force-biased packing of Altendorf and Jeulin, Phys. Rev. E 83, 041804, 2011), directions kept.
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

DISK_TRIES = 200_000
"""Drops before a disk counts as having no place; near jamming almost all drops fail."""
FIBRE_TRIES = 1_000
"""Drops before a fibre is put where it has to push others away."""
MOST_DROPS = 512
"""Drops that are tried in one call at most; of them the first that is free counts."""
PUSHES = 3_000
"""Rounds of pushing before a fraction counts as out of reach; .35 of the default fibres takes some tens."""


@dataclass(frozen=True, kw_only=True)
class Disks:
    """Disks that do not overlap, in 2D; in 3D the continuous fibres along x whose section they are.

    The fibre composites of Lee and Yun (fraction .35). Jamming sets in near a fraction of .547.
    """

    phases: ClassVar[tuple[str, ...]] = ("matrix", "fibre")

    fraction: float = 0.35
    """Rounded to a whole number of disks."""
    radius: float = 5.0
    """In voxels."""
    gap: float = 1.0
    """Least distance between two surfaces, in voxels; from 1 on, two disks never share a voxel face."""

    def __post_init__(self) -> None:
        _check_body(self.fraction, self.radius, self.gap)

    def sample(self, shape: tuple[int, ...], seed: int) -> Labels:
        """One sample, periodic.

        Raises:
            InputError: a shape or seed that cannot be, a disk that does not fit, or a fraction out of reach.
        """
        sides = check_grid(shape, seed)
        section = sides[:2] if len(sides) == 3 else sides
        generator = np.random.default_rng(seed)
        count = self.count(section)
        bodies = _Bodies(np.zeros((count, 2)), 0.0, self.radius, self.gap, section)
        centres, placed = bodies.adsorb(generator, DISK_TRIES)
        if placed < count:
            reached = placed * ball_volume(self.radius, 2) / math.prod(section)
            raise InputError(
                f"fraction: {self.fraction:g} is out of reach of random sequential adsorption here: at {reached:.3f} "
                f"{DISK_TRIES} drops found no place; ask for less, or for a smaller gap"
            )
        labels = np.zeros(section, np.uint8)
        for centre in centres:
            draw_body(labels, centre, self.radius, lambda offset: (offset**2).sum(axis=-1) <= self.radius**2)
        return labels if len(sides) == 2 else np.repeat(labels[:, :, None], sides[2], axis=2)

    def count(self, section: tuple[int, ...]) -> int:
        """Number of disks in a section (of a 3D shape: z, y)."""
        return _count(self.fraction, ball_volume(self.radius, 2), section)

    def exact_fraction(self, section: tuple[int, ...]) -> float:
        """What the fraction is after rounding: the expected value of the voxels' fraction."""
        return self.count(section) * ball_volume(self.radius, 2) / math.prod(section)

    def lineal_path(self, lengths: NDArray[Any], section: tuple[int, ...]) -> NDArray[np.float64]:
        """Probability that a segment within the section lies in one disk, thus in the phase (disks are convex and do
        not touch); exact for rows of voxel centres too where the gap is 1 or more."""
        return self.count(section) * balls_overlap(lengths, self.radius, 2) / math.prod(section)

    def surface_area(self, section: tuple[int, ...]) -> float:
        """Circumference per area in 1/voxel: in 3D the interface per volume of the fibres."""
        return self.count(section) * ball_surface(self.radius, 2) / math.prod(section)


@dataclass(frozen=True, kw_only=True)
class Fibres:
    """Straight fibres with round ends that do not overlap, in 3D or 2D, with an orientation distribution.

    Directions are those of a normal vector that is `alignment` times as wide along x as across (angular central
    Gaussian; for short fibres in a viscous flow it is Jeffery's solution: Montgomery-Smith et al. 2011). Each fibre
    keeps its direction until it has a place, so that crowding does not change the distribution.
    """

    phases: ClassVar[tuple[str, ...]] = ("matrix", "fibre")

    fraction: float = 0.35
    """Rounded to a whole number of fibres."""
    radius: float = 2.5
    """In voxels."""
    length: float = 15.0
    """Of the straight part, in voxels; the round ends add the diameter. 0 for balls."""
    alignment: float = 8.0
    """1 for directions without preference; the larger, the closer to x."""
    gap: float = 0.0
    """Least distance between two surfaces, in voxels."""

    def __post_init__(self) -> None:
        _check_body(self.fraction, self.radius, self.gap)
        must_lie_within("alignment", self.alignment, 0, math.inf)
        if not 0 <= self.length < math.inf:
            raise InputError(f"length: must be 0 or more, not {self.length:g}")

    def sample(self, shape: tuple[int, ...], seed: int) -> Labels:
        """One sample, periodic.

        Raises:
            InputError: a shape or seed that cannot be, a fibre that does not fit, or a fraction out of reach.
        """
        sides = check_grid(shape, seed)
        generator = np.random.default_rng(seed)
        directions = self.directions(self.count(sides), len(sides), generator)
        bodies = _Bodies(directions, self.length, self.radius, self.gap, sides)
        centres, placed = bodies.adsorb(generator, FIBRE_TRIES)
        if placed < len(centres) and not bodies.push_apart(centres):
            raise InputError(
                f"fraction: {self.fraction:g} of these fibres still touch after {PUSHES} rounds of pushing; ask for "
                "less, a smaller gap, shorter fibres or more alignment"
            )
        labels = np.zeros(sides, np.uint8)
        half = self.length / 2
        for centre, direction in zip(centres, directions, strict=True):

            def inside(offset: NDArray[np.float64], along: NDArray[np.float64] = direction) -> NDArray[np.bool_]:
                nearest = np.clip(offset @ along, -half, half)[..., None] * along
                return np.asarray(((offset - nearest) ** 2).sum(axis=-1) <= self.radius**2)

            draw_body(labels, centre, half + self.radius, inside)
        return labels

    def directions(self, count: int, dimensions: int, generator: np.random.Generator) -> NDArray[np.float64]:
        """Unit vectors [count, dimensions] in array order, x last."""
        vectors = generator.normal(size=(count, dimensions))
        vectors[:, -1] *= self.alignment
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def orientation_tensor(self, dimensions: int) -> NDArray[np.float64]:
        """Expected p p^T of the directions p, [dimensions, dimensions], diagonal, trace 1.

        In 2D A_xx = alignment / (1 + alignment); in 3D by Carlson's integral R_D.
        """
        if dimensions == 2:
            along = self.alignment / (1 + self.alignment)
        else:
            from scipy.special import elliprd

            precision = self.alignment**-2  # 1 / variance along x; 1 across
            along = float(math.sqrt(precision) * elliprd(1, 1, precision) / 3)
        across = (1 - along) / (dimensions - 1)
        return np.diag([across] * (dimensions - 1) + [along])

    def count(self, shape: tuple[int, ...]) -> int:
        """Number of fibres."""
        return _count(self.fraction, self.body_volume(len(shape)), shape)

    def body_volume(self, dimensions: int) -> float:
        """Volume (area) of one fibre."""
        section = 2 * self.radius if dimensions == 2 else ball_volume(self.radius, 2)
        return ball_volume(self.radius, dimensions) + section * self.length

    def exact_fraction(self, shape: tuple[int, ...]) -> float:
        """What the fraction is after rounding: the expected value of the voxels' fraction."""
        return self.count(shape) * self.body_volume(len(shape)) / math.prod(shape)

    def surface_area(self, shape: tuple[int, ...]) -> float:
        """Interface per volume (length per area) in 1/voxel."""
        sides = 2 * self.length if len(shape) == 2 else 2 * math.pi * self.radius * self.length
        return self.count(shape) * (ball_surface(self.radius, len(shape)) + sides) / math.prod(shape)


def nearest_vector(
    offset: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64], length: float
) -> NDArray[np.float64]:
    """Shortest vector from the second segment to the first, both of one length.

    The squared distance is convex in the two positions along the segments, so its least value lies in the interior
    or on one of the four edges of the square of positions: all five are tried.

    Args:
        offset: [..., d] from the middle of the second to that of the first.
        first, second: [..., d] unit vectors.
        length: of both; 0 for points.

    Returns:
        [..., d].
    """
    if not length:
        return offset
    half = length / 2
    cosine = (first * second).sum(axis=-1)
    a, b = -(offset * first).sum(axis=-1), (offset * second).sum(axis=-1)
    sine_squared = 1 - cosine**2
    safe = np.where(sine_squared > 1e-12, sine_squared, 1.0)  # parallel segments are nearest at an end of one
    s, t = (a + b * cosine) / safe, (b + a * cosine) / safe
    within = (sine_squared > 1e-12) & (np.abs(s) <= half) & (np.abs(t) <= half)
    positions = [(np.clip(s, -half, half), np.clip(t, -half, half), within)]
    for end in (-half, half):
        edge = np.full_like(cosine, end)
        positions.append((edge, np.clip(b + end * cosine, -half, half), True))
        positions.append((np.clip(a + end * cosine, -half, half), edge, True))
    best, least = offset, np.full_like(cosine, np.inf)
    for s, t, valid in positions:
        vector = offset + s[..., None] * first - t[..., None] * second
        squared = np.where(valid, (vector**2).sum(axis=-1), np.inf)
        best = np.where((squared < least)[..., None], vector, best)
        least = np.minimum(squared, least)
    return best


@dataclass(frozen=True)
class _Bodies:
    """Bodies of one shape in a periodic box, which must keep `2 * radius + gap` between their axes."""

    directions: NDArray[np.float64]  # [count, d]
    length: float
    radius: float
    gap: float
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.reach > min(self.shape) / 2:  # then only the nearest periodic image is within reach
            raise InputError(
                f"length and radius: a body and its gap take {self.reach:g} voxels, which must be at most half of the "
                f"shortest side ({min(self.shape) / 2:g}); make the bodies smaller or the shape larger"
            )

    @property
    def apart(self) -> float:
        return 2 * self.radius + self.gap

    @property
    def reach(self) -> float:
        return self.length + self.apart

    def vectors(self, offset: NDArray[np.float64], i: NDArray[Any], j: NDArray[Any]) -> NDArray[np.float64]:
        """Shortest vectors from bodies j to bodies i, whose middles are `offset` apart."""
        box = np.asarray(self.shape, dtype=np.float64)
        offset = offset - box * np.round(offset / box)
        return nearest_vector(offset, self.directions[i], self.directions[j], self.length)

    def adsorb(self, generator: np.random.Generator, tries: int) -> tuple[NDArray[np.float64], int]:
        """Centres [count, d], and how many of them found a free place; the rest, from the first failure on, did not
        look for one."""
        box = np.asarray(self.shape, dtype=np.float64)
        count = len(self.directions)
        centres = generator.uniform(size=(count, len(box))) * box
        for placed in range(count):
            tried, at_once = 0, 8
            while tried < tries:
                drops = generator.uniform(size=(at_once, len(box))) * box
                tried, at_once = tried + at_once, min(2 * at_once, MOST_DROPS)
                offset = drops[:, None] - centres[None, :placed]
                offset -= box * np.round(offset / box)
                drop, other = np.nonzero((offset**2).sum(axis=-1) < self.reach**2)
                near = self.vectors(offset[drop, other], np.full_like(other, placed), other)
                blocked = np.zeros(len(drops), np.bool_)
                blocked[drop[(near**2).sum(axis=-1) < self.apart**2]] = True
                if not blocked.all():
                    centres[placed] = drops[np.argmin(blocked)]
                    break
            else:
                return centres, placed
        return centres, count

    def push_apart(self, centres: NDArray[np.float64]) -> bool:
        """Move bodies that touch away from each other, in place; False where they still touch after all rounds."""
        box = np.asarray(self.shape, dtype=np.float64)
        first, second = np.triu_indices(len(centres), 1)
        for _ in range(PUSHES):
            offset = centres[first] - centres[second]
            offset -= box * np.round(offset / box)
            near = np.flatnonzero((offset**2).sum(axis=-1) < self.reach**2)
            i, j = first[near], second[near]
            vectors = self.vectors(offset[near], i, j)
            distance = np.sqrt((vectors**2).sum(axis=-1))
            missing = self.apart - distance
            touching = missing > 1e-9
            if not touching.any():
                return True
            # half of what is missing each, and a little more: exact steps would take for ever to end
            share = (0.5 * missing + 1e-3 * self.apart) / np.maximum(distance, 1e-9)
            step = (share[:, None] * vectors)[touching]
            np.add.at(centres, i[touching], step)
            np.add.at(centres, j[touching], -step)
            centres %= box
        return False


def _check_body(fraction: float, radius: float, gap: float) -> None:
    must_lie_within("fraction", fraction, 0, 1)
    must_lie_within("radius", radius, 0, math.inf)
    if not 0 <= gap < math.inf:
        raise InputError(f"gap: must be 0 or more, not {gap:g}")


def _count(fraction: float, volume: float, shape: tuple[int, ...]) -> int:
    """Whole number of bodies nearest to the fraction, at least one."""
    return max(1, round(fraction * math.prod(shape) / volume))
