"""The terms of guidance: what a volume is to have, where each is aimed at, and how far off it is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.guidance.curves import Curve
from engine.guidance.moves import Move, Steered
from engine.guidance.steering import steered
from engine.guidance.targets import Target

if TYPE_CHECKING:
    from engine.properties.materials import Materials
    from engine.properties.own import OwnProperty

FLOOR = 0.02  # of the goal: a value is kept off 0 by this much, so that its logarithm exists
MARGIN = 0.7  # of each tolerance: the certificate's solver differs from ours by some tenths of a per cent
REST = 0.5  # tolerances from the goal within which a target no longer pushes: it is only held where it is
ONE_SIDED = 0.005  # of a limit: how far inside a target with one limit is aimed, for the same reason
MOST_GAIN = 64.0
MOST_KEPT = 0.1  # that one step asks of what is kept, and
MOST_GAIN_KEPT = 8.0  # how much more, so that it does not crowd out what was asked for


@dataclass
class Term:
    """One target of a volume on its way."""

    target: Target
    steering: Steered
    kept: bool = False
    """Nobody asked for it: it is how the material is (`engine.guidance.kept`)."""
    gain: float = 1.0
    """How much more to ask for than first order says."""
    foretold: float | None = None
    """Its value after the last ascent."""
    drift: float = 0.0
    """What an ascent brings that first order does not tell."""

    @property
    def is_curve(self) -> bool:
        return isinstance(self.steering, Curve)

    @property
    def logarithmic(self) -> bool:
        """Whether distances are measured in logarithms: where the metric spans decades."""
        return self.steering.logarithmic and aim(self.target) > 0

    def miss(self, value: float) -> float:
        return relative_miss(self.target, value)

    def distance(self, value: float) -> float:
        """What is missing to the goal.

        A target that holds asks for nothing, nor does an extreme, nor what has no value.
        """
        if math.isnan(value) or self.miss(value) <= (0 if one_sided(self.target) else REST):
            return 0.0
        if self.logarithmic:
            return math.log(aim(self.target) / self._floored(value))
        return aim(self.target) - value if math.isfinite(value) else 0.0

    def missing(self, value: float) -> float:
        """What the next step is to bring."""
        wanted = self.distance(value)
        return self.gain * (min(MOST_KEPT, max(-MOST_KEPT, wanted)) if self.kept else wanted)

    def scaled(self, value: float, move: Move) -> Move:
        """With the gradient of the logarithm where distances are logarithmic."""
        if not self.logarithmic or math.isnan(value):
            return move
        return replace(move, gradient=move.gradient / self._floored(value))

    def room(self, value: float, change: float) -> float:
        """How far a value may go the way it changes: to its aim, or close to the end of its interval."""
        target = self.target
        end = 0.0 if one_sided(target) else 0.45 * MARGIN * (target.high - target.low)
        return aim(target) + math.copysign(end, change) - value

    def learn_gain(self, before: float, after: float) -> None:
        """Compare what a step was to bring with what it brought; ask for more, or less, from now on.

        First order is far off where a pore is about to open (the value does not move until it does). What is left
        between curves has no sign: where it grows, the step went too far.
        """
        asked = self.distance(before)
        if abs(asked) <= 1e-6 * (1.0 if self.logarithmic else abs(aim(self.target))):
            return
        brought = (asked - self.distance(after)) / asked
        factor = min(2.0, max(0.5, 1 / brought)) if brought > 0 else 0.25 if self.is_curve else 2.0
        least = 0.05 if self.is_curve else 0.25
        self.gain = min(MOST_GAIN_KEPT if self.kept else MOST_GAIN, max(least, self.gain * factor**0.5))

    def _floored(self, value: float) -> float:
        """A value whose logarithm exists, and does not ask for the impossible; also where it is infinite."""
        return aim(self.target) / FLOOR if math.isinf(value) else max(value, FLOOR * aim(self.target))


def asked_terms(
    targets: Sequence[Target],
    phases: Sequence[str],
    material: "Materials | None" = None,
    training: Mapping[str, Sequence[float]] | None = None,
    periodic: bool = False,
    properties: "Sequence[OwnProperty]" = (),
) -> list[Term]:
    """What was asked of one volume; arguments and errors as for `steered`."""
    return [Term(each, steered(each.metric, phases, material, training, periodic, properties)) for each in targets]


def one_sided(target: Target) -> bool:
    return math.isinf(target.low) or math.isinf(target.high)


def aim(target: Target) -> float:
    """The value to steer towards: the goal, a little inside where that is a limit; of an extreme 0, it has none."""
    if target.extreme:
        return 0.0
    inside = _inside(target) if one_sided(target) else 0.0
    return target.goal + (inside if math.isinf(target.high) else -inside)


def relative_miss(target: Target, value: float) -> float:
    """Distance from the aim in units of the tolerance, at most 1 where the target holds; one-sided: 0 well inside.
    Infinite for what is not finite."""
    if not math.isfinite(value):
        return math.inf
    if target.extreme:
        return 0.0
    if not one_sided(target):
        return abs(value - target.goal) / (0.5 * (target.high - target.low))
    beyond = aim(target) - value if math.isinf(target.high) else value - aim(target)
    return max(0.0, beyond) / _inside(target)


def _inside(target: Target) -> float:
    return max(ONE_SIDED * abs(target.goal), 1e-9)
