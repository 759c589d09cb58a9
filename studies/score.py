"""From the rows of a trial to what Optuna is told: means over its samples, constraints, attributes."""

from collections.abc import Sequence
from dataclasses import dataclass

from actors.rows import Row
from engine.guidance.targets import Target
from engine.metrics import Metric
from engine.outcomes import DesignOutcome
from studies.config import StudyConfig
from studies.mapping import ATTAINED


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a finished trial is told as."""

    values: tuple[float, ...] | None
    """Mean of each objective over the samples that have it, () for a map; None tells the trial as failed."""
    reason: str
    """Why there is no value."""
    constraints: dict[str, float]
    """Name -> violation; at or below 0 where it holds."""
    attributes: dict[str, float | int]
    """Scalars for a dashboard."""

    @property
    def feasible(self) -> bool:
        return all(violation <= 0 for violation in self.constraints.values())


def score(config: StudyConfig, targets: Sequence[Target], rows: Sequence[Row]) -> Score:
    """Score a trial of which every sample has a row.

    A structure that missed its targets or does not percolate counts with the value measured; a failed one has none.
    """
    finished = [row for row in rows if row["status"] != DesignOutcome.FAILED]
    means = {metric: mean_of(finished, metric) for metric in config.metrics}
    attributes: dict[str, float | int] = {
        ATTAINED: sum(row["status"] == DesignOutcome.ATTAINED for row in finished),
        "structures failed": len(rows) - len(finished),
    }
    for target in targets:
        attributes[f"target {target.metric}"] = target.goal
    for metric, mean in means.items():
        if mean is not None:
            attributes[f"achieved {metric}"] = mean
    if not finished:
        return Score(values=None, reason=_all_failed(rows), constraints={}, attributes=attributes)
    constraints: dict[str, float] = {}
    needed = [objective.metric for objective in config.objectives]
    if not config.map:  # a map judges every structure by itself
        needed += [constraint.metric for constraint in config.constraints]
        for constraint in config.constraints:
            mean = means[constraint.metric]
            if mean is not None:
                constraints[str(constraint)] = max(constraint.low - mean, mean - constraint.high)
    absent = [metric for metric in needed if means[metric] is None]
    if absent:
        outcome = finished[0].get(f"{absent[0].column}_outcome") or "not measured"
        reason = f"{absent[0]} has no value in any structure ({outcome})"
        return Score(values=None, reason=reason, constraints=constraints, attributes=attributes)
    values = tuple(float(means[objective.metric]) for objective in config.objectives)  # type: ignore[arg-type]
    return Score(values=values, reason="", constraints=constraints, attributes=attributes)


def mean_of(rows: Sequence[Row], metric: Metric) -> float | None:
    """Mean of a metric over the rows that have it; None where none has."""
    values = [float(value) for row in rows if isinstance(value := row.get(metric.column), int | float)]
    return sum(values) / len(values) if values else None


def _all_failed(rows: Sequence[Row]) -> str:
    return f"all {len(rows)} structures failed: {rows[0].get('reason') or 'no reason given'}"
