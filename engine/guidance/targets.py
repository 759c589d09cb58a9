"""Targets: what a structure is asked to have, in the grammar of the command line.

`METRIC=V±t`, `METRIC=V±p%`, `METRIC>=V`, `METRIC<=V`, `METRIC=[lo,hi]`; `+-` stands for `±`.
`s2[PHASE]=training±p%` asks for the S2 of the training images, up to a share p of the area below it: the same as
`s2_discrepancy[PHASE]<=p/100`; `lineal_path[PHASE]=training±p%` likewise.
`maximize METRIC` and `minimize METRIC` ask for as much or as little as the other targets let it have.
Every form is an interval [low, high], open towards infinity where one side is free.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.errors import InputError
from engine.metrics import Metric, parse_metric

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_VALUE = re.compile(rf"^({_NUMBER})\s*(?:±|\+-)\s*({_NUMBER})\s*(%?)$")
_INTERVAL = re.compile(rf"^\[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\]$")
_TRAINING = re.compile(rf"^(s2|lineal_path)\[([^\[\]]*)\]\s*=\s*training\s*(?:±|\+-)\s*({_NUMBER})\s*%$")
_EXTREME = re.compile(r"^(maximize|minimize)\s+(.+)$")
_SPLIT = re.compile(r"^([a-z][a-z0-9_]*\s*(?:\[[^\[\]]*\])?)\s*(>=|<=|=)\s*(.+)$")


@dataclass(frozen=True, kw_only=True)
class Target:
    """An interval that a metric of the finished volume must lie in, borders included."""

    metric: Metric
    low: float = -math.inf
    high: float = math.inf
    extreme: Literal["", "maximize", "minimize"] = ""
    """Of a metric without limits: which way it is to go as far as the other targets let it."""

    def __post_init__(self) -> None:
        if self.extreme:
            if not (math.isinf(self.low) and math.isinf(self.high)):
                raise InputError(f"{self.extreme} {self.metric}: has no limits; give them as a target of their own")
            return
        if math.isnan(self.low) or math.isnan(self.high) or (math.isinf(self.low) and math.isinf(self.high)):
            raise InputError(f"target on {self.metric}: needs at least one finite limit")
        if self.low >= self.high:
            raise InputError(
                f"target on {self.metric}: the interval [{self.low:g}, {self.high:g}] is empty; its first limit must "
                "be below its second, and a tolerance above 0"
            )

    @property
    def goal(self) -> float:
        """The value to steer towards: the middle, or the finite limit of a one-sided target."""
        assert not self.extreme, "an extreme has no value to steer towards"
        if math.isinf(self.low):
            return self.high
        return self.low if math.isinf(self.high) else 0.5 * (self.low + self.high)

    def miss(self, value: float) -> float:
        """Signed distance of `value` from the interval, in the metric's unit: 0 inside, < 0 below, > 0 above.

        What has no finite value holds nothing: infinite is above, NaN misses by NaN.
        """
        if not math.isfinite(value):
            return value
        return min(value - self.low, 0.0) + max(value - self.high, 0.0)

    def holds(self, value: float | None) -> bool:
        return value is not None and math.isfinite(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        if self.extreme:
            return f"{self.extreme} {self.metric}"
        if math.isinf(self.low):
            return f"{self.metric}<={self.high:.6g}"
        if math.isinf(self.high):
            return f"{self.metric}>={self.low:.6g}"
        return f"{self.metric}=[{self.low:.6g},{self.high:.6g}]"


def parse_target(text: str, phases: Sequence[str] | None = None) -> Target:
    """Read one target.

    Args:
        text: the target as the user wrote it, such as `fraction[pore]=0.2±0.01`.
        phases: phase names of the bundle; None accepts any name.

    Raises:
        InputError: the text is no target, or its metric, phase or axis is unknown.
    """
    if extreme := _EXTREME.match(text.strip()):
        return parse_extreme(extreme.group(2), extreme.group(1), phases)
    if training := _TRAINING.match(text.strip()):
        metric = parse_metric(f"{training.group(1)}_discrepancy[{training.group(2)}]", phases)
        if float(training.group(3)) <= 0:
            raise InputError(f"target '{text}': the tolerance must be above 0")
        return Target(metric=metric, high=float(training.group(3)) / 100)
    split = _SPLIT.match(text.strip())
    if split is None:
        raise InputError(
            f"target '{text}': expected METRIC=V±t, METRIC=V±p%, METRIC>=V, METRIC<=V, METRIC=[lo,hi], "
            "s2[PHASE]=training±p% or lineal_path[PHASE]=training±p%"
        )
    metric = parse_metric(split.group(1), phases)
    relation, right = split.group(2), split.group(3).strip()
    if relation != "=":
        if not re.fullmatch(_NUMBER, right):
            raise InputError(f"target '{text}': '{right}' is not a number")
        return Target(metric=metric, low=float(right)) if relation == ">=" else Target(metric=metric, high=float(right))
    if interval := _INTERVAL.match(right):
        return Target(metric=metric, low=float(interval.group(1)), high=float(interval.group(2)))
    value = _VALUE.match(right)
    if value is None:
        raise InputError(f"target '{text}': '{right}' is not V±t, V±p% or [lo,hi] (a target needs a tolerance)")
    centre, tolerance = float(value.group(1)), float(value.group(2))
    if value.group(3):
        tolerance = abs(centre) * tolerance / 100
    if tolerance <= 0:
        raise InputError(f"target '{text}': the tolerance must be above 0")
    return Target(metric=metric, low=centre - tolerance, high=centre + tolerance)


def parse_extreme(metric: str, which: str, phases: Sequence[str] | None = None) -> Target:
    """Read what is to be as large (`maximize`) or as small (`minimize`) as the other targets let it be.

    Raises:
        InputError: the metric, its phase or its axis is unknown.
    """
    assert which in ("maximize", "minimize")
    return Target(metric=parse_metric(metric, phases), extreme=which)  # type: ignore[arg-type]
