"""What a study searches: one entry per number that Optuna chooses, a metric's target or a generation setting."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from engine.errors import InputError
from engine.metrics import Metric, nearest, parse_metric
from engine.request import Settings
from studies.yaml_file import EntryFile

_INTEGER_SETTINGS = ("steps", "harmonizing_passes", "refine_passes", "guidance_iterations")


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Half the width of a target, absolute or in percent of the goal."""

    value: float
    percent: bool = False

    def __post_init__(self) -> None:
        if not (self.value > 0 and math.isfinite(self.value)):
            raise InputError(f"tolerance: must be above 0, not {self.value:g}")

    def margin(self, goal: float) -> float:
        return abs(goal) * self.value / 100 if self.percent else self.value

    def __str__(self) -> str:
        return f"{self.value!r}%" if self.percent else repr(self.value)


@dataclass(frozen=True, kw_only=True)
class Range:
    """The values that one number of the search may take: [low, high], or the listed values."""

    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    integer: bool = False
    values: tuple[float | str, ...] = ()
    """Where not empty, the only values; low and high then span them."""

    def __post_init__(self) -> None:
        if self.values:
            if len(set(self.values)) != len(self.values):
                raise InputError("values: must differ from each other")
            return
        if self.low >= self.high:
            raise InputError(f"low: must be below high, not {self.low:g} with high {self.high:g}")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise InputError(f"step: must lie within (0, {self.high - self.low:g}], not {self.step:g}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise InputError("log: needs low above 0 and no step")

    def options(self) -> tuple[float | str, ...]:
        """Every value of a listed or stepped range, in order; empty for a continuous one."""
        if self.values:
            return self.values
        if self.step is None:
            return tuple(range(int(self.low), int(self.high) + 1)) if self.integer else ()
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1  # 1e-9: 0.3/0.1 is 2.9999999999999996
        options = [self.low + index * self.step for index in range(count)]
        return tuple(int(option) if self.integer else option for option in options)


@dataclass(frozen=True, kw_only=True)
class TargetSearch:
    """A metric whose target is searched."""

    metric: Metric
    range: Range
    tolerance: Tolerance
    times: tuple[tuple[float, float], ...] = ()
    """(fraction of the phase, natural value there), ascending; empty: the searched number is the value itself."""

    @property
    def key(self) -> str:
        """Its key in a study file."""
        return str(self.metric)

    @property
    def parameter(self) -> str:
        """Name of the Optuna parameter; a multiple says so, to be mistaken for no value on a dashboard."""
        return f"{self.metric} / natural" if self.times else str(self.metric)


@dataclass(frozen=True, kw_only=True)
class SettingSearch:
    """A generation setting that is searched, such as `settings.eta`."""

    setting: str
    range: Range

    @property
    def key(self) -> str:
        """Its key in a study file, and the name of the Optuna parameter."""
        return f"settings.{self.setting}"

    @property
    def parameter(self) -> str:
        return self.key


@dataclass(frozen=True, kw_only=True)
class ChoiceSearch:
    """A choice between several bundles, sizes or the like, which a study file lists at its top level."""

    parameter: str
    """Name of the Optuna parameter: `bundle`, `size`, `guided`."""
    range: Range


SearchEntry = TargetSearch | SettingSearch
Parameter = TargetSearch | SettingSearch | ChoiceSearch


def search_entry(key: str, entry: EntryFile, phases: tuple[str, ...]) -> SearchEntry:
    """Read one line of `search:`. Raises InputError."""
    prefix = f"search.{key}"
    try:
        if key.startswith("settings."):
            return _setting_search(key.removeprefix("settings."), entry)
        metric = parse_metric(key, phases)
        if entry.tolerance is None:
            raise InputError("tolerance: is missing; add it, such as 'tolerance: 0.01' or 'tolerance: 5%'")
        found = TargetSearch(
            metric=metric,
            range=_range(entry, integer=False),
            tolerance=read_tolerance(entry.tolerance),
            times=tuple(sorted((entry.times or {}).items())),
        )
        if any(isinstance(value, str) for value in found.range.values):
            raise InputError(f"values: must be numbers, not {list(found.range.values)}")
        if entry.times is not None:
            _check_times(found)
        elif found.range.low < metric.kind.low or found.range.high > metric.kind.high:
            raise InputError(
                f"must lie within [{metric.kind.low:g}, {metric.kind.high:g}], "
                f"not [{found.range.low:g}, {found.range.high:g}]; no structure has other values"
            )
        return found
    except InputError as error:
        raise InputError(f"{prefix}: {error}") from None


def _check_times(entry: TargetSearch) -> None:
    if entry.metric.name == "fraction":
        raise InputError("times: is the natural value at a phase fraction, so it cannot stand with a fraction")
    if len(entry.times) < 2:
        raise InputError("times: needs at least two fractions, such as {0.15: 0.027, 0.25: 0.08}")
    if any(not 0 <= fraction <= 1 or value <= 0 for fraction, value in entry.times):
        raise InputError("times: fractions must lie within [0, 1] and their values above 0")
    if entry.range.low <= 0:
        raise InputError(f"low: a multiple of the natural value must be above 0, not {entry.range.low:g}")


def _setting_search(setting: str, entry: EntryFile) -> SettingSearch:
    names = [field.name for field in fields(Settings)]
    if setting not in names:
        raise InputError(f"no setting is called '{setting}'{nearest(setting, names)}")
    if entry.tolerance is not None or entry.times is not None:
        raise InputError("a setting has neither tolerance nor times; they belong to a metric")
    found = SettingSearch(setting=setting, range=_range(entry, integer=setting in _INTEGER_SETTINGS))
    for value in found.range.values or (found.range.low, found.range.high):
        try:
            Settings(**dict[str, Any]({setting: value}))
        except TypeError:
            raise InputError(f"values: {value!r} cannot be used for {setting}") from None
    return found


def _range(entry: EntryFile, *, integer: bool) -> Range:
    if entry.values is not None:
        if entry.low is not None or entry.high is not None or entry.step is not None or entry.log:
            raise InputError("values: cannot stand together with low, high, step or log")
        values = tuple(entry.values)
        if not values or any(isinstance(value, bool) or not isinstance(value, int | float | str) for value in values):
            raise InputError("values: must be a list of numbers or words")
        numbers = [float(value) for value in values if not isinstance(value, str)]
        if any(not math.isfinite(number) for number in numbers):
            raise InputError("values: must be finite")
        if integer and any(not isinstance(value, int) for value in values):
            raise InputError("values: must be whole numbers")
        return Range(low=min(numbers, default=0.0), high=max(numbers, default=0.0), values=values, integer=integer)
    if entry.low is None or entry.high is None:
        raise InputError(f"{'low' if entry.low is None else 'high'}: is missing; give low and high, or values")
    if integer and any(number % 1 for number in (entry.low, entry.high, entry.step or 0.0)):
        raise InputError("low, high and step must be whole numbers here")
    cast: Callable[[float], float] = int if integer else float
    step = None if entry.step is None else cast(entry.step)
    return Range(low=cast(entry.low), high=cast(entry.high), step=step, log=entry.log, integer=integer)


def read_tolerance(value: object) -> Tolerance:
    """A number, or a percentage such as `5%`. Raises InputError."""
    text = str(value).strip()
    try:
        if isinstance(value, bool):
            raise ValueError
        return Tolerance(value=float(text.removesuffix("%")), percent=text.endswith("%"))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"tolerance: must be a number or a percentage such as 5%, not {value!r}") from None


def entry_document(entry: SearchEntry) -> dict[str, Any]:
    """The entry in the form of a study file."""
    if entry.range.values:
        document: dict[str, Any] = {"values": list(entry.range.values)}
    else:
        document = {"low": entry.range.low, "high": entry.range.high}
        if entry.range.step is not None:
            document["step"] = entry.range.step
        if entry.range.log:
            document["log"] = True
    if isinstance(entry, TargetSearch):
        document["tolerance"] = str(entry.tolerance) if entry.tolerance.percent else entry.tolerance.value
        if entry.times:
            document["times"] = dict(entry.times)
    return document
