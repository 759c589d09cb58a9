"""Targets: what a structure is asked to have, in the grammar of the command line.

`METRIC=V±t`, `METRIC=V±p%`, `METRIC>=V`, `METRIC<=V`, `METRIC=[lo,hi]`; `+-` stands for `±`.
`s2[PHASE]=training±p%` asks for the S2 of the training images, up to a share p of the area below it: the same as
`s2_discrepancy[PHASE]<=p/100`.
Every form is an interval [low, high], open towards infinity where one side is free.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import InputError
from engine.metrics import Metric, parse_metric

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_VALUE = re.compile(rf"^({_NUMBER})\s*(?:±|\+-)\s*({_NUMBER})\s*(%?)$")
_INTERVAL = re.compile(rf"^\[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\]$")
_TRAINING = re.compile(rf"^s2\[([^\[\]]*)\]\s*=\s*training\s*(?:±|\+-)\s*({_NUMBER})\s*%$")
_SPLIT = re.compile(r"^([a-z][a-z0-9_]*\s*(?:\[[^\[\]]*\])?)\s*(>=|<=|=)\s*(.+)$")


@dataclass(frozen=True, kw_only=True)
class Target:
    """An interval that a metric of the finished volume must lie in, borders included."""

    metric: Metric
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
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
        if math.isinf(self.low):
            return self.high
        return self.low if math.isinf(self.high) else 0.5 * (self.low + self.high)

    def miss(self, value: float) -> float:
        """Signed distance of `value` from the interval, in the metric's unit: 0 inside, < 0 below, > 0 above."""
        return min(value - self.low, 0.0) + max(value - self.high, 0.0)

    def holds(self, value: float | None) -> bool:
        return value is not None and self.low <= value <= self.high

    def __str__(self) -> str:
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
    if training := _TRAINING.match(text.strip()):
        metric = parse_metric(f"s2_discrepancy[{training.group(1)}]", phases)
        if float(training.group(2)) <= 0:
            raise InputError(f"target '{text}': the tolerance must be above 0")
        return Target(metric=metric, high=float(training.group(2)) / 100)
    split = _SPLIT.match(text.strip())
    if split is None:
        raise InputError(
            f"target '{text}': expected METRIC=V±t, METRIC=V±p%, METRIC>=V, METRIC<=V, METRIC=[lo,hi] or "
            "s2[PHASE]=training±p%"
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


def check_feasible(targets: Sequence[Target], phases: Sequence[str]) -> None:
    """Refuse targets that no structure can meet, before anything is computed.

    Checked: each metric's own bounds; intervals on one metric that do not overlap; fractions that cannot sum
    to one; a one-axis diffusivity whose lower limit is above the upper limit of the phase's fraction (the
    Voigt bound, D_eff/D_0 <= fraction: Wiener 1912).

    Raises:
        InputError: naming the target and the feasible range.
    """
    ranges: dict[Metric, tuple[float, float]] = {}
    for target in targets:
        parse_metric(str(target.metric), phases)
        kind = target.metric.kind
        if target.low > kind.high or target.high < kind.low:
            raise InputError(
                f"target {target}: no structure has it; {target.metric} lies within [{kind.low:g}, {kind.high:g}]"
            )
        low, high = ranges.get(target.metric, (kind.low, kind.high))
        low, high = max(low, target.low), min(high, target.high)
        if low > high:
            raise InputError(f"target {target}: contradicts another target on {target.metric}")
        ranges[target.metric] = (low, high)
    fractions = {phase: ranges.get(Metric("fraction", phase), (0.0, 1.0)) for phase in phases}
    least, most = sum(low for low, _ in fractions.values()), sum(high for _, high in fractions.values())
    if least > 1 + 1e-9 or most < 1 - 1e-9:
        raise InputError(
            f"the fraction targets cannot sum to 1: together the phases take between {least:.4g} and {most:.4g}"
        )
    for metric, (low, _) in ranges.items():
        if metric.name != "diffusivity":
            continue
        assert metric.phase is not None
        others = sum(fraction[0] for phase, fraction in fractions.items() if phase != metric.phase)
        bound = min(fractions[metric.phase][1], 1 - others)
        if low > bound:
            raise InputError(
                f"target {metric}>={low:.4g}: no structure has it; the Voigt bound limits one axis to the phase's "
                f"fraction, at most {bound:.4g} here; feasible range [0, {bound:.4g}]"
            )
