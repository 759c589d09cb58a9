"""A study as a frozen configuration: what to search, what to ask for, how often. `studies.reading` reads it from YAML.

A study file reads

    bundle: berea
    size: 64
    trials: 12
    sampler: tpe
    search:
      fraction[pore]: {low: 0.15, high: 0.25, tolerance: 0.01}
      diffusivity[pore,z]: {low: 0.7, high: 1.4, times: {0.15: 0.027, 0.25: 0.08}, tolerance: 5%}
    objective: {maximize: "diffusivity[pore,z]"}
    constraints:
      - fraction[pore]<=0.20

`times` makes the searched number a multiple of the natural value at the phase's fraction: the table gives that
value at some fractions, in between it is interpolated. Without `times` the number is the value itself.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, get_args

import yaml

from engine.errors import InputError
from engine.guidance.targets import Target
from engine.metrics import Metric
from engine.request import Settings
from studies.search import ChoiceSearch, Parameter, Range, SearchEntry, TargetSearch, Tolerance, entry_document

if TYPE_CHECKING:
    from engine.properties.materials import Materials
    from engine.properties.own import OwnProperty

SamplerName = Literal["tpe", "gp", "nsga2", "nsga3", "qmc", "grid", "random"]
SAMPLERS: tuple[str, ...] = get_args(SamplerName)
ADAPTIVE = frozenset({"tpe", "gp", "nsga2", "nsga3"})
"""Samplers whose points depend on earlier results; map mode's own rule is one of them."""
JOURNAL_STORAGE = "journal"
BUDGET_KEYS = frozenset({"trials", "hours", "converged", "startup_trials", "population", "unguided"})
"""What may differ when a study goes on: how long it runs, and what follows from that. Everything else decides what it
is."""


class Mode(StrEnum):
    """What a study looks for."""

    BEST = "best"  # one objective
    PARETO = "pareto"  # several objectives: their front
    MAP = "map"  # none: cover a space of metrics evenly


@dataclass(frozen=True, kw_only=True)
class StudyBundle:
    """A model bundle as a study knows it."""

    name: str
    """Name or path, as the study file has it."""
    hash: str
    """When the study was made: going on with another bundle is refused."""
    phases: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StudyMaterials:
    """What the phases are made of, as a study knows it."""

    name: str
    """Name or path, as the study file has it."""
    constants: "Materials"
    """As they were read when the command was given: workers never open the file."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    metric: Metric
    maximize: bool

    def better(self, value: float, other: float) -> bool:
        return value > other if self.maximize else value < other

    def document(self) -> dict[str, str]:
        return {"maximize" if self.maximize else "minimize": str(self.metric)}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When a study is done: at the first of these."""

    trials: int | None = None
    hours: float | None = None
    """Of work; the runs of a study add up."""
    after: int | None = None
    """Trials in a row that brought nothing new."""
    tolerance: Tolerance | None = None
    """Of `after`: what counts as new, in percent of the range of values seen."""

    def __post_init__(self) -> None:
        if self.trials is None and self.hours is None and self.after is None:
            raise InputError("trials: is missing; add it, such as 'trials: 12' (or hours, or converged)")
        if self.trials is not None and self.trials < 1:
            raise InputError(f"trials: must be at least 1, not {self.trials}")
        if self.hours is not None and self.hours <= 0:
            raise InputError(f"hours: must be above 0, not {self.hours:g}")
        if self.after is not None and self.after < 1:
            raise InputError(f"converged.after: must be at least 1, not {self.after}")
        if self.tolerance is not None and not (self.tolerance.percent and self.tolerance.value < 100):
            raise InputError(f"converged.tolerance: must be a percentage below 100%, such as 1%, not {self.tolerance}")

    def __str__(self) -> str:
        parts = [] if self.trials is None else [f"{self.trials} trials"]
        parts += [] if self.hours is None else [f"{self.hours:g} hours"]
        parts += [] if self.after is None else [f"{self.after} trials in a row that bring nothing new"]
        return " or ".join(parts)


@dataclass(frozen=True, kw_only=True)
class MapAxis:
    """An interval of a metric that a map covers in equal cells."""

    metric: Metric
    low: float
    high: float
    cells: int = 8

    def __post_init__(self) -> None:
        kind = self.metric.kind
        if not kind.low <= self.low < self.high <= kind.high:
            raise InputError(
                f"map.{self.metric}: must be an interval within [{kind.low:g}, {kind.high:g}], "
                f"not [{self.low:g}, {self.high:g}]"
            )
        if not 1 <= self.cells <= 1000:
            raise InputError(f"map.{self.metric}.cells: must lie within [1, 1000], not {self.cells}")

    @property
    def entry(self) -> TargetSearch:
        """As a searched target: any value within the interval, to within half a cell."""
        half = 0.5 * (self.high - self.low) / self.cells
        return TargetSearch(
            metric=self.metric, range=Range(low=self.low, high=self.high), tolerance=Tolerance(value=half)
        )


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Everything that decides what a study does. Two studies are the same when `document()` is, up to BUDGET_KEYS."""

    name: str
    """Part of every structure's id and seed."""
    bundles: tuple[StudyBundle, ...]
    """Where several, the choice is searched."""
    shapes: tuple[tuple[int, int, int], ...]
    """Voxels along (z, y, x). Where several, the choice is searched."""
    seed: int
    budget: Budget
    periodic: bool = False
    """Whether opposite faces of every structure join."""
    properties: "tuple[OwnProperty, ...]" = ()
    """Functions of the user's own."""
    materials: tuple[StudyMaterials, ...] = ()
    """Where several, the choice is searched; none for metrics that need none."""
    samples: int = 1
    """Structures per trial; an objective is their mean."""
    sampler: SamplerName = "tpe"
    startup_trials: int = 4
    """Trials placed by a quasi-random sequence before an adaptive sampler takes over."""
    population: int = 50
    """Trials in a generation of nsga2 and nsga3."""
    deterministic: bool = False
    """Tell results in the order of asking, so that an adaptive sampler is repeatable."""
    window: int = 8
    """Trials worked on at once where deterministic."""
    search: tuple[SearchEntry, ...] = ()
    targets: tuple[Target, ...] = ()
    """Targets that every structure has."""
    objectives: tuple[Objective, ...] = ()
    map: tuple[MapAxis, ...] = ()
    unguided: int = 0
    """With map: first trials without targets."""
    constraints: tuple[Target, ...] = ()
    """What a trial's means must satisfy to count as feasible."""
    settings: Settings = field(default_factory=Settings)
    storage: str = JOURNAL_STORAGE

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("startup_trials", 1), ("population", 2), ("window", 1), ("unguided", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: must be at least {least}, not {getattr(self, name)}")
        if bool(self.objectives) == bool(self.map):
            raise InputError("objective: give an objective, objectives or a map, and one of them alone")
        if not self.parameters:
            raise InputError("search: nothing to search; add a line such as 'fraction[pore]: {low: .1, high: .3, ...}'")

    @property
    def mode(self) -> Mode:
        return Mode.MAP if self.map else Mode.PARETO if len(self.objectives) > 1 else Mode.BEST

    @property
    def adaptive(self) -> bool:
        """Whether a point depends on earlier results."""
        return self.mode is Mode.MAP or self.sampler in ADAPTIVE

    @property
    def phases(self) -> tuple[str, ...]:
        """Phase names of all bundles, each once."""
        return tuple(dict.fromkeys(phase for bundle in self.bundles for phase in bundle.phases))

    @property
    def constants(self) -> "tuple[Materials | None, ...]":
        """What the phases may be made of; None where the study names no materials."""
        return tuple(each.constants for each in self.materials) or (None,)

    @property
    def target_entries(self) -> tuple[TargetSearch, ...]:
        """What is asked of the metrics of a structure: searched targets and the axes of a map."""
        searched = tuple(entry for entry in self.search if isinstance(entry, TargetSearch))
        return (*searched, *(axis.entry for axis in self.map))

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What a trial chooses, in the order of its Optuna parameters."""
        names = tuple(bundle.name for bundle in self.bundles)
        choices = [ChoiceSearch(parameter="bundle", range=Range(values=names))] if len(names) > 1 else []
        if len(self.shapes) > 1:
            sizes = tuple(size_text(shape) for shape in self.shapes)
            choices.append(ChoiceSearch(parameter="size", range=Range(values=sizes)))
        if len(self.materials) > 1:
            listed = tuple(each.name for each in self.materials)
            choices.append(ChoiceSearch(parameter="materials", range=Range(values=listed)))
        return (*choices, *self.search, *(axis.entry for axis in self.map))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that the study is about, each once, objectives and axes first."""
        named = [objective.metric for objective in self.objectives] + [axis.metric for axis in self.map]
        named += [entry.metric for entry in self.target_entries]
        return tuple(dict.fromkeys([*named, *(target.metric for target in (*self.targets, *self.constraints))]))

    def document(self) -> dict[str, Any]:
        """The configuration in the form of a study file."""
        one = self.bundles[0] if len(self.bundles) == 1 else None
        shape = self.shapes[0] if len(self.shapes) == 1 else None
        hashes = {each.name: each.constants.hash for each in self.materials}
        converged = {"after": self.budget.after, "tolerance": str(self.budget.tolerance)}
        document = {
            "name": self.name,
            "bundle": one and one.name,
            "bundles": [] if one else [bundle.name for bundle in self.bundles],
            "bundle_hash": one.hash if one else {bundle.name: bundle.hash for bundle in self.bundles},
            "properties": {own.name: own.path for own in self.properties} or None,
            "materials": next(iter(hashes)) if len(hashes) == 1 else list(hashes) or None,
            "materials_hash": next(iter(hashes.values())) if len(hashes) == 1 else hashes or None,
            "shape": list(shape) if shape else None,
            "sizes": [] if shape else [z for z, _, _ in self.shapes],
            "periodic": self.periodic or None,
            "seed": self.seed,
            "trials": self.budget.trials,
            "hours": self.budget.hours,
            "converged": None if self.budget.after is None else converged,
            "samples": self.samples,
            "sampler": self.sampler,
            "startup_trials": self.startup_trials,
            "population": self.population,
            "deterministic": self.deterministic,
            "window": self.window,
            "search": {entry.key: entry_document(entry) for entry in self.search},
            "targets": [str(target) for target in self.targets],
            "objective": self.objectives[0].document() if self.mode is Mode.BEST else None,
            "objectives": [item.document() for item in self.objectives] if self.mode is Mode.PARETO else [],
            "map": {str(a.metric): {"low": a.low, "high": a.high, "cells": a.cells} for a in self.map},
            "unguided": self.unguided if self.map else None,
            "constraints": [str(constraint) for constraint in self.constraints],
            "settings": {key: value for key, value in asdict(self.settings).items() if value is not None},
            "storage": self.storage,
        }
        return {key: value for key, value in document.items() if value is not None and key not in self._idle(document)}

    def _idle(self, document: dict[str, Any]) -> set[str]:
        """Keys that say nothing here: empty ones, and those of modes and samplers that are not used."""
        idle = {key for key in ("bundles", "sizes", "objectives", "map") if not document[key]}
        idle |= set() if self.deterministic else {"deterministic", "window"}
        idle |= set() if self.sampler.startswith("nsga") and not self.map else {"population"}
        idle |= {"sampler", "startup_trials"} if self.map else set()
        return idle | ({"storage"} if self.storage == JOURNAL_STORAGE else set())

    def text(self) -> str:
        """The study file that stands for this configuration, defaults included."""
        return yaml.safe_dump(self.document(), sort_keys=False, allow_unicode=True)


def size_text(shape: tuple[int, int, int]) -> str:
    """(64, 64, 64) -> `64`; (64, 96, 96) -> `64x96x96`."""
    return str(shape[0]) if len(set(shape)) == 1 else "x".join(map(str, shape))


def grid_points(parameters: Sequence[Parameter]) -> int:
    """Number of points of the grid, whether they can be met or not. Raises InputError where one is continuous."""
    for parameter in parameters:
        if not parameter.range.options():
            raise InputError(f"search.{parameter.parameter}: sampler grid needs 'values' or a 'step' here")
    return math.prod(len(parameter.range.options()) for parameter in parameters)
