"""The loop of a study: ask -> submit -> tell, with bounded work in flight and rows durable before tell.

What survives a kill at any moment:

- a trial exists once Optuna's journal has its parameters, which is before its first request is submitted;
- a structure is finished once its row's file is durable;
- a trial is told once every row of it is durable.

A restart therefore continues every RUNNING trial that has parameters under its own number: finished rows are read,
missing samples are computed, then it is told. A trial cut off before it had parameters is told as failed.

An infeasible point (a one-axis diffusivity above the phase's fraction, say) is told as PRUNED with the violated
constraint `feasible`, at once and without any work: TPE learns to avoid it, no value is made up, and it does not
count as one of the study's trials.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import Trial, TrialState

from actors.messages import Completed, Result
from actors.pool import Pool
from actors.rows import Row, make_failed_row
from engine.errors import InputError
from engine.guidance.targets import Target
from engine.outcomes import DesignOutcome
from engine.request import Request
from engine.version import code_version
from studies.config import StudyConfig, grid_points
from studies.folder import hold_study
from studies.interrupts import interrupts_deferred
from studies.score import score
from studies.space import distributions, has_params, make_sampler, requests_of
from studies.storage import open_study, read_trials
from studies.summary import Progress, Summary, best_trial, describe_best
from studies.table import read_structures, rows_of_trials, write_rows

WAIT_S = 0.5  # short enough for Ctrl-C and the progress bar, long enough to cost nothing
FLUSH_S = 2.0  # at most one file of rows in this time, unless there are FLUSH_ROWS or nothing is in flight
FLUSH_ROWS = 64
INFEASIBLE_PER_TRIAL = 20  # a search that is infeasible more often than this is stated wrongly


def run_study(
    config: StudyConfig, out: Path, pool: Pool, on_progress: Callable[[Progress], None] = lambda progress: None
) -> Summary:
    """Run a study to its end, or go on with it where it stopped.

    Args:
        config: the study.
        out: its folder; made where missing.
        pool: takes the requests; made and closed by the caller, within `studies.folder.hold_study`.
        on_progress: called after every event and about twice a second.

    Returns:
        the summary; `interrupted` where Ctrl-C stopped the run.

    Raises:
        InputError: the folder holds something else or is in use; hardly any point of the search is feasible.
        WorkError: no worker is left, or the disk is full. What is finished is kept.
    """
    with hold_study(config, out), open_study(config, out) as study:
        return _Driver(config, out, pool, study, on_progress).run()


def trials_left(config: StudyConfig, out: Path) -> int:
    """How many trials of a study are still to be told; 0 means that `run_study` has nothing to do. Takes no lock."""
    told = (TrialState.COMPLETE, TrialState.FAIL)
    done = sum(trial.state in told and has_params(config, trial) for trial in read_trials(out))
    return max(config.trials - done, 0)


@dataclass(kw_only=True)
class _Open:
    """A trial that is being worked on."""

    trial: Trial
    targets: tuple[Target, ...]
    missing: set[str] = field(default_factory=set)
    """Structures without a row."""
    rows: list[Row] = field(default_factory=list)


class _Driver:
    """One run of a study."""

    def __init__(
        self,
        config: StudyConfig,
        out: Path,
        pool: Pool,
        study: optuna.Study,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._config, self._out, self._pool, self._study, self._on_progress = config, out, pool, study, on_progress
        self._distributions = distributions(config)
        self._open: dict[int, _Open] = {}
        self._queue: deque[tuple[int, int, Request]] = deque()  # trial, sample, request: not submitted yet
        self._in_flight: dict[str, tuple[int, int, Request]] = {}
        self._unsaved: list[Row] = []
        self._last_flush = -FLUSH_S
        self._with_params = 0  # trials that have parameters: the next one's place in a sampler's sequence
        self._done = 0
        self._infeasible = 0
        self._status: dict[str, int] = dict.fromkeys(DesignOutcome, 0)
        self._best: tuple[int, float] | None = None
        self._fresh = 0  # structures of this run
        self._start = time.monotonic()
        self._resumed = False

    def run(self) -> Summary:
        """Work until every trial is told, or Ctrl-C."""
        interrupted = False
        try:
            with interrupts_deferred():
                self._recover()
            self._report()
            while self._submit() or self._in_flight:
                self._take(self._pool.wait(WAIT_S))
                self._report()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self._save()
        return self._summary(interrupted=interrupted)

    def _recover(self) -> None:
        """Take up what earlier runs left."""
        trials = self._study.get_trials(deepcopy=False)
        self._resumed = bool(trials)
        table = read_structures(self._out)
        for status in table["status"].to_pylist():
            self._status[status] += 1
        running = [trial.number for trial in trials if trial.state is TrialState.RUNNING]
        kept = {str(row["structure_id"]): row for row in rows_of_trials(table, running)}
        for trial in trials:
            if not has_params(self._config, trial):
                if trial.state is TrialState.RUNNING:
                    self._study.tell(trial.number, state=TrialState.FAIL)
                continue
            self._with_params += 1
            if trial.state is TrialState.RUNNING:
                # tell takes a number; attributes need the trial itself
                self._begin(Trial(self._study, trial._trial_id), kept)
            elif trial.state is TrialState.PRUNED:
                self._infeasible += 1
            else:
                self._done += 1
        best = best_trial(trials, self._config.objective)
        if best is not None and best.value is not None:
            self._best = best.number, best.value
        self._tell_complete()

    def _submit(self) -> bool:
        """Fill the pool's free slots. Returns whether work is left."""
        while self._pool.free_slots > 0 and (self._queue or self._ask()):
            with interrupts_deferred():
                item = self._queue.popleft()
                self._in_flight[item[2].structure_id] = item
                self._pool.submit(item[2])
        return bool(self._queue) or self._wanted() > 0

    def _wanted(self) -> int:
        """How many trials are still to be asked."""
        wanted = self._config.trials - self._done - len(self._open)
        if self._config.sampler == "grid":
            wanted = min(wanted, grid_points(self._config.search) - self._with_params)
        return wanted

    def _ask(self) -> bool:
        """Ask for trials until one has work to do. Returns whether there is one."""
        while self._wanted() > 0:
            with interrupts_deferred():
                number = len(self._study.get_trials(deepcopy=False))
                self._study.sampler = make_sampler(self._config, self._with_params, number)
                trial = self._study.ask(self._distributions)
                self._with_params += 1
                if self._begin(trial, {}):
                    return True
        return False

    def _begin(self, trial: Trial, kept: dict[str, Row]) -> bool:
        """Queue the requests of a trial that have no row in `kept`. Returns False where its point is infeasible."""
        try:
            requests = requests_of(self._config, trial.number, trial.params)
        except InputError as error:
            self._prune(trial, str(error))
            return False
        opened = _Open(trial=trial, targets=requests[0].targets)
        self._open[trial.number] = opened
        for sample, request in enumerate(requests):
            row = kept.get(request.structure_id)
            if row is not None and _answers(row, request):
                opened.rows.append(row)
            else:
                opened.missing.add(request.structure_id)
                self._queue.append((trial.number, sample, request))
        return True

    def _prune(self, trial: Trial, reason: str) -> None:
        if "feasible" not in trial.constraints:  # a kill may have come between this and tell
            trial.set_constraint("feasible", 1.0)
        trial.set_user_attr("reason", reason)
        self._study.tell(trial.number, state=TrialState.PRUNED)
        self._infeasible += 1
        if self._infeasible > INFEASIBLE_PER_TRIAL * self._config.trials:
            raise InputError(
                f"search: {self._infeasible} points cannot be met by any structure, {self._done} can; narrow the "
                f"search (the last one: {reason})"
            )

    def _take(self, results: Sequence[Result]) -> None:
        """Put results into their trials; write rows and tell what is complete, when it is time."""
        with interrupts_deferred():
            for result in results:
                item = self._in_flight.pop(result.structure_id, None)
                if item is None:
                    continue  # not ours, or twice
                number, sample, request = item
                row = self._row(result, request) | {"study": self._config.name, "trial": number, "sample": sample}
                self._open[number].rows.append(row)
                self._open[number].missing.discard(request.structure_id)
                self._unsaved.append(row)
                self._status[str(row["status"])] += 1
                self._fresh += 1
            waited = time.monotonic() - self._last_flush >= FLUSH_S
            if self._unsaved and (waited or len(self._unsaved) >= FLUSH_ROWS or not self._in_flight):
                self._save()

    def _row(self, result: Result, request: Request) -> Row:
        if isinstance(result, Completed):
            return result.row | {"attempt": result.attempt}
        return make_failed_row(request, result, code_version=code_version()) | {
            "bundle_hash": self._config.bundle_hash,
            "error_type": result.error_type,
            "traceback": result.traceback,
            "attempt": result.attempt,
            "failed_wall_time_s": result.wall_time_s,
        }

    def _save(self) -> None:
        """Make the rows at hand durable, then tell the trials that have all of theirs."""
        with interrupts_deferred():
            if self._unsaved:
                write_rows(self._out, self._unsaved, self._config.phases)
                self._unsaved.clear()
                self._last_flush = time.monotonic()
            self._tell_complete()

    def _tell_complete(self) -> None:
        """Tell every trial whose rows are all durable; the caller has written them."""
        for number in [number for number, opened in self._open.items() if not opened.missing]:
            self._tell(number, self._open.pop(number))

    def _tell(self, number: int, opened: _Open) -> None:
        result = score(self._config, opened.targets, opened.rows)
        trial, told = opened.trial, opened.trial.constraints
        for name, value in result.attributes.items():
            trial.set_user_attr(name, value)
        for name, violation in result.constraints.items():
            if name not in told:  # a kill may have come between this and tell
                trial.set_constraint(name, violation)
        if result.value is None:
            trial.set_user_attr("reason", result.reason)
            self._study.tell(number, state=TrialState.FAIL)
        else:
            self._study.tell(number, result.value)
            feasible = all(violation <= 0 for violation in result.constraints.values())
            if feasible and (self._best is None or self._config.objective.better(result.value, self._best[1])):
                self._best = number, result.value
        self._done += 1

    def _report(self) -> None:
        done, total = sum(self._status.values()), self._config.trials * self._config.samples
        elapsed = time.monotonic() - self._start
        rate = self._fresh / elapsed if elapsed > 0 else 0.0
        self._on_progress(
            Progress(
                trials_done=self._done,
                trials_total=self._config.trials,
                structures_done=done,
                structures_total=total,
                structures_in_flight=len(self._in_flight),
                structures_per_s=rate,
                best=(self._best[1], describe_best(self._config, *self._best)) if self._best else None,
                eta_s=max(total - done, 0) / rate if rate > 0 else None,
                failures=self._status[DesignOutcome.FAILED],
            )
        )

    def _summary(self, *, interrupted: bool) -> Summary:
        number, value = self._best if self._best else (None, None)
        return Summary(
            study=self._config.name,
            out=str(self._out),
            trials_done=self._done,
            trials_total=self._config.trials,
            trials_infeasible=self._infeasible,
            structures=sum(self._status.values()),
            attained=self._status[DesignOutcome.ATTAINED],
            missed=self._status[DesignOutcome.MISSED],
            failed=self._status[DesignOutcome.FAILED],
            resumed=self._resumed,
            interrupted=interrupted,
            best_trial=number,
            best_value=value,
            best=describe_best(self._config, *self._best) if self._best else "",
            wall_time_s=time.monotonic() - self._start,
        )


def _answers(row: Row, request: Request) -> bool:
    """Whether a row on disk is the answer to a request, and not that of a trial that the journal has lost since."""
    targets = [str(target) for target in request.targets]
    return row["seed"] == request.seed and (row["targets"] or []) == targets
