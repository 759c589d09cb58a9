"""Solvers against a Gaussian, whose answer is known in closed form."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from engine.sampling.schedules import LinearSchedule
from engine.sampling.solvers import Ddim, Ddpm, Solver, make_solver

SCHEDULE = LinearSchedule()
MEAN, STD = 0.7, 0.4


def exact_clean(x, abar):
    """E[x_0 | x_t] for x_0 ~ N(MEAN, STD^2)."""
    gain = math.sqrt(abar) * STD**2 / (abar * STD**2 + 1 - abar)
    return MEAN + gain * (x - math.sqrt(abar) * MEAN)


def run(steps, solver: Solver, count=100_000):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, generator=generator, dtype=torch.float64)
    for abar, following in pairwise(SCHEDULE.trajectory(steps)):
        noise = torch.randn(count, generator=generator, dtype=torch.float64)
        x = solver.step(x, exact_clean(x, abar), abar, following, noise)
    return x


@pytest.mark.parametrize(("name", "eta"), [("ddpm", 1.0), ("ddim", 0.0), ("ddim", 0.5), ("dpm++", 0.0), ("dpm++", 1.0)])
def test_many_steps_give_the_distribution(name, eta):
    x = run(1000, make_solver(name, eta), count=20_000)
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(x.std()) == pytest.approx(STD, rel=0.02)


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpm++", 2)])
def test_the_error_falls_with_the_order_of_the_solver(name, order):
    """Against the exact flow of the Gaussian: x keeps its quantile. Levels evenly spaced in log-SNR, so that the order
    of the scheme is what shows; the last step, to abar = 1, is left out."""

    def error(steps):
        ends = [math.log(a / (1 - a)) for a in (0.01, 0.99)]
        levels = [1 / (1 + math.exp(-v)) for v in np.linspace(*ends, steps + 1)]
        solver, x = make_solver(name, 0.0), torch.linspace(-2, 2, 9, dtype=torch.float64)
        start = x.clone()
        for abar, following in pairwise(levels):
            x = solver.step(x, exact_clean(x, abar), abar, following, None)
        spread = [math.sqrt(a * STD**2 + 1 - a) for a in (levels[0], levels[-1])]
        exact = math.sqrt(levels[-1]) * MEAN + spread[1] / spread[0] * (start - math.sqrt(levels[0]) * MEAN)
        return float((x - exact).abs().max())

    slope = math.log(error(40) / error(160)) / math.log(4)
    assert slope == pytest.approx(order, abs=0.25)


def variance_after(name, eta, levels):
    """Of a Gaussian that starts at the first level with its right variance; no sampling: each step is linear in x and
    noise."""
    variance, one = levels[0] * STD**2 + 1 - levels[0], torch.ones(1, dtype=torch.float64)
    for abar, following in pairwise(levels):

        def step(x, noise, abar=abar, following=following):
            solver = make_solver(name, eta)
            return float(solver.step(x * one, exact_clean(x * one, abar), abar, following, noise * one))

        rest = step(0.0, 0.0)
        variance = (step(1.0, 0.0) - rest) ** 2 * variance + (step(0.0, 1.0) - rest) ** 2
    return variance


@pytest.mark.parametrize("spacing", ["even", "quadratic", "jittered"])
@pytest.mark.parametrize(("name", "eta"), [("ddpm", 1.0), ("ddim", 0.0), ("ddim", 0.5), ("ddim", 1.0)])
def test_any_sub_trajectory_converges_with_first_order(name, eta, spacing):
    """To the Gaussian's own variance at the last level, whatever levels lie between."""

    def error(steps):
        places = np.linspace(1, 0, steps + 1)
        if spacing == "quadratic":
            places = places**2
        if spacing == "jittered":
            places[1:-1] += np.random.default_rng(0).uniform(-0.4, 0.4, steps - 1) / steps
        levels = [SCHEDULE.abar_at(place * (SCHEDULE.timesteps - 1)) for place in places]
        return abs(variance_after(name, eta, levels) / (levels[-1] * STD**2 + 1 - levels[-1]) - 1)

    coarse, fine = error(80), error(640)
    assert fine < 0.04
    assert math.log(coarse / fine) / math.log(8) == pytest.approx(1, abs=0.2)


def test_ancestral_step_is_ddim_with_eta_one():
    x, clean, noise = torch.randn(3, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for abar, following in ((0.1, 0.4), (0.5, 0.9), (0.9, 1.0)):
        assert torch.allclose(
            Ddpm().step(x, clean, abar, following, noise),
            Ddim(1.0).step(x, clean, abar, following, noise),
            atol=1e-12,
        )


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpm++"])
def test_the_last_step_ends_on_the_clean_estimate(name):
    x, clean = torch.randn(2, 100, dtype=torch.float64)
    assert torch.allclose(make_solver(name, 1.0).step(x, clean, 0.99, 1.0, None), clean)


def test_first_order_where_a_step_is_repeated_at_its_level():
    """DPM-Solver++ with no earlier level to extrapolate from is DDIM."""
    x, clean, other = torch.randn(3, 100, dtype=torch.float64)
    solver = make_solver("dpm++", 0.0)
    solver.step(x, other, 0.3, 0.5, None)
    assert torch.allclose(solver.step(x, clean, 0.3, 0.5, None), Ddim(0.0).step(x, clean, 0.3, 0.5, None))


def test_schedule_is_inverted_between_its_times():
    for time in (0.0, 10.5, 499.25, 999.0):
        assert SCHEDULE.time_of(SCHEDULE.abar_at(time)) == pytest.approx(time, abs=1e-6)
    levels = np.array(SCHEDULE.trajectory(20))
    assert len(levels) == 21 and levels[-1] == 1 and (np.diff(levels) > 0).all()
    assert levels[0] == pytest.approx(SCHEDULE.abar[-1])
