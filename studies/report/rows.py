"""The rows of a results folder as the report uses them: columns as arrays, metrics with names and units, targets."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.errors import InputError
from engine.guidance.targets import Target, parse_target
from engine.metrics import Metric, all_metrics, mean_metrics, own_metrics, parse_metric
from studies.folder import STUDY_FILE
from studies.table import read_structures, structure_schema
from studies.yaml_file import read_yaml

STATUSES = ("attained", "missed", "unguided", "failed")


@dataclass(frozen=True, kw_only=True)
class Column:
    """A number that structures have."""

    name: str
    """Column of the structure table."""
    label: str
    """The metric as a user writes it, where it is one."""
    unit: str
    meaning: str
    values: NDArray[np.float64]
    """[rows]; NaN where a structure has none."""


class Rows:
    """The structures of a folder, and the study they belong to where there is one."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.table = read_structures(out)
        if not self.table.num_rows:
            raise InputError(f"{out}: holds no structures yet; nothing can be reported")
        path = out / STUDY_FILE
        self.study_text = path.read_text(encoding="utf-8") if path.is_file() else ""
        self.study: dict[str, Any] = read_yaml(self.study_text, str(path)) if self.study_text else {}

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def texts(self, name: str) -> list[str]:
        """A column as text, empty where it is missing."""
        if name not in self.table.column_names:
            return [""] * len(self)
        return ["" if value is None else str(value) for value in self.table[name].to_pylist()]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as numbers, NaN where it is missing. Seeds do not fit: they are texts."""
        if name not in self.table.column_names:
            return np.full(len(self), np.nan)
        values = self.table[name].cast(pa.float64()).to_numpy()
        return np.where(np.isfinite(values), values, np.nan)

    def distinct(self, name: str) -> list[str]:
        return sorted({text for text in self.texts(name) if text})

    @cached_property
    def ids(self) -> list[str]:
        return self.texts("structure_id")

    @cached_property
    def status(self) -> NDArray[np.int8]:
        """[rows] index into STATUSES."""
        place = {name: index for index, name in enumerate(STATUSES)}
        return np.array([place.get(text, 1) for text in self.texts("status")], np.int8)

    @cached_property
    def phases(self) -> list[str]:
        """Names of the phases, from the columns of their fractions."""
        names = self.table.column_names
        return [
            name.removeprefix("fraction_") for name in names if f"{name}_outcome" in names and name[:9] == "fraction_"
        ]

    @cached_property
    def columns(self) -> list[Column]:
        """Every measured number of which some structure has a value, in the order of the table."""
        known = (*all_metrics(self.phases), *mean_metrics(self.phases), *own_metrics(self.table.schema.names))
        metrics = {metric.column: metric for metric in known}
        fixed = set(structure_schema(()).names)
        found = []
        for field in self.table.schema:
            if field.name in fixed or not pa.types.is_floating(field.type):
                continue
            values = self.numbers(field.name)
            if np.isnan(values).all():
                continue
            metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
            metric = metrics.get(field.name)
            found.append(
                Column(
                    name=field.name,
                    label=field.name if metric is None else str(metric),
                    unit=metadata.get("unit", ""),
                    meaning=metadata.get("meaning", ""),
                    values=values,
                )
            )
        return found

    def place(self, metric: str) -> int | None:
        """Index into `columns` of a metric, by its name or column; None where no structure has it."""
        for index, column in enumerate(self.columns):
            if metric in (column.label, column.name):
                return index
        return None

    @cached_property
    def targets(self) -> list[list[Target]]:
        """[rows] what each structure was asked to have."""
        known: dict[str, Target] = {}
        found = []
        for texts in self.table["targets"].to_pylist() if "targets" in self.table.column_names else [None] * len(self):
            for text in texts or ():
                if text not in known:
                    known[text] = parse_target(text)
            found.append([known[text] for text in texts or ()])
        return found

    @cached_property
    def targeted(self) -> list[Metric]:
        """Metrics that some structure was asked for, by first appearance."""
        return list(dict.fromkeys(target.metric for targets in self.targets for target in targets))

    def asked(self, metric: Metric) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """[rows] lower and upper limit of the targets on a metric; NaN where it was not asked for, else perhaps inf."""
        low, high = np.full(len(self), np.nan), np.full(len(self), np.nan)
        for row, targets in enumerate(self.targets):
            for target in targets:
                if target.metric == metric:
                    low[row], high[row] = np.fmax(low[row], target.low), np.fmin(high[row], target.high)
        return low, high

    @cached_property
    def objectives(self) -> list[tuple[Metric, bool]]:
        """(metric, whether more is better) of the study; empty where there is none."""
        stated = self.study.get("objectives") or self.study.get("objective") or []
        entries = stated if isinstance(stated, list) else [stated]
        return [
            (parse_metric(text), direction == "maximize")
            for entry in entries
            for direction, text in entry.items()
            if direction in ("maximize", "minimize")
        ]

    @cached_property
    def constraints(self) -> list[Target]:
        return [parse_target(text) for text in self.study.get("constraints") or []]

    @cached_property
    def searched(self) -> list[Metric]:
        """Metrics that the study varies."""
        return [parse_metric(key) for key in self.study.get("search") or {} if not key.startswith("settings.")]


def first_present(rows: Rows, metrics: Sequence[Metric], *, besides: Sequence[int] = ()) -> int | None:
    """Index of the first column among these metrics that exists."""
    for metric in metrics:
        place = rows.place(str(metric))
        if place is not None and place not in besides:
            return place
    return None
