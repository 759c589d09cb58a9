"""Where a study stands (`Progress`, while it runs) and what came of it (`Summary`, at the end)."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from actors.rows import Row
from engine.guidance.targets import Target
from engine.outcomes import DesignOutcome
from studies.config import Mode, StudyConfig
from studies.front import BestTrial
from studies.mapping import CoverageReport

MOST_REASONS = 5  # different reasons of failures that a summary lists


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A moment of a running study."""

    trials_done: int
    trials_total: int | None
    """None where hours or convergence alone end the study."""
    structures_done: int
    """Structures with a row, those of earlier runs included."""
    structures_total: int | None
    structures_in_flight: int
    structures_per_s: float
    """Of this run; 0 before its first structure."""
    best: str
    """The best feasible trial so far, the size of the front, or the cells covered, in words; empty where none."""
    eta_s: float | None
    """Time left at this rate; None while it is unknown."""
    failures: int
    """Structures that failed, those of earlier runs included."""
    stopping: bool = False
    """After Ctrl-C: what is generated is being measured."""


@dataclass(frozen=True, kw_only=True)
class TimeSpent:
    """Where the time of one run went."""

    wall_time_s: float
    waiting_s: float
    """Of the driver, for results."""
    choosing_s: float
    """Of the driver, for points to try."""
    writing_s: float
    """Of the driver, for rows and trials on disk."""
    busy_s: dict[str, float]
    """Work of each actor, such as design-0."""
    ready_s: dict[str, float]
    """From when each actor was ready to its last answer."""

    @property
    def design_share(self) -> float | None:
        """Part of their time that design actors spent inside the engine; None where there was none."""
        busy_s, ready_s = (
            sum(seconds for name, seconds in each.items() if name.startswith("design-"))
            for each in (self.busy_s, self.ready_s)
        )
        return min(busy_s / ready_s, 1.0) if ready_s > 0 else None  # two clocks, and an answer takes a moment

    def line(self) -> str:
        kinds: Counter[str] = Counter()
        for name, seconds in self.busy_s.items():
            kinds[name.partition("-")[0]] += seconds  # type: ignore[assignment]
        parts = [f"{kind} actors {_seconds(seconds)}" for kind, seconds in kinds.items()]
        share = self.design_share
        if share is not None:
            parts[0] += f" ({share:.0%} of their time)"
        driver = f"driver {_seconds(self.choosing_s)} choosing points, {_seconds(self.writing_s)} writing"
        return f"time: {_seconds(self.wall_time_s)}; " + ", ".join([*parts, driver])


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What came of a run of a study."""

    study: str
    mode: str
    out: str
    stopped: str
    """Why it ended: `budget` (trials), `hours`, `converged` or `interrupted`."""
    trials_done: int
    trials_total: int | None
    structures: int
    attained: int
    missed: int
    unguided: int
    failed: int
    missed_targets: dict[str, int]
    """Metric -> structures that missed its target."""
    failures: dict[str, int]
    """Reason -> structures that failed by it, the most frequent first."""
    resumed: bool
    """Whether the folder held the study already."""
    damaged: list[str]
    """Files of rows that could not be read and were set aside; their structures were made again."""
    retried: int
    replaced: int
    """Actors that died in this run and were replaced."""
    best: list[BestTrial]
    """The best trial of one objective, the Pareto front of several; empty where there is none."""
    best_text: str
    coverage: CoverageReport | None = None
    """Of a map."""
    time: TimeSpent
    earlier_runs_s: float = 0.0
    """Work of earlier runs of the study."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.stopped != "interrupted"

    @property
    def interrupted(self) -> bool:
        """Stopped by Ctrl-C; the same command goes on."""
        return self.stopped == "interrupted"

    def lines(self) -> list[str]:
        """The summary in a few lines of text."""
        total = "" if self.trials_total is None else f" of {self.trials_total}"
        end = {"hours": ", out of hours", "converged": ", converged"}.get(self.stopped, "")
        lines = [f"{self.trials_done}{total} trials done{end}"]
        counts = [f"{self.attained} attained", f"{self.missed} missed"]
        counts += [f"{self.unguided} unguided"] if self.unguided else []
        lines.append(f"{self.structures} structures: {', '.join(counts)}, {self.failed} failed")
        if self.missed_targets:
            lines.append("missed: " + ", ".join(f"{metric} {count}" for metric, count in self.missed_targets.items()))
        shown = list(self.failures.items())[:MOST_REASONS]
        lines += [f"failed: {count} by {reason}" for reason, count in shown]
        if len(self.failures) > len(shown):
            lines.append(f"failed: {len(self.failures) - len(shown)} more reasons, see the column reason")
        if self.damaged:
            lines.append(f"unreadable files of rows: {len(self.damaged)}, now in {self.out}/damaged; made again")
        lines.append(self.time.line() + (f", {self.replaced} actors replaced" if self.replaced else ""))
        if self.coverage is not None:
            lines += self.coverage.lines()
        elif self.best:
            lines.append(f"best: {self.best_text}")
        elif self.trials_done:
            lines.append("best: none; no trial has a value of every objective and meets every constraint")
        if self.interrupted:
            lines.append(
                f"stopped; every finished structure is kept in {self.out}, the same command goes on from there"
            )
        return lines

    def document(self) -> dict[str, Any]:
        """For `--json` and the record of the run."""
        document = asdict(self)
        document["time"]["design_share"] = self.time.design_share
        return document | {"finished": self.finished, "interrupted": self.interrupted}


class Tally:
    """Counts over the rows of a study."""

    def __init__(self) -> None:
        self.status: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    def add(self, rows: Iterable[Mapping[str, Any]], targets: Sequence[Target] | None = None) -> None:
        """Take in rows; without `targets` they are read from each row."""
        from engine.guidance.targets import parse_target

        for row in rows:
            self.status[str(row["status"])] += 1
            if row["status"] == DesignOutcome.FAILED:
                self.failures[_failure(row)] += 1
            elif row["status"] == DesignOutcome.MISSED:
                asked = [parse_target(text) for text in row["targets"] or ()] if targets is None else targets
                self.missed.update(str(t.metric) for t in asked if not t.holds(row.get(t.metric.column)))

    @property
    def structures(self) -> int:
        return self.status.total()


def _failure(row: Row | Mapping[str, Any]) -> str:
    """The kind of a failure: its error without the numbers that make every message its own."""
    reason = str(row.get("reason") or "no reason given").splitlines()[0]
    return reason.partition(" (attempt ")[0]


def describe_best(config: StudyConfig, best: Sequence[BestTrial]) -> str:
    """The best so far, in words."""
    if not best:
        return ""
    if config.mode is Mode.PARETO:
        return f"a front of {len(best)} trial{'s' if len(best) > 1 else ''}"
    return f"{config.objectives[0].metric} = {best[0].values[0]:.4g} (trial {best[0].trial})"


def _seconds(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )
