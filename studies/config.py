"""A study as a frozen configuration: what to search, what to ask for, how often.

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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from engine.errors import InputError
from engine.guidance.targets import Target, check_feasible, parse_target
from engine.metrics import Metric, nearest, parse_metric
from engine.request import Settings
from studies.search import SearchEntry, TargetSearch, entry_document, search_entry
from studies.yaml_file import StudyFile, parse_study_file

SamplerName = Literal["tpe", "random", "qmc", "grid"]
SAMPLERS: tuple[str, ...] = get_args(SamplerName)


@dataclass(frozen=True, kw_only=True)
class Objective:
    metric: Metric
    maximize: bool

    def better(self, value: float, other: float) -> bool:
        return value > other if self.maximize else value < other


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Everything that decides what a study does. Two studies are the same when `document()` is."""

    name: str
    """Part of every structure's id and seed."""
    bundle: str
    bundle_hash: str
    """Hash of the bundle when the study was made: going on with another bundle is refused."""
    phases: tuple[str, ...]
    """Phase names of the bundle."""
    shape: tuple[int, int, int]
    """Voxels along (z, y, x)."""
    seed: int
    trials: int
    """Trials to finish; infeasible samples, which cost nothing, are not counted."""
    samples: int = 1
    """Structures per trial; the objective is their mean."""
    sampler: SamplerName = "tpe"
    startup_trials: int = 4
    """Trials placed by a quasi-random sequence before TPE takes over."""
    search: tuple[SearchEntry, ...]
    targets: tuple[Target, ...] = ()
    """Targets that every structure has."""
    objective: Objective
    constraints: tuple[Target, ...] = ()
    """What a trial's means must satisfy to count as feasible."""
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise InputError(f"trials: must be at least 1, not {self.trials}")
        points = grid_points(self.search) if self.sampler == "grid" else None
        if points is not None and self.trials > points:
            raise InputError(f"trials: the grid has {points} points, fewer than {self.trials}; leave trials out")

    def document(self) -> dict[str, Any]:
        """The configuration in the form of a study file."""
        return {
            "name": self.name,
            "bundle": self.bundle,
            "bundle_hash": self.bundle_hash,
            "shape": list(self.shape),
            "seed": self.seed,
            "trials": self.trials,
            "samples": self.samples,
            "sampler": self.sampler,
            "startup_trials": self.startup_trials,
            "search": {entry.key: entry_document(entry) for entry in self.search},
            "targets": [str(target) for target in self.targets],
            "objective": {"maximize" if self.objective.maximize else "minimize": str(self.objective.metric)},
            "constraints": [str(constraint) for constraint in self.constraints],
            "settings": {key: value for key, value in asdict(self.settings).items() if value is not None},
        }

    def text(self) -> str:
        """The study file that stands for this configuration, defaults included."""
        return yaml.safe_dump(self.document(), sort_keys=False, allow_unicode=True)


BundleFacts = tuple[tuple[str, ...], str]  # phase names, hash


def bundle_facts(bundle: str) -> BundleFacts:
    """Phase names and hash of a bundle, from its card alone."""
    from engine.models.bundle import read_card

    card = read_card(bundle)
    return tuple(phase.name for phase in card.phases), card.hash


def recipe_names() -> list[str]:
    """Names of the studies that ship."""
    folder = resources.files("studies").joinpath("recipes")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_study(where: str | Path, facts: Callable[[str], BundleFacts] = bundle_facts) -> StudyConfig:
    """Read a study file or a recipe that ships.

    Args:
        where: path of a YAML file, or the name of a recipe. A file of that name goes first.
        facts: gives the phase names and the hash of a bundle.

    Raises:
        InputError: no such study; or a key, value, metric or bundle in it that cannot be used.
    """
    path = Path(where)
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as text ({error})") from None
        return parse_study(text, str(path), default_name=path.stem, facts=facts)
    if str(where) in recipe_names():
        text = resources.files("studies").joinpath("recipes", f"{where}.yaml").read_text(encoding="utf-8")
        return parse_study(text, f"recipe {where}", default_name=str(where), facts=facts)
    raise InputError(f"study '{where}': no such file and no recipe of this name{nearest(str(where), recipe_names())}")


def parse_study(text: str, where: str, *, default_name: str, facts: Callable[[str], BundleFacts]) -> StudyConfig:
    """A study file's text -> configuration. `where` stands in error messages. Raises InputError."""
    file = parse_study_file(text, where)
    phases, bundle_hash = facts(file.bundle)
    try:
        return _build(file, file.name or default_name, phases, bundle_hash)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _build(file: StudyFile, name: str, phases: tuple[str, ...], bundle_hash: str) -> StudyConfig:
    if file.bundle_hash is not None and file.bundle_hash != bundle_hash:
        raise InputError(
            f"bundle_hash: bundle '{file.bundle}' is not the one this study was made with "
            f"({bundle_hash[:12]} now, {file.bundle_hash[:12]} then); restore it, or start a new study"
        )
    if (file.size is None) == (file.shape is None):
        raise InputError("size: give either size or shape, such as 'size: 64'")
    side = file.size or 0
    z, y, x = file.shape if file.shape is not None else (side, side, side)
    if min(z, y, x) < 1:
        raise InputError(f"{'size' if file.shape is None else 'shape'}: must be at least 1 voxel, not {min(z, y, x)}")
    if not 0 <= file.seed < 2**63:
        raise InputError(f"seed: must lie within [0, 2**63), not {file.seed}")
    if file.samples < 1:
        raise InputError(f"samples: must be at least 1, not {file.samples}")
    if file.sampler not in SAMPLERS:
        raise InputError(f"sampler: no sampler is called '{file.sampler}'{nearest(file.sampler, SAMPLERS)}")
    search = tuple(search_entry(key, entry, phases) for key, entry in file.search.items())
    if not search:
        raise InputError("search: nothing to search; add a line such as 'fraction[pore]: {low: .1, high: .3, ...}'")
    try:
        settings = Settings(**{key: value for key, value in file.settings.model_dump().items() if value is not None})
    except InputError as error:
        raise InputError(f"settings.{error}") from None
    config_targets = tuple(_target("targets", text, phases) for text in file.targets)
    trials = file.trials
    if trials is None:
        if file.sampler != "grid":
            raise InputError("trials: is missing; add it, such as 'trials: 12'")
        trials = grid_points(search)
    # a third on start-up leaves the model of TPE most of a short study; ten is Optuna's own default
    startup = max(1, min(10, trials // 3)) if file.startup_trials is None else file.startup_trials
    if startup < 1:
        raise InputError(f"startup_trials: must be at least 1, not {startup}")
    config = StudyConfig(
        name=name,
        bundle=file.bundle,
        bundle_hash=bundle_hash,
        phases=phases,
        shape=(z, y, x),
        seed=file.seed,
        trials=trials,
        samples=file.samples,
        sampler=file.sampler,  # type: ignore[arg-type]
        startup_trials=startup,
        search=search,
        targets=config_targets,
        objective=_objective(file, phases),
        constraints=tuple(_target("constraints", text, phases) for text in file.constraints),
        settings=settings,
    )
    _check_space(config)
    return config


def grid_points(search: Sequence[SearchEntry]) -> int:
    """Number of points of the grid. Raises InputError where an entry is continuous."""
    for entry in search:
        if not entry.range.options():
            raise InputError(f"search.{entry.key}: sampler grid needs 'values' or a 'step' here")
    return math.prod(len(entry.range.options()) for entry in search)


def _target(key: str, text: str, phases: tuple[str, ...]) -> Target:
    try:
        return parse_target(text, phases)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def _objective(file: StudyFile, phases: tuple[str, ...]) -> Objective:
    maximize, minimize = file.objective.maximize, file.objective.minimize
    if (maximize is None) == (minimize is None):
        raise InputError("objective: give either maximize or minimize, such as {maximize: 'diffusivity[pore,z]'}")
    text = maximize if maximize is not None else minimize
    assert text is not None
    try:
        return Objective(metric=parse_metric(text, phases), maximize=maximize is not None)
    except InputError as error:
        raise InputError(f"objective: {error}") from None


def _check_space(config: StudyConfig) -> None:
    """Refuse a search of which no point can be met, before anything is computed."""
    entries = [entry for entry in config.search if isinstance(entry, TargetSearch)]
    fixed = {target.metric for target in config.targets}
    searched = {entry.metric for entry in entries}
    for entry in entries:
        if entry.metric in fixed:
            raise InputError(f"search.{entry.metric}: has a fixed target as well; remove one of the two")
        fraction = Metric("fraction", entry.metric.phase)
        if entry.times and fraction not in searched | fixed:
            raise InputError(f"search.{entry.metric}.times: needs {fraction} among search or targets")
    widest = list(config.targets)
    for entry in entries:
        low, high = entry.range.low, entry.range.high
        if entry.times:
            values = [value for _, value in entry.times]
            low, high = low * min(values), high * max(values)
        widest.append(
            Target(metric=entry.metric, low=low - entry.tolerance.margin(low), high=high + entry.tolerance.margin(high))
        )
    try:
        check_feasible(widest, config.phases)
    except InputError as error:
        raise InputError(f"search: no point of it can be met: {error}") from None
    try:
        check_feasible(config.constraints, config.phases)
    except InputError as error:
        raise InputError(f"constraints: {error}") from None
