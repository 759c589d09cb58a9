"""Steady diffusion (or conduction) through a voxel volume, batched, with the exact gradient of the effective value.

Cell-centred finite volumes with harmonic faces; along the chosen axis the potential is fixed half a voxel outside the
first and the last layer, the other faces are sealed. For conductivities 0 and 1 the value is the relative diffusivity
D_eff / D_0 as TauFactor defines it. Solved by conjugate gradients preconditioned with a multigrid V-cycle.

Legend: `B` members, `D H W` space (z, y, x), `X Y Z` the same with the flux axis first, `N = X*Y*Z`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import InputError
from engine.outcomes import Outcome
from engine.properties.multigrid import Multigrid
from engine.properties.stencil import Conductor, make_conductor

INSULATING = 1e-7
"""Conductivities below this share of a member's largest count as 0: single precision cannot tell them apart."""

SAFETY = 4.0
"""The error of the value is estimated as SAFETY * r.Mr (r residual, M the V-cycle). With M = A^-1 that would be exact
with 1; on sandstone r.Mr lay between 0.1 and 1 times the true error. (With Jacobi for M it falls below a hundredth of
it: a small residual then says little about the value.)"""


@dataclass(frozen=True, kw_only=True)
class TransportResult:
    """Effective conductivities of a batch."""

    value: Tensor
    """[B]: effective conductivity along the axis, in the unit of the conductivity given. An upper bound until
    converged, since it is the dissipated power of the field."""
    field: Tensor
    """[B, D, H, W]: potential, from 0 before the first layer to 1 behind the last. Hand it back as `start`."""
    outcome: list[Outcome]
    """CONVERGED, OUT_OF_ITERATIONS or DOES_NOT_PERCOLATE (the value is exactly 0), per member."""
    iterations: list[int]
    """Conjugate-gradient steps, per member."""


@dataclass(frozen=True, kw_only=True)
class TransportGradient(TransportResult):
    """Effective conductivities of a batch and their derivatives."""

    gradient: Tensor
    """[B, D, H, W]: derivative of the value by each voxel's phase (chain rule through the contrast included)."""


@torch.no_grad()
def solve(
    conductivity: Tensor,
    axis: int,
    *,
    start: Tensor | None = None,
    tolerance: float = 1e-4,
    max_iterations: int = 500,
) -> TransportResult:
    """Effective conductivity along an axis.

    Args:
        conductivity: [B, D, H, W], at least 0; float32 or float64, anything else is taken as float32. Zero insulates.
        axis: 0, 1, 2 for z, y, x.
        start: [B, D, H, W] potential to start from, such as `field` of a similar volume; None is a straight ramp.
        tolerance: estimated relative error of the value at which a member is done.
        max_iterations: steps after which a member is given up as OUT_OF_ITERATIONS.

    Returns:
        One value per member. Where nothing conducts from face to face it is exactly 0; voxels outside the spanning
        clusters carry no flux and keep their starting potential.

    Raises:
        InputError: wrong shape or axis, or a conductivity that is negative or not finite.
    """
    sigma = _along_axis(_checked(conductivity, axis), axis)  # [B, X, Y, Z]
    if not bool(torch.isfinite(sigma).all()) or bool((sigma < 0).any()):
        raise InputError("conductivity: every voxel must be finite and at least 0; check the material's values")
    sigma = _only_spanning(sigma)
    values, fields, outcomes, counts = [], [], [], []
    for part, guess in _chunks(sigma, _starting_field(start, conductivity, sigma, axis)):
        conductor = make_conductor(part)
        u, converged, iterations = conjugate_gradients(conductor, guess, tolerance, max_iterations)
        values.append(_scale(conductor) * conductor.power(u))
        fields.append(u.view(part.shape))
        conducts = part.flatten(1).any(1).tolist()
        outcomes += [
            Outcome.DOES_NOT_PERCOLATE if not c else Outcome.CONVERGED if done else Outcome.OUT_OF_ITERATIONS
            for c, done in zip(conducts, converged, strict=True)
        ]
        counts += iterations
    return TransportResult(
        value=torch.cat(values), field=_back(torch.cat(fields), axis), outcome=outcomes, iterations=counts
    )


@torch.no_grad()
def solve_with_gradient(
    phase: Tensor,
    axis: int,
    *,
    contrast: float = 1e-3,
    start: Tensor | None = None,
    tolerance: float = 1e-3,
    max_iterations: int = 500,
) -> TransportGradient:
    """Effective conductivity of a phase and its exact derivative by every voxel, from one solve.

    The conductivity is contrast + (1 - contrast) * phase, so every voxel carries a potential and the derivative also
    says where to open an insulator. It leaks: the value lies above that of the insulated phase by a few times
    `contrast`; anchor targets on `solve`. The problem is its own adjoint, hence no second solve (see
    Conductor.power_gradient).

    Args:
        phase: [B, D, H, W], 1 inside the phase and 0 outside, or anything between (soft phases); bool is accepted.
        axis: 0, 1, 2 for z, y, x.
        contrast: conductivity outside the phase, in (0, 1].
        start, tolerance, max_iterations: as `solve`. The gradient is less accurate than the value, most of all in the
            few voxels where it is large: on sandstone it was off by 3 to 21 % of its norm at 1e-3 (cosines above
            0.97), by 3 to 15 % at 1e-4 and by less than 1 % at 1e-6.

    Raises:
        InputError: wrong shape, axis or contrast, or a phase outside [0, 1].
    """
    if not INSULATING < contrast <= 1:
        raise InputError(f"contrast: must lie within ({INSULATING:g}, 1], not {contrast}; 0.001 is usual")
    soft = _along_axis(_checked(phase, axis), axis)
    low, high = torch.aminmax(soft)
    if not (float(low) >= 0 and float(high) <= 1):  # false for NaN too
        raise InputError(f"phase: every voxel must lie within [0, 1], found [{float(low):.4g}, {float(high):.4g}]")
    sigma = contrast + (1 - contrast) * soft
    values, gradients, fields, outcomes, counts = [], [], [], [], []
    for part, guess in _chunks(sigma, _starting_field(start, phase, sigma, axis)):
        conductor = make_conductor(part)
        u, converged, iterations = conjugate_gradients(conductor, guess, tolerance, max_iterations)
        values.append(_scale(conductor) * conductor.power(u))
        gradients.append((conductor.power_gradient(u) * ((1 - contrast) * _scale(conductor))).view(part.shape))
        fields.append(u.view(part.shape))
        outcomes += [Outcome.CONVERGED if done else Outcome.OUT_OF_ITERATIONS for done in converged]
        counts += iterations
    return TransportGradient(
        value=torch.cat(values),
        gradient=_back(torch.cat(gradients), axis),
        field=_back(torch.cat(fields), axis),
        outcome=outcomes,
        iterations=counts,
    )


def conjugate_gradients(
    conductor: Conductor, start: Tensor, tolerance: float, max_iterations: int
) -> tuple[Tensor, list[bool], list[int]]:
    """Preconditioned conjugate gradients (Saad, Iterative Methods for Sparse Linear Systems, algorithm 9.1).

    A member is retired (its steps become 0) once the estimated error of its dissipated power is below `tolerance`
    times that power. The power exceeds the true one by e.Ae = r.A^-1 r, which r.Mr estimates.

    Args:
        conductor: B members.
        start: [B, N] potential; not changed.

    Returns:
        potential [B, N], converged per member, iterations per member.
    """
    stencil, precondition = conductor.stencil, Multigrid(conductor.stencil)
    u = start.clone()
    power = conductor.power(u)  # [B], kept up to date below
    r = stencil.residual(conductor.source(), u)
    z = precondition(r)
    p = z.clone()
    ap = torch.empty_like(p)
    rz = torch.linalg.vecdot(r, z)
    iterations = torch.zeros(len(u), dtype=torch.int64, device=u.device)
    active = rz.mul(SAFETY) > tolerance * power
    for _ in range(max_iterations):
        if not bool(active.any()):
            break
        stencil.apply(p, out=ap)
        alpha = torch.where(active, rz / torch.linalg.vecdot(p, ap), 0.0)
        u.addcmul_(alpha.unsqueeze(1), p)
        r.addcmul_(alpha.unsqueeze(1), ap, value=-1)
        power -= alpha * rz
        z = precondition(r)
        rz_new = torch.linalg.vecdot(r, z)
        beta = torch.where(active, rz_new / rz, 0.0)
        p.mul_(beta.unsqueeze(1)).add_(z)
        rz = torch.where(active, rz_new, rz)
        iterations += active
        active = active & (rz.mul(SAFETY) > tolerance * power)
    return u, torch.logical_not(active).tolist(), iterations.tolist()


def _checked(volume: Tensor, axis: int) -> Tensor:
    if volume.ndim != 4 or volume.numel() == 0:
        raise InputError(f"volume: must be [B, D, H, W] with at least one voxel, not {list(volume.shape)}")
    if axis not in (0, 1, 2):
        raise InputError(f"axis: must be 0, 1 or 2 (z, y, x), not {axis}")
    return volume if volume.dtype in (torch.float32, torch.float64) else volume.to(torch.float32)


def _along_axis(volume: Tensor, axis: int) -> Tensor:
    """[B, D, H, W] to contiguous [B, X, Y, Z] with the axis first."""
    return volume.movedim(axis + 1, 1).contiguous()


def _back(volume: Tensor, axis: int) -> Tensor:
    """[B, X, Y, Z] to contiguous [B, D, H, W]."""
    return volume.movedim(1, axis + 1).contiguous()


def _scale(conductor: Conductor) -> float:
    """Effective conductivity per unit of current at potential difference 1: length over cross-section."""
    return conductor.shape[0] / conductor.layer


def _starting_field(start: Tensor | None, given: Tensor, sigma: Tensor, axis: int) -> Tensor:
    """[B, X, Y, Z] potential to start from."""
    if start is None:
        steps = torch.arange(sigma.shape[1], dtype=sigma.dtype, device=sigma.device)
        return ((steps + 0.5) / sigma.shape[1]).view(1, -1, 1, 1).expand_as(sigma)
    if start.shape != given.shape:
        raise InputError(f"start: must have the shape of the volume, {list(given.shape)}, not {list(start.shape)}")
    return _along_axis(start.to(sigma), axis)


def _only_spanning(sigma: Tensor) -> Tensor:
    """Set to 0 what cannot carry a flux (dead clusters would leave the system singular). Flux along axis X."""
    conducting = sigma > INSULATING * sigma.amax(dim=(1, 2, 3), keepdim=True)
    if bool(conducting.all()):
        return sigma
    from engine.descriptors.connectivity import spanning_mask

    spans = torch.stack([torch.from_numpy(spanning_mask(member, 0)) for member in conducting.cpu().numpy()])
    return torch.where(spans.to(sigma.device), sigma, 0.0)


def _chunks(sigma: Tensor, start: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Members solved together, as (conductivity [b, X, Y, Z], potential [b, N]).

    On a CPU one at a time: a member's arrays then stay in the cache, and its numbers do not depend on the batch.
    """
    size = 1 if sigma.device.type == "cpu" else len(sigma)
    starts = range(0, len(sigma), size)
    return [(sigma[i : i + size], start[i : i + size].reshape(-1, sigma[0].numel())) for i in starts]
