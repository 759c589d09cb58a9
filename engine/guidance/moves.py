"""How a number of a volume can be changed: its value, its gradient by the phases, and the direction to move in.

Shapes: `K` phases, `D H W` voxels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A metric of one volume."""

    value: float
    """On the hard volume."""
    moves: "tuple[Move, ...]"
    """One for a number, one for each lag of a curve."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """How a number can be changed."""

    gradient: Tensor
    """[K, D, H, W]: of the number by the phases' indicators."""
    direction: Tensor
    """[K, D, H, W]: in which the logits move to raise it."""
    missing: float | None = None
    """What it lacks; None where it is the metric itself, and the target says."""


class Steered(Protocol):
    """A metric of one volume on its way."""

    logarithmic: bool
    """Whether what is missing is measured in logarithms, as for what spans decades."""

    def __call__(self, hard: Tensor, soft: Tensor, miss: Callable[[float], float]) -> Evaluation:
        """Args:
        hard: [K, D, H, W] one-hot.
        soft: [K, D, H, W] probabilities.
        miss: of a value, its distance from the goal in tolerances.
        """
        ...


def spread(gradient: Tensor, p: Tensor, periodic: bool = False) -> Tensor:
    """A direction [D, H, W] that follows a transport gradient without its spikes: smoothed, square root taken.

    The gradient is concentrated in a few throats; followed as it is it would flip those voxels and reach no further.
    """
    root = smooth(gradient.clamp(min=0), periodic).sqrt()
    band = p * (1 - p)
    scale = ((band * root.square()).sum() / band.sum().clamp(min=1e-12)).sqrt().clamp(min=1e-12)
    return root / scale


def follow(gradient: Tensor, soft: Tensor, periodic: bool = False) -> Tensor:
    """The same for all phases together: [K, D, H, W], either sign."""
    calm = torch.stack([smooth(each, periodic) for each in centred(gradient, soft)])
    return scaled(calm.sign() * calm.abs().sqrt(), soft)


def centred(gradient: Tensor, soft: Tensor) -> Tensor:
    """Less the mean over the phases: what all phases share moves nothing."""
    return gradient - (gradient * soft).sum(dim=0, keepdim=True)


def scaled(direction: Tensor, soft: Tensor) -> Tensor:
    """To a mean square of one where voxels are undecided."""
    band = soft * (1 - soft)
    return direction / ((band * direction.square()).sum() / band.sum().clamp(min=1e-12)).sqrt().clamp(min=1e-20)


def smooth(field: Tensor, periodic: bool = False, times: int = 1) -> Tensor:
    """[D, H, W] over its nearest neighbours, again and again."""
    if periodic:
        for axis in times * (0, 1, 2):
            field = 0.5 * field + 0.25 * (field.roll(1, axis) + field.roll(-1, axis))
        return field
    out = field[None, None]
    for axis in times * (0, 1, 2):
        kernel = field.new_tensor([0.25, 0.5, 0.25]).view([1, 1] + [3 if a == axis else 1 for a in range(3)])
        out = F.conv3d(out, kernel, padding=[1 if a == axis else 0 for a in range(3)])
    return out[0, 0]
