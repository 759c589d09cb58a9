"""The search space: Optuna distributions, the point of the next trial, and what a point asks for.

A sampler is made afresh for every ask, from the study's seed and the number of the trial, so that a study that was
killed and started again neither repeats its start-up points nor depends on when it was killed.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from engine.guidance.targets import Target, check_feasible, parse_target
from engine.metrics import Metric
from engine.request import Request, Settings, structure_id, structure_seed
from studies.config import StudyConfig
from studies.search import Range, SettingSearch, TargetSearch

Params = dict[str, Any]


def distributions(config: StudyConfig) -> dict[str, BaseDistribution]:
    """Parameter name -> distribution, in the order of the study file."""
    return {entry.parameter: _distribution(entry.range) for entry in config.search}


def _distribution(range_: Range) -> BaseDistribution:
    if range_.values:
        return CategoricalDistribution(range_.values)
    if range_.integer:
        return IntDistribution(int(range_.low), int(range_.high), log=range_.log, step=int(range_.step or 1))
    return FloatDistribution(range_.low, range_.high, log=range_.log, step=range_.step)


def has_params(config: StudyConfig, trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial has all of its parameters; one that was cut off while being asked has not."""
    return all(entry.parameter in trial.params for entry in config.search)


def make_sampler(config: StudyConfig, index: int, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of one trial.

    Args:
        index: how many trials with parameters came before it: its place in a sequence without gaps.
        number: Optuna's number of the trial.
    """
    if config.sampler == "grid":
        return _At(config, _grid_point(config, index))
    if config.sampler == "random":
        return _At(config, _point(config, np.random.default_rng([config.seed, index]).random(len(config.search))))
    if config.sampler == "qmc" or index < config.startup_trials:
        return _At(config, _point(config, _sobol(config, index)))
    seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1)[0])
    # Trials in flight count as bad (constant liar), which spreads what is asked before anything is known.
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=config.startup_trials, multivariate=True, constant_liar=True
    )


class _At(optuna.samplers.BaseSampler):
    """Puts the trial at a given point."""

    def __init__(self, config: StudyConfig, point: Params) -> None:
        self._space = distributions(config)
        self._point = point

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Params:
        return self._point

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._point[param_name]


def _sobol(config: StudyConfig, index: int) -> np.ndarray:
    """Point `index` of the study's scrambled Sobol sequence, in [0, 1)^d."""
    from scipy.stats import qmc

    sequence = qmc.Sobol(len(config.search), scramble=True, rng=config.seed)
    if index:
        sequence.fast_forward(index)
    point: np.ndarray = sequence.random(1)[0]
    return point


def _grid_point(config: StudyConfig, index: int) -> Params:
    """Point `index` of the grid, in an order shuffled by the seed: a study that is stopped early is spread out."""
    sizes = [len(entry.range.options()) for entry in config.search]
    order = np.random.default_rng([config.seed]).permutation(math.prod(sizes))
    places = np.unravel_index(int(order[index]), sizes)
    return {
        entry.parameter: entry.range.options()[int(place)] for entry, place in zip(config.search, places, strict=True)
    }


def _point(config: StudyConfig, unit: np.ndarray) -> Params:
    """[0, 1)^d -> parameters."""
    return {entry.parameter: _value(entry.range, float(u)) for entry, u in zip(config.search, unit, strict=True)}


def _value(range_: Range, u: float) -> float | str:
    if range_.integer and range_.log:
        return min(int(math.exp(math.log(range_.low) + u * math.log((range_.high + 1) / range_.low))), int(range_.high))
    if options := range_.options():
        return options[int(u * len(options))]
    if range_.log:
        return math.exp(math.log(range_.low) + u * math.log(range_.high / range_.low))
    return range_.low + u * (range_.high - range_.low)


def targets_of(config: StudyConfig, params: Params) -> tuple[Target, ...]:
    """What a structure of a trial is asked to have: the study's fixed targets and the searched ones.

    A target is rounded to its text, so that the text in a structure's row gives the same request again.

    Raises:
        InputError: no structure can meet them together (one-axis diffusivity above the phase's fraction).
    """
    targets = [parse_target(str(target)) for target in config.targets]
    goals = {target.metric: target.goal for target in targets}
    entries = [entry for entry in config.search if isinstance(entry, TargetSearch)]
    for entry in sorted(entries, key=lambda entry: bool(entry.times)):  # multiples need the fractions first
        goal = float(params[entry.parameter])
        if entry.times:
            goal *= natural_value(entry.times, goals[Metric("fraction", entry.metric.phase)])
        goals[entry.metric] = goal
        margin = entry.tolerance.margin(goal)
        targets.append(parse_target(str(Target(metric=entry.metric, low=goal - margin, high=goal + margin))))
    check_feasible(targets, config.phases)
    return tuple(targets)


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
    return replace(config.settings, **{entry.setting: params[entry.parameter] for entry in searched})


def requests_of(config: StudyConfig, number: int, params: Params) -> list[Request]:
    """The requests of a trial, one per sample. Raises InputError as `targets_of`."""
    targets, settings = targets_of(config, params), settings_of(config, params)
    return [
        Request(
            structure_id=structure_id(config.name, number, sample),
            bundle=config.bundle,
            shape=config.shape,
            seed=structure_seed(config.name, config.seed, number, sample),
            targets=targets,
            settings=settings,
        )
        for sample in range(config.samples)
    ]
