"""Noise schedules: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps (Ho et al. 2020, eq. 4).

A noise level is named by its `abar` (alpha-bar, the product of the alphas), not by its index: samplers and the
noise-level correction of `engine.sampling.multiplane` need levels between the trained ones.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_BETA = 0.999
"""Of one step of the cosine schedule (Nichol & Dhariwal 2021, section 3.2)."""


class Schedule:
    """Noise levels of the trained times.

    Attributes:
        abar: float64 [T], alpha-bar of the trained times 0..T-1, falling.
    """

    def __init__(self, betas: NDArray[np.float64]) -> None:
        self.timesteps = len(betas)
        self.abar = np.cumprod(1.0 - betas)
        self._log_snr = np.log(self.abar / (1.0 - self.abar))

    def abar_at(self, time: float) -> float:
        """Alpha-bar at a fractional time in [0, T-1], log-SNR interpolated."""
        log_snr = float(np.interp(time, np.arange(self.timesteps), self._log_snr))
        return 1.0 / (1.0 + math.exp(-log_snr))

    def time_of(self, abar: float) -> float:
        """The fractional time at which the network was trained with this alpha-bar; clamped to the trained range."""
        log_snr = math.log(abar / (1.0 - abar))
        return float(np.interp(-log_snr, -self._log_snr, np.arange(self.timesteps)))

    def trajectory(self, steps: int) -> list[float]:
        """Alpha-bar of each step of a sampler, from t = T-1 down to t = 0, followed by 1 (the clean sample)."""
        times = np.linspace(self.timesteps - 1, 0, steps) if steps > 1 else np.array([self.timesteps - 1.0])
        return [self.abar_at(float(t)) for t in times] + [1.0]


class LinearSchedule(Schedule):
    """Betas evenly spaced (Ho et al. 2020)."""

    def __init__(self, timesteps: int = 1_000, beta_start: float = 1e-4, beta_end: float = 2e-2) -> None:
        super().__init__(np.linspace(beta_start, beta_end, timesteps))


class CosineSchedule(Schedule):
    """Alpha-bar as the square of a cosine (Nichol & Dhariwal 2021, eq. 17), betas at most .999."""

    def __init__(self, timesteps: int = 1_000, offset: float = 0.008) -> None:
        share = np.arange(timesteps + 1) / timesteps
        abar = np.cos((share + offset) / (1 + offset) * np.pi / 2) ** 2
        super().__init__(np.minimum(1 - abar[1:] / abar[:-1], LARGEST_BETA))


def schedule_of(numbers: Mapping[str, Any]) -> Schedule:
    """The schedule that a card names: `timesteps`, `kind` (linear unless said), `beta_start` and `beta_end`."""
    if numbers.get("kind", "linear") == "cosine":
        return CosineSchedule(int(numbers["timesteps"]))
    return LinearSchedule(int(numbers["timesteps"]), numbers["beta_start"], numbers["beta_end"])
