"""What a request may choose about guidance; without torch, so that a study is read and checked quickly."""

import math
from dataclasses import dataclass, fields
from typing import Literal

from engine.errors import InputError
from engine.metrics import nearest

Guidance = Literal["volume", "volume-sds", "sds-slices"]


@dataclass(frozen=True, kw_only=True)
class SliceNumbers:
    """Numbers of `sds-slices`. The defaults are those of the released MicroLad code where it has one."""

    steps: int = 500
    """Slices that are moved; the code has 500 in one place and 6,000 in another."""
    rate: float = 1e-3
    """Step of the latents, in their standard deviations."""
    rounds: int = 5
    """Of encoding and decoding along the three axes, before and after."""
    fraction: float = 1e5
    """Weight of the first and of the second moment."""
    s2: float = 1e4
    """Weight of the two-point correlation."""
    surface_area: float = 1e4
    """Weight of the surface area; 0 in the code, where the user sets it."""
    diffusivity: float = 1e5
    """Weight of the diffusivity of a slice; 0 in the code, where the user sets it."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.rounds < 0:
            raise InputError(f"steps and rounds: must be at least 1 and 0, not {self.steps} and {self.rounds}")
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise InputError(f"rate: must be above 0, not {self.rate:g}")
        for name in ("fraction", "s2", "surface_area", "diffusivity"):
            weight = getattr(self, name)
            if not (weight >= 0 and math.isfinite(weight)):
                raise InputError(f"{name}: a weight must be at least 0, not {weight:g}")


def parse_slice_numbers(text: str) -> SliceNumbers:
    """Read what differs from the defaults, such as `steps=200,rate=0.01`.

    Raises:
        InputError: an unknown name, no number, or one out of range.
    """
    kinds = {field.name: field.type for field in fields(SliceNumbers)}
    given: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, number = (each.strip() for each in part.partition("="))
        if name not in kinds or not equals:
            raise InputError(f"slice_numbers: '{part}' is not NAME=NUMBER{nearest(name, sorted(kinds))}")
        if name in given:
            raise InputError(f"slice_numbers: {name} is given twice")
        try:
            given[name] = int(number) if kinds[name] is int else float(number)
        except ValueError:
            kind = "a whole number" if kinds[name] is int else "a number"
            raise InputError(f"slice_numbers: {name} must be {kind}, not '{number}'") from None
    try:
        return SliceNumbers(**given)  # type: ignore[arg-type]  # whole numbers where they must be
    except InputError as error:
        raise InputError(f"slice_numbers: {error}") from None
