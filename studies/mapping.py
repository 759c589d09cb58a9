"""Maps: cover a space of metrics as evenly as possible, and say how much of it is covered.

The space is a box of metric intervals, cut into equal cells. Where to go next is a greedy space-filling rule: of some
random points, the one with the largest distance to everything known (structures made, goals asked), times the chance
that it is attained, judged by the goals tried nearby. The first factor alone is the maximin design of Johnson, Moore
and Ylvisaker (1990); the second keeps a map from spending itself on what the material cannot do.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import FrozenTrial

from engine.errors import InputError
from engine.guidance.feasibility import check_feasible
from engine.guidance.targets import Target
from engine.outcomes import DesignOutcome
from studies.config import MapAxis, StudyConfig
from studies.space import GUIDED, Params, infeasible, value_at

if TYPE_CHECKING:
    from engine.properties.materials import Materials

CANDIDATES = 256  # random points looked at for each trial: some tens of milliseconds
NEIGHBOURS = 5  # goals tried nearby that say how likely another one is attained
ATTAINED = "structures attained"
"""Attribute of a told trial."""

Cell = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class CoverageReport:
    """How much of a map is covered."""

    cells: int
    """That some structure may have, by the bounds on its metrics."""
    covered: int
    """With at least one structure."""
    structures: int
    """In any cell."""
    unguided_structures: int
    """Made without targets, inside the map or not."""
    unguided_covered: int
    """Cells that those cover."""
    guided_expected: float | None
    """Cells that as many guided structures cover on average; None while there are fewer."""
    picture: tuple[str, ...] = ()
    """Of a map of two metrics: structures per cell in text."""

    def lines(self) -> list[str]:
        share = f" ({self.covered / self.cells:.0%})" if self.cells else ""
        lines = [f"covered: {self.covered} of {self.cells} cells{share} with {self.structures} structures"]
        if self.unguided_structures:
            alone = f"the model alone: {self.unguided_covered} cells with {self.unguided_structures} structures"
            if self.guided_expected is not None:
                alone += f"; with targets, as many cover {self.guided_expected:.1f} on average"
            lines.append(alone)
        return lines


class Coverage:
    """Which cells of a map hold structures."""

    def __init__(self, config: StudyConfig) -> None:
        self._axes, self._constraints = config.map, config.constraints
        self._counts: dict[bool, dict[Cell, int]] = {False: {}, True: {}}
        self._made = {False: 0, True: 0}
        self._points: list[list[float]] = []
        self._feasible = [
            cell for cell in product(*(range(axis.cells) for axis in self._axes)) if self._may(cell, config)
        ]

    def add(self, rows: Iterable[Mapping[str, Any]], *, guided: bool) -> int:
        """Take in the structures of a told trial. Returns how many cells they are the first of."""
        new = 0
        for row in rows:
            if row["status"] == DesignOutcome.FAILED:
                continue
            self._made[guided] += 1
            cell = self.cell(row)
            if cell is None:
                continue
            self._points.append([_part(axis, float(row[axis.metric.column])) for axis in self._axes])
            new += cell not in self._counts[True] and cell not in self._counts[False]
            self._counts[guided][cell] = self._counts[guided].get(cell, 0) + 1
        return new

    def cell(self, row: Mapping[str, Any]) -> Cell | None:
        """The cell of a structure; None where it is outside, lacks a value or violates a constraint."""
        if not all(constraint.holds(row.get(constraint.metric.column)) for constraint in self._constraints):
            return None
        cell = []
        for axis in self._axes:
            value = row.get(axis.metric.column)
            if value is None or not axis.low <= value <= axis.high:
                return None
            cell.append(min(int(_part(axis, float(value)) * axis.cells), axis.cells - 1))
        return tuple(cell)

    @property
    def points(self) -> np.ndarray:
        """Structures inside the map, [n, axes], each axis from 0 to 1."""
        return np.array(self._points, dtype=float).reshape(-1, len(self._axes))

    @property
    def covered(self) -> int:
        return len(self._counts[True].keys() | self._counts[False].keys())

    @property
    def cells(self) -> int:
        """That some structure may have, by the bounds on its metrics."""
        return len(set(self._feasible) | set(self.counts()))

    def counts(self) -> dict[Cell, int]:
        """Structures per cell that holds any."""
        cells = self._counts[True].keys() | self._counts[False].keys()
        return {cell: self._counts[True].get(cell, 0) + self._counts[False].get(cell, 0) for cell in sorted(cells)}

    def report(self) -> CoverageReport:
        unguided, guided = self._made[False], self._made[True]
        expected = rarefied(list(self._counts[True].values()), guided, unguided) if unguided <= guided else None
        return CoverageReport(
            cells=self.cells,
            covered=self.covered,
            structures=len(self._points),
            unguided_structures=unguided,
            unguided_covered=len(self._counts[False]),
            guided_expected=expected,
            picture=self._picture(),
        )

    def _picture(self) -> tuple[str, ...]:
        """A line per cell of the second axis, largest first; `.` for an empty cell, blank where nothing can be."""
        if len(self._axes) != 2:
            return ()
        across, up = self._axes
        counts, feasible = self.counts(), set(self._feasible)
        edges = [f"{up.low + place * (up.high - up.low) / up.cells:.4g}" for place in range(up.cells)]
        width = max(map(len, edges))
        lines = [f"structures by {up.metric} (up) and {across.metric} (right, from {across.low:g} to {across.high:g})"]
        for place in reversed(range(up.cells)):
            cells = [(column, place) for column in range(across.cells)]
            texts = [str(counts.get(cell, "." if cell in feasible else "")).rjust(3) for cell in cells]
            lines.append(f"{edges[place].rjust(width)} |{''.join(texts)}".rstrip())
        return tuple(lines)

    def _may(self, cell: Cell, config: StudyConfig) -> bool:
        """Whether a structure may lie in a cell, by the bounds on its metrics, for one of the bundles and materials at
        least."""
        box = []
        for axis, place in zip(self._axes, cell, strict=True):
            width = (axis.high - axis.low) / axis.cells
            box.append(Target(metric=axis.metric, low=axis.low + place * width, high=axis.low + (place + 1) * width))
        choices = product(config.bundles, config.constants)
        return any(_is_feasible(box, bundle.phases, constants) for bundle, constants in choices)


def rarefied(counts: Sequence[int], drawn_from: int, drawn: int) -> float:
    """Cells expected among `drawn` of `drawn_from` structures, `counts` of which lie in each cell.

    Hurlbert (1971): the sum over cells of 1 - C(N - n_c, n) / C(N, n).
    """
    every = math.comb(drawn_from, drawn)
    return sum(1 - math.comb(drawn_from - count, drawn) / every for count in counts)


def next_point(config: StudyConfig, number: int, trials: Sequence[FrozenTrial], coverage: Coverage) -> Params:
    """The point of a guided trial.

    Args:
        trials: all so far, the new one included; a goal counts once it is asked.
        coverage: of the structures of told trials.

    Raises:
        InputError: no point of the map can be met.
    """
    generator = np.random.default_rng([config.seed, number])
    units = generator.random((CANDIDATES, len(config.parameters)))
    axes = slice(len(config.parameters) - len(config.map), None)  # the last parameters
    candidates: list[tuple[Params, np.ndarray]] = []
    for unit in units:
        params = {
            each.parameter: value_at(each.range, float(u)) for each, u in zip(config.parameters, unit, strict=True)
        }
        if not infeasible(config, params):
            candidates.append((params, unit[axes]))
    if not candidates:
        raise InputError(f"map: none of {CANDIDATES} points can be met by any structure; narrow the map")
    places = np.array([place for _, place in candidates])
    asked = [trial for trial in trials if trial.number != number and trial.params.get(GUIDED) is True]
    goals = np.array([_goal(config, trial) for trial in asked]).reshape(-1, len(config.map))
    known = np.concatenate([coverage.points, goals])
    gain = _chance(config, places, asked, goals)
    if len(known):
        gain = gain * _distances(places, known).min(axis=1)
    return candidates[int(gain.argmax())][0]


def _chance(config: StudyConfig, places: np.ndarray, asked: Sequence[FrozenTrial], goals: np.ndarray) -> np.ndarray:
    """Chance that a structure attains each goal: of those tried nearby, one more attained and one more missed."""
    told = [index for index, trial in enumerate(asked) if ATTAINED in trial.user_attrs and trial.state.is_finished()]
    if not told:
        return np.ones(len(places))
    attained = np.array([asked[index].user_attrs[ATTAINED] / config.samples for index in told])
    nearest = np.argsort(_distances(places, goals[told]), axis=1, kind="stable")[:, :NEIGHBOURS]
    chance: np.ndarray = (attained[nearest].sum(axis=1) + 1) / (nearest.shape[1] + 2)
    return chance


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[n, d], [m, d] -> [n, m]."""
    return np.sqrt(((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=2))


def _goal(config: StudyConfig, trial: FrozenTrial) -> list[float]:
    return [_part(axis, float(trial.params[str(axis.metric)])) for axis in config.map]


def _part(axis: MapAxis, value: float) -> float:
    return (value - axis.low) / (axis.high - axis.low)


def _is_feasible(targets: Sequence[Target], phases: Sequence[str], materials: "Materials | None") -> bool:
    try:
        check_feasible(targets, phases, materials)
    except InputError:
        return False
    return True
