"""Conjugate gradients for batches of symmetric positive (semi)definite systems.

Legend: `M` systems of one batch.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

SAFETY = 4.0
"""Factor on every estimated error below; both estimates were seen to fall short of the true error, by less than this on
sandstone and on two-phase composites of contrast 100."""


class System(Protocol):
    """A batch of linear systems A x = b; vectors are tensors [M, ...]."""

    def apply(self, v: Tensor) -> Tensor:
        """A v."""
        ...

    def precondition(self, r: Tensor) -> Tensor:
        """About A^-1 r; linear, symmetric, positive definite."""
        ...

    def select(self, members: Tensor) -> Self:
        """Some of the systems, by index."""
        ...


@dataclass(frozen=True, kw_only=True)
class Solution:
    """What conjugate gradients came to."""

    x: Tensor
    """[M, ...]."""
    converged: list[bool]
    iterations: list[int]


def conjugate_gradients(
    system: System,
    x: Tensor,
    residual: Tensor,
    energy: Tensor,
    tolerance: float,
    max_iterations: int,
    *,
    delay: int = 0,
    least_energy: Tensor | None = None,
) -> Solution:
    """Preconditioned conjugate gradients (Saad, Iterative Methods for Sparse Linear Systems, algorithm 9.1).

    A system is done once the estimated error of its energy is below `tolerance` times the energy; the energy exceeds
    the true one by e.Ae = r.A^-1 r and falls in every step by alpha r.Mr. A system that is done takes no more steps,
    and when half of them are, the others go on alone.

    Args:
        system: M systems.
        x: [M, ...] to start from; not changed.
        residual: [M, ...] b - A x.
        energy: [M], of x.
        delay: how the error is estimated. 0: by r.Mr, for a preconditioner that is close to the inverse in size as
            well as in shape, such as a V-cycle. Otherwise by what the energy fell by in the last `delay` steps, which
            is the error before them but for what is left (Strakos and Tichy, Electron. Trans. Numer. Anal. 13, 2002).
        least_energy: [M], what the tolerance is relative to where the energy falls below it; None for 0.
    """
    solution, shape = x.clone(), [-1] + [1] * (x.ndim - 1)
    iterations = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    converged = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    members = torch.arange(len(x), device=x.device)  # those still in the arrays below
    x, r = x.clone(), residual
    z = system.precondition(r)
    p, rz = z.clone(), _dot(r, z)
    falls: deque[Tensor] = deque(maxlen=max(delay, 1))
    least = torch.zeros_like(energy) if least_energy is None else least_energy
    for step in range(max_iterations + 1):
        estimate = rz if delay == 0 else sum(falls) if len(falls) == delay else torch.full_like(rz, torch.inf)
        done = (estimate * SAFETY <= tolerance * torch.maximum(energy, least)) | (rz == 0)  # false for NaN
        running = ~done & rz.isfinite()
        if step == max_iterations or not bool(running.any()):
            solution[members], converged[members] = x, done
            break
        if 2 * int(running.sum()) <= len(running):
            solution[members], converged[members] = x, done
            kept = running.nonzero()[:, 0]
            members, system, x, r, p = members[kept], system.select(kept), x[kept], r[kept], p[kept]
            energy, least, rz, running = energy[kept], least[kept], rz[kept], running[kept]
            falls = deque((fall[kept] for fall in falls), maxlen=falls.maxlen)
        ap = system.apply(p)
        alpha = torch.where(running, rz / _dot(p, ap), 0.0)
        x.addcmul_(alpha.view(shape), p)
        r = r.addcmul(alpha.view(shape), ap, value=-1) if step == 0 else r.addcmul_(alpha.view(shape), ap, value=-1)
        falls.append(alpha * rz)
        energy = energy - falls[-1]
        z = system.precondition(r)
        rz_new = _dot(r, z)
        p.mul_(torch.where(running, rz_new / rz, 0.0).view(shape)).add_(z)
        rz = torch.where(running, rz_new, rz)
        iterations[members] += running
    return Solution(x=solution, converged=converged.tolist(), iterations=iterations.tolist())


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """[M]: dot products of vectors [M, ...]."""
    product: Tensor = torch.linalg.vecdot(a.flatten(1), b.flatten(1))
    return product


def minres(
    apply: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    b: Tensor,
    tolerance: float,
    max_iterations: int,
) -> tuple[Tensor, bool, int]:
    """Preconditioned minimal residuals for one symmetric indefinite system (Elman, Silvester and Wathen, Finite
    Elements and Fast Iterative Solvers, 2nd ed., algorithm 4.1).

    Args:
        apply: K v, symmetric.
        precondition: M v, symmetric positive definite.
        b: [n] right-hand side.
        tolerance: fall of the residual in the norm of M at which it is done.

    Returns:
        x [n], converged, iterations.
    """
    x = torch.zeros_like(b)
    v_before, v = torch.zeros_like(b), b.clone()
    z = precondition(v)
    gamma = float(torch.dot(z, v)) ** 0.5
    gamma_before, eta, start = 1.0, gamma, gamma
    s_before = s = 0.0
    c_before = c = 1.0
    w_before, w = torch.zeros_like(b), torch.zeros_like(b)
    for iteration in range(max_iterations):
        if eta == 0 or abs(eta) <= tolerance * start or not math.isfinite(eta):
            return x, math.isfinite(eta), iteration
        z = z / gamma
        kz = apply(z)
        delta = float(torch.dot(kz, z))
        v_next = kz.sub_(v, alpha=delta / gamma).sub_(v_before, alpha=gamma / gamma_before)
        z_next = precondition(v_next)
        gamma_next = max(0.0, float(torch.dot(z_next, v_next))) ** 0.5
        a0 = c * delta - c_before * s * gamma
        a1 = (a0**2 + gamma_next**2) ** 0.5
        a2 = s * delta + c_before * c * gamma
        a3 = s_before * gamma
        c_before, c, s_before, s = c, a0 / a1, s, gamma_next / a1
        w_before, w = w, (z - a3 * w_before - a2 * w) / a1
        x.add_(w, alpha=c * eta)
        eta = -s * eta
        v_before, v, z = v, v_next, z_next
        gamma_before, gamma = gamma, gamma_next
    return x, abs(eta) <= tolerance * start, max_iterations
