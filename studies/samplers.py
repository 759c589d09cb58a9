"""Who chooses the next point: the study's own sequence, an Optuna sampler, or the rule of a map.

A choice is a function of the study, the trial's number and the trials so far. A study that was killed and started again
therefore neither repeats its start-up points nor depends on when it was killed.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from studies.config import StudyConfig
from studies.mapping import Coverage, next_point
from studies.search import TargetSearch
from studies.space import GUIDED, Params, Points, distributions, has_params, infeasible

ANCHORS = 64  # points that can be met, of which the nearest draws a point that cannot
HALVINGS = 30  # of the line between them: down to the rounding of a target's text


class StudySampler(optuna.samplers.BaseSampler):
    """The sampler of a study.

    An Optuna sampler may suggest a point that no structure can meet (a one-axis diffusivity above the phase's fraction,
    say). It is then moved onto the border of what can be met, along the line to the nearest of some points inside, so
    that no trial is spent on it and no value made up for it. The optimum of such a search often lies on that border.

    Args:
        config: the study.
        coverage: what a map has covered so far, kept up by the driver.
    """

    def __init__(self, config: StudyConfig, coverage: Coverage | None = None) -> None:
        self._config, self._coverage = config, coverage
        self._points = Points(config)
        self._anchors: list[Params] = []

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return distributions(self._config, trial.number)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> Params:
        config, number = self._config, trial.number
        if has_params(config, trial):  # continued after a kill: nothing is left to choose
            return trial.params
        if config.map:
            assert self._coverage is not None
            if number < config.unguided:
                return {GUIDED: False}
            return {GUIDED: True} | next_point(config, number, study.get_trials(deepcopy=False), self._coverage)
        if not config.adaptive:
            return self._points[number]
        # Genetic samplers note the generation of every trial here, so they are asked in any case.
        suggested = self._optuna_sampler(number).sample_relative(study, trial, dict(search_space))
        if number < config.startup_trials:
            return self._points[number]
        point = self._points[number] | suggested  # what is not suggested is meant to be free: start-up, mutation
        return self._moved(point) if infeasible(config, point) else point

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} was not chosen together with the others")

    def _optuna_sampler(self, number: int) -> optuna.samplers.BaseSampler:
        config = self._config
        seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1)[0])
        match config.sampler:
            case "gp":
                return optuna.samplers.GPSampler(seed=seed, n_startup_trials=min(config.startup_trials, 2))
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=seed, population_size=config.population)
            case "nsga3":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
                    return optuna.samplers.NSGAIIISampler(seed=seed, population_size=config.population)
            case _:
                # Trials in flight count as bad (constant liar), which spreads what is asked before anything is known.
                return optuna.samplers.TPESampler(seed=seed, n_startup_trials=1, multivariate=True, constant_liar=True)

    def _moved(self, params: Params) -> Params:
        """The last point that can be met on the line from the nearest anchor to `params`."""
        if not self._anchors:
            points = Points(self._config)
            self._anchors = [points[index] for index in range(ANCHORS)]
        numbers = [entry for entry in self._config.target_entries if not entry.range.values]
        anchor = min(self._anchors, key=lambda point: sum(_distance(entry, point, params) for entry in numbers))
        inside, outside, best = 0.0, 1.0, anchor
        for _ in range(HALVINGS):
            part = 0.5 * (inside + outside)
            moved = params | {
                entry.parameter: _between(entry, anchor[entry.parameter], params[entry.parameter], part)
                for entry in numbers
            }
            if infeasible(self._config, moved):
                outside = part
            else:
                inside, best = part, moved
        return best


def _distance(entry: TargetSearch, one: Params, other: Params) -> float:
    """Squared distance along one parameter, in units of its range."""
    width = entry.range.high - entry.range.low
    return float(((one[entry.parameter] - other[entry.parameter]) / width) ** 2)


def _between(entry: TargetSearch, start: float, end: float, part: float) -> float:
    value = start + part * (end - start)
    if entry.range.step is None:
        return float(min(max(value, entry.range.low), entry.range.high))
    return float(min(entry.range.options(), key=lambda option: abs(float(option) - value)))
