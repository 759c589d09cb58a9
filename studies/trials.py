"""The trials of a study as an Arrow table: what was asked, what came of it."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from optuna.trial import FrozenTrial, TrialState

from engine.errors import InputError
from engine.metrics import parse_metric
from studies.config import Budget, Objective
from studies.folder import STUDY_FILE
from studies.front import BestTrial, Front
from studies.storage import read_trials

Column = tuple[pa.DataType, str, str]  # type, unit, meaning
_UTC = pa.timestamp("us", tz="UTC")
_FIXED: dict[str, tuple[Column, Callable[[FrozenTrial], Any]]] = {
    "trial": ((pa.int64(), "", "number of the trial"), lambda trial: trial.number),
    "state": (
        (pa.string(), "", "complete, running, or fail (every structure failed, or one has no value)"),
        lambda trial: trial.state.name.lower(),
    ),
    "value": (
        (pa.float64(), "", "objective: mean over the trial's structures; of a map the cells newly covered"),
        lambda trial: trial.values[0] if trial.values and len(trial.values) == 1 else None,
    ),
    "feasible": (
        (pa.bool_(), "", "whether every constraint holds; null while it runs"),
        lambda trial: all(v <= 0 for v in trial.constraints.values()) if trial.state.is_finished() else None,
    ),
    "reason": ((pa.string(), "", "why a trial has no value"), lambda trial: trial.user_attrs.get("reason")),
    "started": ((_UTC, "", "when it was asked"), lambda trial: trial.datetime_start),
    "finished": ((_UTC, "", "when it was told"), lambda trial: trial.datetime_complete),
}
_BEST: Column = (pa.bool_(), "", "feasible and beaten by no other: the best trial, or one of the Pareto front")


def trials_table(out: Path) -> pa.Table:
    """The trials of a study, from its journal as it is now; without lock, tolerant of a torn tail.

    Columns beside the fixed ones: `param_*` (what was sampled), `target_*` per targeted metric, `achieved_*` per metric
    that the study names (several objectives are found there), `structures_*` counts, `violation_*` per constraint
    (holds at or below 0).
    """
    trials = read_trials(out)
    best = {item.trial for item in front_of(_objectives(out), trials)}
    columns: dict[str, Column] = {name: column for name, (column, _) in _FIXED.items()} | {"best": _BEST}
    rows: list[dict[str, Any]] = []
    for trial in trials:
        row: dict[str, Any] = {name: value(trial) for name, (_, value) in _FIXED.items()}
        row["best"] = trial.number in best
        for key, value in trial.params.items():
            _put(row, columns, f"param_{_column(key)}", value, f"sampled value of {key}")
        for key, value in trial.user_attrs.items():
            if key != "reason":
                _put(row, columns, _column(key), value, _describe(key))
        for key, value in trial.constraints.items():
            _put(row, columns, f"violation_{_column(key)}", value, f"violation of {key}; at or below 0 it holds")
        rows.append(row)
    schema = pa.schema(
        [
            pa.field(name, kind, metadata={"unit": unit, "meaning": meaning})
            for name, (kind, unit, meaning) in columns.items()
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def front_of(objectives: Sequence[Objective], trials: Sequence[FrozenTrial]) -> list[BestTrial]:
    """Trials that no other beats, best first; [] without objectives."""
    if not objectives:
        return []
    front = Front(objectives, Budget(trials=1))
    for trial in trials:
        values = trial.values if trial.state is TrialState.COMPLETE else None
        front.add(trial.number, values, feasible=all(violation <= 0 for violation in trial.constraints.values()))
    return front.members


def _objectives(out: Path) -> list[Objective]:
    """From the frozen study; [] where there is none."""
    try:
        document = yaml.safe_load((out / STUDY_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise InputError(f"{out / STUDY_FILE}: cannot be read as a study; restore it") from None
    stated = [document["objective"]] if "objective" in document else document.get("objectives", [])
    return [
        Objective(metric=parse_metric(text), maximize=direction == "maximize")
        for each in stated
        for direction, text in each.items()
    ]


def _put(row: dict[str, Any], columns: dict[str, Column], name: str, value: object, meaning: str) -> None:
    number = isinstance(value, int | float)
    columns.setdefault(name, (pa.float64() if number else pa.string(), "", meaning))
    row[name] = value if number == (columns[name][0] == pa.float64()) else None


def _describe(attribute: str) -> str:
    """Meaning of an attribute that `studies.score` gives a trial."""
    word, _, metric = attribute.partition(" ")
    if word == "achieved":
        return f"mean of {metric} over the trial's structures"
    return f"middle of the target on {metric}" if word == "target" else f"number of structures {metric}"


_RELATIONS = {"<=": " at most ", ">=": " at least ", "=": " "}


def _column(text: str) -> str:
    """`achieved diffusivity[pore,z]` -> `achieved_diffusivity_pore_z`."""
    for relation, words in _RELATIONS.items():
        text = text.replace(relation, words)
    return re.sub(r"[^0-9a-z]+", "_", text.lower()).strip("_")
