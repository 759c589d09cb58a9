"""The reverse process, one step at a time, from an estimate of the clean field.

Solvers know nothing of networks or planes: they take x_t and a clean estimate of any shape. All of them share one
meaning of eta: 0 is deterministic, 1 adds as much noise as the ancestral process does.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from engine.sampling.choices import SolverName


class Solver(Protocol):
    """Steps of one trajectory."""

    @property
    def stochastic(self) -> bool:
        """Whether steps need noise."""
        ...

    def step(self, x: Tensor, clean: Tensor, abar: float, abar_next: float, noise: Tensor | None) -> Tensor:
        """From x_t at `abar` to `abar_next` > `abar`; abar_next = 1 ends on the clean estimate.

        Args:
            x: any shape.
            clean: estimate of x_0, same shape.
            noise: unit Gaussian of the same shape; None where the solver is not stochastic or the step is the last.
        """
        ...


def make_solver(name: SolverName, eta: float) -> Solver:
    """A solver for one trajectory; `ddpm` is ancestral whatever `eta`."""
    if name == "ddpm":
        return Ddpm()
    return Ddim(eta) if name == "ddim" else DpmPlusPlus(eta)


@dataclass(frozen=True)
class Ddim:
    """DDIM (Song et al. 2021, eq. 12 with sigma of eq. 16): first order, any sub-trajectory."""

    eta: float

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def step(self, x: Tensor, clean: Tensor, abar: float, abar_next: float, noise: Tensor | None) -> Tensor:
        epsilon = (x - math.sqrt(abar) * clean) / math.sqrt(1 - abar)
        sigma = self.eta * math.sqrt((1 - abar_next) / (1 - abar)) * math.sqrt(max(0.0, 1 - abar / abar_next))
        out = math.sqrt(abar_next) * clean + math.sqrt(max(0.0, 1 - abar_next - sigma**2)) * epsilon
        if sigma > 0:
            assert noise is not None
            out = out + sigma * noise
        return out


@dataclass(frozen=True)
class Ddpm:
    """Ancestral steps: draws from the posterior q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eqs. 6-7).

    Takes any pair of noise levels; beta is that between the two. The lower of the paper's two variances is used, unless
    the network says where to go between them.
    """

    stochastic: bool = True

    def step(
        self,
        x: Tensor,
        clean: Tensor,
        abar: float,
        abar_next: float,
        noise: Tensor | None,
        share: Tensor | None = None,
    ) -> Tensor:
        """`share`: 0 the lower, 1 the upper variance, in between in the logarithm (Nichol & Dhariwal 2021, eq. 15)."""
        alpha = abar / abar_next
        beta = 1 - alpha
        mean = (math.sqrt(abar_next) * beta * clean + math.sqrt(alpha) * (1 - abar_next) * x) / (1 - abar)
        variance = (1 - abar_next) / (1 - abar) * beta
        if variance > 0:
            assert noise is not None
            if share is None:
                return mean + math.sqrt(variance) * noise
            return mean + (0.5 * (share * math.log(beta) + (1 - share) * math.log(variance))).exp() * noise
        return mean


class DpmPlusPlus:
    """DPM-Solver++(2M) and its stochastic form (Lu et al. 2022, algorithm 2 and eq. 14 of the SDE section).

    Second order in the half log-SNR: the clean estimate is extrapolated from this step and the one before. The first
    and the last step are of first order.
    """

    def __init__(self, eta: float) -> None:
        self.eta = eta
        self._before: tuple[float, Tensor] | None = None  # half log-SNR and clean estimate of the step before

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def step(self, x: Tensor, clean: Tensor, abar: float, abar_next: float, noise: Tensor | None) -> Tensor:
        if abar_next >= 1:
            return clean
        here, there = _half_log_snr(abar), _half_log_snr(abar_next)
        h = there - here
        estimate = clean
        if self._before is not None and self._before[0] < here:  # not where a step is repeated
            last, earlier = self._before
            estimate = clean + 0.5 * h / (here - last) * (clean - earlier)
        self._before = (here, clean)
        kept = math.sqrt((1 - abar_next) / (1 - abar)) * math.exp(-self.eta * h)
        out = kept * x - math.sqrt(abar_next) * math.expm1(-(1 + self.eta) * h) * estimate
        if self.eta > 0:
            assert noise is not None
            out = out + math.sqrt(-(1 - abar_next) * math.expm1(-2 * self.eta * h)) * noise
        return out


def _half_log_snr(abar: float) -> float:
    return 0.5 * math.log(abar / (1 - abar))
