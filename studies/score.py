"""From the rows of a trial to what Optuna is told: the mean over its samples, constraints, attributes."""

from collections.abc import Sequence
from dataclasses import dataclass

from actors.rows import Row
from engine.guidance.targets import Target
from engine.metrics import Metric
from engine.outcomes import DesignOutcome
from studies.config import StudyConfig


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a finished trial is told as."""

    value: float | None
    """Mean of the objective over the samples that have it; None tells the trial as failed."""
    reason: str
    """Why there is no value."""
    constraints: dict[str, float]
    """Name -> violation; at or below 0 where it holds."""
    attributes: dict[str, float | int]
    """Scalars for a dashboard."""


def score(config: StudyConfig, targets: Sequence[Target], rows: Sequence[Row]) -> Score:
    """Score a trial of which every sample has a row.

    A structure that missed its targets or does not percolate counts with the value measured; a failed one has none.
    """
    finished = [row for row in rows if row["status"] != DesignOutcome.FAILED]
    means = {metric: mean_of(finished, metric) for metric in _metrics(config, targets)}
    attributes: dict[str, float | int] = {
        "structures attained": sum(row["status"] == DesignOutcome.ATTAINED for row in finished),
        "structures failed": len(rows) - len(finished),
    }
    for target in targets:
        attributes[f"target {target.metric}"] = target.goal
        achieved = means[target.metric]
        if achieved is not None:
            attributes[f"achieved {target.metric}"] = achieved
    constraints = {}
    value, reason = means[config.objective.metric], ""
    if value is None:
        reason = _why_none(config.objective.metric, rows, finished)
    for constraint in config.constraints:
        mean = means[constraint.metric]
        if mean is None:
            value, reason = None, reason or _why_none(constraint.metric, rows, finished)
        else:
            constraints[str(constraint)] = max(constraint.low - mean, mean - constraint.high)
    return Score(value=value, reason=reason, constraints=constraints, attributes=attributes)


def mean_of(rows: Sequence[Row], metric: Metric) -> float | None:
    """Mean of a metric over the rows that have it; None where none has."""
    values = [float(value) for row in rows if isinstance(value := row.get(metric.column), int | float)]
    return sum(values) / len(values) if values else None


def _metrics(config: StudyConfig, targets: Sequence[Target]) -> set[Metric]:
    return {config.objective.metric, *(item.metric for item in (*targets, *config.constraints))}


def _why_none(metric: Metric, rows: Sequence[Row], finished: Sequence[Row]) -> str:
    if not finished:
        return f"all {len(rows)} structures failed: {rows[0].get('reason') or 'no reason given'}"
    return f"{metric} has no value in any structure ({finished[0].get(f'{metric.column}_outcome') or 'not measured'})"
