"""Where a study stands (`Progress`, while it runs) and what came of it (`Summary`, at the end)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from studies.config import Objective, StudyConfig


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A moment of a running study."""

    trials_done: int
    trials_total: int
    structures_done: int
    """Structures with a row, those of earlier runs included."""
    structures_total: int
    structures_in_flight: int
    structures_per_s: float
    """Of this run; 0 before its first structure."""
    best: tuple[float, str] | None
    """Best feasible objective so far, and the same in words."""
    eta_s: float | None
    """Time left at this rate; None while it is unknown."""
    failures: int
    """Structures that failed, those of earlier runs included."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What came of a run of a study."""

    study: str
    out: str
    trials_done: int
    trials_total: int
    trials_infeasible: int
    """Points that no structure can meet: pruned without any work, not among trials_done."""
    structures: int
    attained: int
    missed: int
    failed: int
    resumed: bool
    """Whether the folder held the study already."""
    interrupted: bool
    """Stopped by Ctrl-C; the same command goes on."""
    best_trial: int | None
    best_value: float | None
    best: str
    """The best trial in words; empty where there is none."""
    wall_time_s: float

    @property
    def finished(self) -> bool:
        return self.trials_done >= self.trials_total

    def lines(self) -> list[str]:
        """The summary in a few lines of text."""
        done = f"{self.trials_done} of {self.trials_total} trials done"
        if self.trials_infeasible:
            done += f", {self.trials_infeasible} infeasible points skipped"
        counts = f"{self.structures} structures: {self.attained} attained, {self.missed} missed, {self.failed} failed"
        lines = [done, counts]
        if self.best:
            lines.append(f"best: {self.best}")
        elif self.trials_done:
            lines.append("best: none; no trial has a value of the objective and meets every constraint")
        if self.interrupted:
            lines.append(
                f"stopped; every finished structure is kept in {self.out}, the same command goes on from there"
            )
        return lines

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def best_trial(trials: Sequence[FrozenTrial], objective: Objective) -> FrozenTrial | None:
    """The best complete trial that meets every constraint; the earliest of equals."""
    best: FrozenTrial | None = None
    for trial in trials:
        if trial.state is not TrialState.COMPLETE or trial.value is None:
            continue
        if any(violation > 0 for violation in trial.constraints.values()):
            continue
        if best is None or best.value is None or objective.better(trial.value, best.value):
            best = trial
    return best


def describe_best(config: StudyConfig, number: int, value: float) -> str:
    return f"{config.objective.metric} = {value:.4g} (trial {number})"
