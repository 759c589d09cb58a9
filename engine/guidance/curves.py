"""Whole curves as targets: every lag is moved by its own exact gradient.

Shapes: `K` phases, `D H W` voxels.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from engine.descriptors.discrepancy import relative_area
from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.two_point import directional_s2
from engine.guidance.moves import Evaluation, Move, scaled, smooth

LAGS = (0, 1, 2, 3, 4, 6, 8, 10, 13, 16, 20, 25, 31)  # voxels at which a curve is moved; in between it is smooth
LEAST = 0.01  # of a curve's beginning: below, it has no say in the area


class Curve:
    """A curve of a phase against a wanted one: every lag moves by itself, the value is what is left between the two."""

    logarithmic = False

    def __init__(
        self,
        phase: int,
        wanted: Sequence[float],
        curve: Callable[[NDArray[np.bool_], int, bool], NDArray[np.float64]],
        slope: Callable[[Tensor, int, bool], tuple[float, Tensor]],
        *,
        periodic: bool = False,
    ) -> None:
        """Args:
        curve: (mask, lags, periodic) -> mean of the axes at 0 ... lags - 1 voxels.
        slope: (mask, lag, periodic) -> the curve there, and its derivative by the mask [D, H, W].
        """
        self._phase, self._wanted, self._curve, self._slope = phase, wanted, curve, slope
        self._periodic = periodic

    def __call__(self, hard: Tensor, soft: Tensor, miss: Callable[[float], float]) -> Evaluation:
        mask = hard[self._phase]
        lags = min(len(self._wanted), *mask.shape)
        found = self._curve(mask.bool().cpu().numpy(), lags, self._periodic)
        value = float(relative_area(found, np.array(self._wanted[:lags])))
        moves = []
        for lag in (lag for lag in LAGS if lag < lags and self._wanted[lag] > LEAST * self._wanted[0]):
            now, slope = self._slope(mask, lag, self._periodic)
            gradient, direction = torch.zeros_like(soft), torch.zeros_like(soft)
            gradient[self._phase], direction[self._phase] = slope, self._calm(slope)
            missing = 0.0 if miss(value) == 0 else self._wanted[lag] - now
            moves.append(Move(gradient=gradient, direction=scaled(direction, soft), missing=missing))
        return Evaluation(value=value, moves=tuple(moves))

    def _calm(self, slope: Tensor) -> Tensor:
        return smooth(slope, self._periodic, times=2)


def s2_curve(mask: NDArray[np.bool_], lags: int, periodic: bool = False) -> NDArray[np.float64]:
    """S2 [lags], mean of the axes."""
    return np.asarray(directional_s2(mask, lags, periodic=periodic).mean(dim=0).numpy())


def lineal_path_curve(mask: NDArray[np.bool_], lags: int, periodic: bool = False) -> NDArray[np.float64]:
    """Lineal path [lags], mean of the axes."""
    return np.asarray(lineal_path(mask, lags, periodic=periodic).mean(axis=0))


def s2_slope(mask: Tensor, lag: int, periodic: bool = False) -> tuple[float, Tensor]:
    """S2 at one lag, mean of the axes, and its derivative by the mask [D, H, W]."""
    total, slope = 0.0, torch.zeros_like(mask)
    for axis in range(3):
        if periodic:
            far = mask.roll(-lag, axis)
            total += float((mask * far).mean()) / 3
            slope += (far + mask.roll(lag, axis)) / (3 * mask.numel())
            continue
        count = mask.shape[axis] - lag
        near, far = mask.narrow(axis, 0, count), mask.narrow(axis, lag, count)
        total += float((near * far).mean()) / 3
        slope.narrow(axis, 0, count).add_(far, alpha=1 / (3 * far.numel()))
        slope.narrow(axis, lag, count).add_(near, alpha=1 / (3 * far.numel()))
    return total, slope


def lineal_path_slope(mask: Tensor, lag: int, periodic: bool = False) -> tuple[float, Tensor]:
    """Lineal path at one lag of a mask of zeros and ones, mean of the axes, and its derivative by the mask [D, H, W].

    The derivative by a voxel counts the segments through it that lie in the phase but, perhaps, for that voxel: those
    without a voxel outside where it is in the phase, those with one where it is that one.
    """
    total, slope, outside = 0.0, torch.zeros_like(mask), 1 - mask
    for axis in range(3):
        holes = _windowed(outside, lag, axis, periodic)
        whole, broken = ((holes - count).abs() < 0.5 for count in (0, 1))
        total += float(whole.double().mean()) / 3
        through = mask * _through(whole.to(mask), lag, axis, periodic) + outside * _through(
            broken.to(mask), lag, axis, periodic
        )
        slope += through / (3 * whole.numel())
    return total, slope


def _windowed(field: Tensor, lag: int, axis: int, periodic: bool) -> Tensor:
    """Sums over every window of lag + 1 voxels that begins at a voxel and goes up the axis, which is `lag` shorter
    unless the field is periodic."""
    moved = field.double().movedim(axis, -1)
    wrapped = torch.cat([moved, moved[..., :lag]], dim=-1) if periodic else moved
    summed = F.pad(wrapped, (1, 0)).cumsum(dim=-1)
    return (summed[..., lag + 1 :] - summed[..., : summed.shape[-1] - lag - 1]).to(field).movedim(-1, axis)


def _through(windows: Tensor, lag: int, axis: int, periodic: bool) -> Tensor:
    """For every voxel the sum over the windows of lag + 1 voxels that hold it."""
    if periodic:
        return _windowed(windows.roll(lag, axis), lag, axis, True)
    return _windowed(F.pad(windows.movedim(axis, -1), (lag, lag)), lag, -1, False).movedim(-1, axis)
