"""Relative diffusivity certified by an independent solver, TauFactor (Kench, Squires and Cooper, J. Open Source
Software 8, 5358, 2023), under our own percolation check.

TauFactor runs flux along the first axis only, gives tau = 0 where nothing percolates and prints as it goes; this module
turns the volume, decides percolation first, keeps quiet and returns an outcome with every value.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.descriptors.connectivity import spanning_mask
from engine.errors import InputError
from engine.metrics import AXES
from engine.outcomes import Measured, Outcome
from engine.properties.memory import check_memory

CHECK_INTERVAL = 100  # TauFactor looks at its convergence every so many iterations
ARRAYS = 12  # volumes in single precision that it holds at its peak


def certify_diffusivity(
    mask: NDArray[np.generic],
    axis: int,
    conv_crit: float = 1e-3,
    iter_limit: int = 10_000,
    *,
    periodic: bool = False,
) -> Measured:
    """D_eff / D_0 of a phase for flux along an axis, the other faces sealed or periodic.

    Args:
        mask: [D, H, W], true (non-zero) where the phase is.
        axis: 0, 1, 2 for z, y, x.
        conv_crit: largest relative difference between the fluxes through any two layers.
        iter_limit: iterations after which the solve is given up, at least 100 (where TauFactor first looks).
        periodic: whether the sides meet.

    Returns:
        The value with CONVERGED; 0 with ABSENT or DOES_NOT_PERCOLATE; the last value, or None where that is no
        diffusivity, with OUT_OF_ITERATIONS.

    Raises:
        InputError: the mask is no volume, the axis or the iteration limit is out of range, or too little memory.
    """
    if iter_limit < CHECK_INTERVAL:
        raise InputError(f"iter_limit: must be at least {CHECK_INTERVAL}, not {iter_limit}")
    check_memory(torch.empty(mask.shape, device="meta"), 4 * ARRAYS * mask.size * (4 if periodic else 1))
    spanning = spanning_mask(mask, axis, periodic=periodic)
    if not spanning.any():
        absent = not np.asarray(mask, bool).any()
        return Measured(value=0.0, outcome=Outcome.ABSENT if absent else Outcome.DOES_NOT_PERCOLATE)
    if spanning.shape[axis] == 1:  # TauFactor needs two layers; through one, all voxels conduct side by side
        return Measured(value=float(spanning.mean()), outcome=Outcome.CONVERGED)
    # dead ends carry no flux: leaving the other clusters out changes nothing but the noise in them
    turned = np.ascontiguousarray(np.moveaxis(spanning, axis, 0), dtype=np.uint8)
    if periodic:
        # its voxels relax in turns, black and white: where an odd side meets itself, voxels of a colour would be
        # neighbours and the iteration runs away. Two periods are even, and have the value of one.
        turned = np.tile(turned, [1] + [1 + side % 2 for side in turned.shape[1:]])
    solver = _quiet_solver(turned, periodic)
    solver.solve(iter_limit=iter_limit, verbose=False, conv_crit=conv_crit)
    value = float(solver.D_rel[0])
    if solver.converged and 0 < value <= 1 + 1e-3:
        return Measured(value=min(value, 1.0), outcome=Outcome.CONVERGED)
    return Measured(value=value if 0 < value <= 1 else None, outcome=Outcome.OUT_OF_ITERATIONS)


def certify_axes(
    mask: NDArray[np.generic],
    axes: Sequence[str] = AXES,
    conv_crit: float = 1e-3,
    iter_limit: int = 10_000,
    *,
    periodic: bool = False,
) -> dict[str, Measured]:
    """`certify_diffusivity` for several axes by name (z, y, x).

    One after the other: TauFactor can solve the turned copies of a cube as a batch, but then every copy runs until the
    slowest is done, which took 1.2 to 2 times as long on a CPU.

    Raises:
        InputError: as `certify_diffusivity`, or an axis of another name.
    """
    for name in axes:
        if name not in AXES:
            raise InputError(f"axis: must be z, y or x, not '{name}'")
    return {
        name: certify_diffusivity(mask, AXES.index(name), conv_crit, iter_limit, periodic=periodic) for name in axes
    }


def _quiet_solver(turned: NDArray[np.uint8], periodic: bool) -> Any:
    """TauFactor's solver on the CPU for a phase that spans the first axis."""
    os.environ.setdefault("MPLBACKEND", "Agg")  # its import pulls matplotlib, which would look for a display
    from taufactor import PeriodicSolver, Solver

    class Quiet(PeriodicSolver if periodic else Solver):  # type: ignore[misc]  # TauFactor has no types
        def _end_simulation(self, *_: object) -> None:
            """Prints whether it converged; that is read from `.converged` instead. (Redirecting sys.stdout would
            be seen by every thread of the process.)"""

    return Quiet(turned, device="cpu")
