"""Solvers against a Gaussian, whose answer is known in closed form."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from engine.sampling.schedules import LinearSchedule
from engine.sampling.solvers import ddim_step, ddpm_step

SCHEDULE = LinearSchedule()
MEAN, STD = 0.7, 0.4


def exact_clean(x, abar):
    """E[x_0 | x_t] for x_0 ~ N(MEAN, STD^2)."""
    gain = math.sqrt(abar) * STD**2 / (abar * STD**2 + 1 - abar)
    return MEAN + gain * (x - math.sqrt(abar) * MEAN)


def run(steps, eta=None, count=100_000):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, generator=generator, dtype=torch.float64)
    levels = SCHEDULE.trajectory(steps)
    for abar, following in pairwise(levels):
        noise = torch.randn(count, generator=generator, dtype=torch.float64)
        clean = exact_clean(x, abar)
        if eta is None:
            x = ddpm_step(x, clean, abar, following, noise)
        else:
            x = ddim_step(x, clean, abar, following, eta, noise)
    return x


@pytest.mark.parametrize("eta", [None, 0.0, 0.5, 1.0])
def test_many_steps_give_the_distribution(eta):
    x = run(1000, eta, count=20_000)
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(x.std()) == pytest.approx(STD, rel=0.02)


def test_ddim_error_falls_with_the_number_of_steps():
    """DDIM is a first-order scheme: the error of the standard deviation falls at least as fast as 1/steps."""
    errors = [abs(float(run(steps, 0.0).std()) / STD - 1) for steps in (10, 40)]
    assert errors[1] < errors[0] / 3


def test_ancestral_step_is_ddim_with_eta_one():
    x, clean, noise = torch.randn(3, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for abar, following in ((0.1, 0.4), (0.5, 0.9), (0.9, 1.0)):
        assert torch.allclose(
            ddpm_step(x, clean, abar, following, noise), ddim_step(x, clean, abar, following, 1.0, noise), atol=1e-12
        )


def test_the_last_step_ends_on_the_clean_estimate():
    x, clean = torch.randn(2, 100, dtype=torch.float64)
    assert torch.allclose(ddim_step(x, clean, 0.99, 1.0, 1.0, None), clean)


def test_schedule_is_inverted_between_its_times():
    for time in (0.0, 10.5, 499.25, 999.0):
        assert SCHEDULE.time_of(SCHEDULE.abar_at(time)) == pytest.approx(time, abs=1e-6)
    levels = np.array(SCHEDULE.trajectory(20))
    assert len(levels) == 21 and levels[-1] == 1 and (np.diff(levels) > 0).all()
    assert levels[0] == pytest.approx(SCHEDULE.abar[-1])
