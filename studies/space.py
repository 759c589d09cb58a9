"""The search space: Optuna distributions, points that can be met, and what a point asks for."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from engine.errors import InputError
from engine.guidance.feasibility import check_feasible
from engine.guidance.targets import Target, parse_target
from engine.metrics import Metric
from engine.request import Request, Settings, structure_id, structure_seed
from studies.config import StudyBundle, StudyConfig, grid_points, size_text
from studies.search import Parameter, Range, SettingSearch

if TYPE_CHECKING:
    from engine.properties.materials import Materials

Params = dict[str, Any]
GUIDED = "guided"
"""Parameter of a map's trials: whether they have targets."""
MOST_GRID_POINTS = 100_000  # each is checked against the bounds before the study starts: some seconds
PATIENCE = 10_000  # points in a row that cannot be met: the search is stated wrongly
CHUNK = 256  # points of the Sobol sequence made at once


def distributions(config: StudyConfig, number: int) -> dict[str, BaseDistribution]:
    """Parameter name -> distribution of a trial, in the order of the study file; those of a trial without targets are
    that it has none."""
    if not config.map:
        return {parameter.parameter: _distribution(parameter.range) for parameter in config.parameters}
    guided: dict[str, BaseDistribution] = {GUIDED: CategoricalDistribution((False, True))}
    if number < config.unguided:
        return guided
    return guided | {parameter.parameter: _distribution(parameter.range) for parameter in config.parameters}


def _distribution(range_: Range) -> BaseDistribution:
    if range_.values:
        return CategoricalDistribution(range_.values)
    if range_.integer:
        return IntDistribution(int(range_.low), int(range_.high), log=range_.log, step=int(range_.step or 1))
    return FloatDistribution(range_.low, range_.high, log=range_.log, step=range_.step)


def has_params(config: StudyConfig, trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial has all of its parameters; one that was cut off while being asked has not."""
    return all(name in trial.params for name in distributions(config, trial.number))


class Points:
    """The points of a study's own sequence that can be met, numbered without gaps: grid, random or Sobol (scrambled).

    A function of the study and the number alone. Made for going forwards: an earlier number starts over.
    """

    def __init__(self, config: StudyConfig) -> None:
        self._config = config
        self._restart()

    def _restart(self) -> None:
        self._found = self._search()
        self._next = 0

    def __getitem__(self, index: int) -> Params:
        """Raises InputError where hardly any point can be met."""
        if index < self._next:
            self._restart()
        for params in self._found:
            self._next += 1
            if self._next > index:
                return params
        raise InputError(f"search: the grid has no point {index} that can be met")

    def _search(self) -> Iterator[Params]:
        missed = 0
        for params in _raw_points(self._config):
            if why := infeasible(self._config, params):
                missed += 1
                if missed >= PATIENCE:
                    raise InputError(
                        f"search: none of {missed} points in a row can be met by any structure; narrow the search "
                        f"(the last one: {why})"
                    )
                continue
            missed = 0
            yield params


def _raw_points(config: StudyConfig) -> Iterator[Params]:
    parameters = config.parameters
    if config.sampler == "grid":
        yield from _grid(config)
        return
    index = 0
    if config.sampler == "random":
        while True:
            yield _point(parameters, np.random.default_rng([config.seed, index]).random(len(parameters)))
            index += 1
    from scipy.stats import qmc

    sequence = qmc.Sobol(len(parameters), scramble=True, rng=config.seed)
    while True:
        for unit in sequence.random(CHUNK):
            yield _point(parameters, unit)


def _grid(config: StudyConfig) -> Iterator[Params]:
    """The grid in an order shuffled by the seed: a study that is stopped early is spread out."""
    sizes = [len(parameter.range.options()) for parameter in config.parameters]
    for place in np.random.default_rng([config.seed]).permutation(math.prod(sizes)):
        places = np.unravel_index(int(place), sizes)
        yield {
            parameter.parameter: parameter.range.options()[int(index)]
            for parameter, index in zip(config.parameters, places, strict=True)
        }


def feasible_grid_points(config: StudyConfig) -> int:
    """Number of points of the grid that can be met.

    Raises:
        InputError: an entry is continuous, or the grid is too large.
    """
    points = grid_points(config.parameters)
    if points > MOST_GRID_POINTS:
        raise InputError(f"search: the grid has {points} points, more than {MOST_GRID_POINTS}; use qmc instead")
    return sum(not infeasible(config, params) for params in _grid(config))


def _point(parameters: tuple[Parameter, ...], unit: np.ndarray) -> Params:
    """[0, 1)^d -> parameters."""
    return {each.parameter: value_at(each.range, float(u)) for each, u in zip(parameters, unit, strict=True)}


def value_at(range_: Range, u: float) -> float | str:
    """The value at the part u of a range, u in [0, 1)."""
    if range_.integer and range_.log:
        return min(int(math.exp(math.log(range_.low) + u * math.log((range_.high + 1) / range_.low))), int(range_.high))
    if options := range_.options():
        return options[int(u * len(options))]
    if range_.log:
        return math.exp(math.log(range_.low) + u * math.log(range_.high / range_.low))
    return range_.low + u * (range_.high - range_.low)


def infeasible(config: StudyConfig, params: Params) -> str:
    """Why no structure can meet a point; empty where one may."""
    try:
        targets_of(config, params)
    except InputError as error:
        return str(error)
    return ""


def targets_of(config: StudyConfig, params: Params) -> tuple[Target, ...]:
    """What a structure of a trial is asked to have: the study's fixed targets and the searched ones.

    A target is rounded to its text, so that the text in a structure's row gives the same request again.

    Raises:
        InputError: no structure can meet them together (one-axis diffusivity above the phase's fraction, a modulus
            beyond the bounds for the materials).
    """
    if params.get(GUIDED) is False:
        return ()
    targets = [parse_target(str(target)) for target in config.targets]
    goals = {target.metric: target.goal for target in targets}
    for entry in sorted(config.target_entries, key=lambda entry: bool(entry.times)):  # multiples need fractions first
        goal = float(params[entry.parameter])
        if entry.times:
            goal *= natural_value(entry.times, goals[Metric("fraction", entry.metric.phase)])
        goals[entry.metric] = goal
        margin = entry.tolerance.margin(goal)
        targets.append(parse_target(str(Target(metric=entry.metric, low=goal - margin, high=goal + margin))))
    check_feasible(targets, _bundle(config, params).phases, _materials(config, params))
    return tuple(targets)


def _bundle(config: StudyConfig, params: Params) -> StudyBundle:
    name = params.get("bundle", config.bundles[0].name)
    return next(bundle for bundle in config.bundles if bundle.name == name)


def _shape(config: StudyConfig, params: Params) -> tuple[int, int, int]:
    return next(shape for shape in config.shapes if params.get("size", size_text(shape)) == size_text(shape))


def _materials(config: StudyConfig, params: Params) -> "Materials | None":
    if not config.materials:
        return None
    name = params.get("materials", config.materials[0].name)
    return next(each.constants for each in config.materials if each.name == name)


def natural_value(table: Sequence[tuple[float, float]], fraction: float) -> float:
    """Natural value of a metric at a phase fraction.

    Interpolated as a power law between the neighbours in the table (transport grows about as a power of the
    fraction, Archie 1942); beyond the ends the last power goes on.
    """
    logs = np.log([max(key, 1e-9) for key, _ in table])  # 1e-9: a table may start at fraction 0
    values = np.log([value for _, value in table])
    place = math.log(max(fraction, 1e-9))
    segment = int(np.clip(np.searchsorted(logs, place) - 1, 0, len(table) - 2))
    slope = (values[segment + 1] - values[segment]) / (logs[segment + 1] - logs[segment])
    return float(np.exp(values[segment] + slope * (place - logs[segment])))


def settings_of(config: StudyConfig, params: Params) -> Settings:
    """The study's settings with the searched ones put in."""
    searched = [entry for entry in config.search if isinstance(entry, SettingSearch)]
    chosen = {entry.setting: params[entry.parameter] for entry in searched if entry.parameter in params}
    return replace(config.settings, **chosen)


def requests_of(config: StudyConfig, number: int, params: Params) -> list[Request]:
    """The requests of a trial, one per sample. Raises InputError as `targets_of`."""
    targets, settings = targets_of(config, params), settings_of(config, params)
    on_request = tuple(metric for metric in config.metrics if metric.is_mean or metric.kind.needs == "request")
    return [
        Request(
            structure_id=structure_id(config.name, number, sample),
            bundle=_bundle(config, params).name,
            shape=_shape(config, params),
            seed=structure_seed(config.name, config.seed, number, sample),
            targets=targets,
            settings=settings,
            periodic=config.periodic,
            materials=_materials(config, params),
            properties=config.properties,
            metrics=on_request,
        )
        for sample in range(config.samples)
    ]
