"""The loop of a study: ask -> submit -> tell, with bounded work in flight and rows durable before tell.

What survives a kill at any moment:

- a trial exists once its parameters are on disk, which is before its first request is submitted;
- a structure is finished once its row's file is durable;
- a trial is told once every row of it is durable.

A restart therefore continues every RUNNING trial under its own number: parameters that a kill cut off are chosen again
(the choice depends on the number and the trials before it alone), finished rows are read, missing samples computed,
then it is told. Rows of told trials that a disk has lost since are made again as well.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from actors.messages import Completed, Result
from actors.pool import Pool
from actors.rows import Row, make_failed_row, request_columns
from engine.guidance.targets import Target
from engine.outcomes import DesignOutcome
from engine.request import Request, structure_id
from engine.version import code_version
from studies.config import StudyConfig
from studies.folder import hold_study
from studies.front import Front
from studies.interrupts import interrupts_deferred
from studies.mapping import Coverage
from studies.runs import RunRecord, log, recorded, seconds_before
from studies.samplers import StudySampler
from studies.score import score
from studies.space import GUIDED, distributions, has_params, requests_of
from studies.storage import OpenStudy, open_study, read_trials
from studies.summary import Progress, Summary, Tally, TimeSpent, describe_best
from studies.table import read_structures, rows_of_trials, set_damaged_aside, write_rows

WAIT_S = 0.5  # short enough for Ctrl-C and the progress bar, long enough to cost nothing
FLUSH_S = 2.0  # at most one file of rows in this time, unless there are FLUSH_ROWS or nothing is in flight
FLUSH_ROWS = 256
DRAIN_S = 60.0  # after Ctrl-C, for the measurement of what is generated: a large volume takes seconds
REPORT_S = 0.1  # at most one report of progress in this time: a terminal shows no more


def run_study(
    config: StudyConfig, out: Path, pool: Pool, on_progress: Callable[[Progress], None] = lambda progress: None
) -> Summary:
    """Run a study to its end, or go on with it where it stopped.

    Args:
        config: the study.
        out: its folder; made where missing.
        pool: takes the requests; made and closed by the caller, within `studies.folder.hold_study`.
        on_progress: called after events, at most ten times a second, and at the end.

    Returns:
        the summary; `interrupted` where Ctrl-C stopped the run.

    Raises:
        InputError: the folder holds something else or is in use; hardly any point of the search can be met.
        WorkError: no worker is left, or the disk is full. What is finished is kept.
    """
    with hold_study(config, out):
        before_s = seconds_before(out)
        coverage = Coverage(config) if config.map else None
        with open_study(config, out, StudySampler(config, coverage)) as opened, recorded(out) as record:
            driver = Driver(config, out, pool, opened, coverage, record=record, before_s=before_s, report=on_progress)
            return driver.run()


def trials_left(config: StudyConfig, out: Path) -> int | None:
    """How many trials of a study are still to be told, or None where their number is open. Takes no lock."""
    if config.budget.trials is None:
        return None
    return max(config.budget.trials - sum(trial.state.is_finished() for trial in read_trials(out)), 0)


@dataclass(kw_only=True)
class _Open:
    """A trial that is being worked on."""

    trial: Trial | None
    """None where it is told already and only rows are made again."""
    number: int
    guided: bool
    targets: tuple[Target, ...]
    missing: set[str] = field(default_factory=set)
    """Structures without a row."""
    rows: list[Row] = field(default_factory=list)
    unsaved: int = 0
    """Rows of it that are not durable yet."""

    @property
    def complete(self) -> bool:
        return not self.missing and not self.unsaved


class Driver:
    """One run of a study. The caller holds its folder and its trials."""

    def __init__(
        self,
        config: StudyConfig,
        out: Path,
        pool: Pool,
        opened: OpenStudy,
        coverage: Coverage | None,
        *,
        record: RunRecord,
        before_s: float = 0.0,
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._config, self._out, self._pool, self._coverage = config, out, pool, coverage
        self._study, self._flush = opened.study, opened.flush
        self._record, self._before_s, self._on_progress = record, before_s, report
        self._open: dict[int, _Open] = {}  # by number, in the order of asking
        self._repairs: dict[int, _Open] = {}
        self._queue: deque[tuple[int, int, Request]] = deque()  # trial, sample, request: not submitted yet
        self._in_flight: dict[str, tuple[int, int, Request]] = {}
        self._unsaved: list[Row] = []
        self._front = Front(config.objectives, config.budget)
        self._told_since_new = 0  # of a map
        self._tally = Tally()
        self._done = 0
        self._fresh = 0  # structures of this run
        self._damaged: list[Path] = []
        self._resumed = self._stopping = False
        self._spent = {"waiting": 0.0, "choosing": 0.0, "writing": 0.0}
        self._start = time.monotonic()
        self._last_flush = self._last_report = -FLUSH_S

    def run(self) -> Summary:
        """Work until the study is done, or Ctrl-C."""
        interrupted = False
        try:
            with interrupts_deferred():
                self._recover()
            log("run started", study=self._config.name, resumed=self._resumed, trials_done=self._done)
            self._report(force=True)
            while self._advance() or self._in_flight:
                with self._timed("waiting"):
                    results = self._pool.wait(WAIT_S)
                self._take(results)
                self._report()
        except KeyboardInterrupt:
            interrupted = True
            self._drain()
        except Exception as error:
            log("run failed", error_type=type(error).__name__, message=str(error))
            self._record.keep(self._summary(f"failed: {error}").document())
            raise
        finally:
            self._save()
            with interrupts_deferred():
                if not self._config.deterministic:  # there the next run tells them, one told for one asked
                    self._tell_complete()
                self._flush()
        self._report(force=True)
        summary = self._summary("interrupted" if interrupted else self._end() or "budget")
        self._record.keep(summary.document())
        log("run ended", stopped=summary.stopped, trials_done=self._done, structures=summary.structures)
        return summary

    def _drain(self) -> None:
        """After Ctrl-C: take what is generated already. Another Ctrl-C abandons it."""
        log("interrupted", in_flight=len(self._in_flight))
        self._stopping = True
        self._report(force=True)
        with suppress(KeyboardInterrupt):
            self._take(self._pool.drain(DRAIN_S))

    # Taking up what earlier runs left

    def _recover(self) -> None:
        self._damaged = set_damaged_aside(self._out)
        for path in self._damaged:
            log("rows unreadable", file=str(path))
        trials = self._study.get_trials(deepcopy=False)
        self._resumed = bool(trials)
        table = read_structures(self._out)
        self._tally.add(table.to_pylist())
        there = set(table["structure_id"].to_pylist())
        running = [trial.number for trial in trials if trial.state is TrialState.RUNNING]
        kept = {str(row["structure_id"]): row for row in rows_of_trials(table, running)}
        told = [trial for trial in trials if trial.state.is_finished()]
        for trial in sorted(told, key=lambda trial: (trial.datetime_complete is None, trial.datetime_complete)):
            self._done += 1
            self._note(trial, rows_of_trials(table, [trial.number]) if self._coverage is not None else [])
            samples = range(self._config.samples)
            if has_params(self._config, trial) and any(
                structure_id(self._config.name, trial.number, sample) not in there for sample in samples
            ):
                self._begin(trial, None, {str(r["structure_id"]): r for r in rows_of_trials(table, [trial.number])})
        for number in running:
            trial = trials[number]
            # tell takes a number; attributes, and parameters that a kill cut off, need the trial itself
            live = Trial(self._study, trial._trial_id)
            self._choose(live)
            self._begin(live, live, kept)

    def _note(self, trial: FrozenTrial, rows: Sequence[Row]) -> None:
        """Count a told trial towards the best so far."""
        if self._coverage is not None:
            new = self._coverage.add(rows, guided=trial.params.get(GUIDED) is not False)
            self._told_since_new = 0 if new else self._told_since_new + 1
            return
        values = trial.values if trial.state is TrialState.COMPLETE else None
        feasible = all(violation <= 0 for violation in trial.constraints.values())
        self._front.add(trial.number, values, feasible=feasible)

    # Asking and submitting

    def _advance(self) -> bool:
        """Tell and ask as far as possible, then fill the pool's free slots. Returns whether work is left."""
        with interrupts_deferred():
            for number in [number for number, opened in self._repairs.items() if opened.complete]:
                del self._repairs[number]
            if self._config.deterministic:
                # One trial told, one asked: what a choice may know does not depend on how results fall together.
                while self._ask_up_to(self._config.window) and self._tell_oldest():
                    pass
            else:
                self._tell_complete()
                while len(self._queue) < self._pool.free_slots and self._ask():
                    pass
            with self._timed("writing"):
                self._flush()
        while self._queue and self._pool.free_slots > 0:
            with interrupts_deferred():
                item = self._queue.popleft()
                self._in_flight[item[2].structure_id] = item
                self._pool.submit(item[2])
        return bool(self._queue)

    def _ask_up_to(self, window: int) -> bool:
        while len(self._open) < window and self._ask():
            pass
        return True

    def _ask(self) -> bool:
        """Ask for a trial. Returns whether there is one."""
        if self._end() is not None:
            return False
        with self._timed("choosing"):
            trial = self._study.ask()
            self._choose(trial)
        self._begin(trial, trial, {})
        return True

    def _end(self) -> str | None:
        """Why no further trial is asked; None where one is."""
        budget = self._config.budget
        if budget.trials is not None and self._done + len(self._open) >= budget.trials:
            return "budget"
        if budget.hours is not None and self._before_s + time.monotonic() - self._start >= 3600 * budget.hours:
            return "hours"
        since = self._told_since_new if self._coverage is not None else self._front.told_since_new
        return "converged" if budget.after is not None and since >= budget.after else None

    def _choose(self, trial: Trial) -> None:
        """Choose the parameters of a trial, those that it has not yet."""
        for name, distribution in distributions(self._config, trial.number).items():
            _suggest(trial, name, distribution)

    def _begin(self, found: Trial | FrozenTrial, trial: Trial | None, kept: dict[str, Row]) -> None:
        """Queue the requests of a trial that have no row in `kept`; `trial` is None where it is told already."""
        requests = requests_of(self._config, found.number, found.params)
        opened = _Open(
            trial=trial,
            number=found.number,
            guided=found.params.get(GUIDED) is not False,
            targets=requests[0].targets,
        )
        (self._repairs if trial is None else self._open)[found.number] = opened
        for sample, request in enumerate(requests):
            row = kept.get(request.structure_id)
            if row is not None and self._answers(row, request):
                opened.rows.append(row)
            else:
                opened.missing.add(request.structure_id)
                self._queue.append((found.number, sample, request))

    def _answers(self, row: Row, request: Request) -> bool:
        """Whether a row on disk answers a request, and is not that of a trial that the journal has lost since."""
        asked = request_columns(request) | {"bundle_hash": self._hash(request)}
        there = row | {"targets": row.get("targets") or []}
        return all(there.get(name) == value for name, value in asked.items())

    def _hash(self, request: Request) -> str:
        return next(bundle.hash for bundle in self._config.bundles if bundle.name == request.bundle)

    # Results

    def _take(self, results: Sequence[Result]) -> None:
        """Put results into their trials; write rows when it is time."""
        with interrupts_deferred():
            for result in results:
                item = self._in_flight.pop(result.structure_id, None)
                if item is None:
                    continue  # not ours, or twice
                number, sample, request = item
                row = self._row(result, request) | {"study": self._config.name, "trial": number, "sample": sample}
                opened = self._repairs[number] if number in self._repairs else self._open[number]
                opened.rows.append(row)
                opened.missing.discard(request.structure_id)
                opened.unsaved += 1
                self._unsaved.append(row)
                self._tally.add([row], opened.targets)
                self._fresh += 1
            waited = time.monotonic() - self._last_flush >= FLUSH_S
            if self._unsaved and (waited or len(self._unsaved) >= FLUSH_ROWS or not self._in_flight):
                self._save()

    def _row(self, result: Result, request: Request) -> Row:
        if isinstance(result, Completed):
            return result.row | {"attempt": result.attempt}
        log(
            "structure failed",
            structure_id=request.structure_id,
            error_type=result.error_type,
            message=result.message,
            attempt=result.attempt,
        )
        return make_failed_row(request, result, code_version=code_version()) | {
            "bundle_hash": self._hash(request),
            "error_type": result.error_type,
            "traceback": result.traceback,
            "attempt": result.attempt,
            "failed_wall_time_s": result.wall_time_s,
        }

    def _save(self) -> None:
        """Make the rows at hand durable."""
        if not self._unsaved:
            return
        with interrupts_deferred(), self._timed("writing"):
            write_rows(self._out, self._unsaved, self._config.phases)
            for row in self._unsaved:
                number = int(row["trial"])  # type: ignore[call-overload]
                (self._repairs[number] if number in self._repairs else self._open[number]).unsaved -= 1
            self._unsaved.clear()
            self._last_flush = time.monotonic()
            if self._record.due:
                self._record.keep(self._summary("running").document())

    # Telling

    def _tell_complete(self) -> None:
        """Tell every trial whose rows are all durable."""
        for opened in [opened for opened in self._open.values() if opened.complete]:
            self._tell(opened)

    def _tell_oldest(self) -> bool:
        oldest = next(iter(self._open.values()), None)
        if oldest is None or not oldest.complete:
            return False
        self._tell(oldest)
        return True

    def _tell(self, opened: _Open) -> None:
        del self._open[opened.number]
        trial, told = opened.trial, opened.trial.constraints if opened.trial else {}
        assert trial is not None
        with self._timed("writing"):
            result = score(self._config, opened.targets, opened.rows)
            values = result.values
            if values is not None and self._coverage is not None:
                new = self._coverage.add(opened.rows, guided=opened.guided)
                self._told_since_new = 0 if new else self._told_since_new + 1
                values = (float(new),)
            elif self._coverage is not None:
                self._told_since_new += 1
            else:
                self._front.add(opened.number, values, feasible=result.feasible)
            for name, value in result.attributes.items():
                trial.set_user_attr(name, value)
            for name, violation in result.constraints.items():
                if name not in told:  # a kill may have come between this and tell
                    trial.set_constraint(name, violation)
            if values is None:
                trial.set_user_attr("reason", result.reason)
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                self._study.tell(trial, list(values))
        self._done += 1
        log("trial told", trial=opened.number, values=values, feasible=result.feasible, reason=result.reason)

    # Reporting

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._spent[what] += time.monotonic() - started

    def _report(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._last_report < REPORT_S:
            return
        self._last_report = now
        trials = self._config.budget.trials
        done, total = self._tally.structures, None if trials is None else trials * self._config.samples
        elapsed = now - self._start
        rate = self._fresh / elapsed if elapsed > 0 else 0.0
        self._on_progress(
            Progress(
                trials_done=self._done,
                trials_total=trials,
                structures_done=done,
                structures_total=total,
                structures_in_flight=len(self._in_flight),
                structures_per_s=rate,
                best=self._best_text(),
                eta_s=max(total - done, 0) / rate if rate > 0 and total is not None else None,
                failures=self._tally.status[DesignOutcome.FAILED],
                stopping=self._stopping,
            )
        )

    def _best_text(self) -> str:
        if self._coverage is not None:
            return f"{self._coverage.covered} of {self._coverage.cells} cells"
        return describe_best(self._config, self._front.members)

    def _summary(self, stopped: str) -> Summary:
        stats, status = self._pool.stats, self._tally.status
        return Summary(
            study=self._config.name,
            mode=str(self._config.mode),
            out=str(self._out),
            stopped=stopped,
            trials_done=self._done,
            trials_total=self._config.budget.trials,
            structures=self._tally.structures,
            attained=status[DesignOutcome.ATTAINED],
            missed=status[DesignOutcome.MISSED],
            unguided=status[DesignOutcome.UNGUIDED],
            failed=status[DesignOutcome.FAILED],
            missed_targets=dict(self._tally.missed.most_common()),
            failures=dict(self._tally.failures.most_common()),
            resumed=self._resumed,
            damaged=[str(path) for path in self._damaged],
            retried=stats.retried,
            replaced=stats.replaced,
            best=self._front.members,
            best_text=self._best_text(),
            coverage=self._coverage.report() if self._coverage is not None else None,
            time=TimeSpent(
                wall_time_s=time.monotonic() - self._start,
                waiting_s=self._spent["waiting"],
                choosing_s=self._spent["choosing"],
                writing_s=self._spent["writing"],
                busy_s=dict(stats.busy_s),
                ready_s=dict(stats.ready_s),
            ),
            earlier_runs_s=self._before_s,
        )


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> None:
    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    else:
        assert isinstance(distribution, FloatDistribution)
        trial.suggest_float(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
