"""Guidance by slices, with local fractions as latents and an exact denoiser: every term by itself, and the loop."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.descriptors.surface import surface_area
from engine.descriptors.two_point import radial_s2
from engine.errors import InputError
from engine.guidance.choices import SliceNumbers, parse_slice_numbers
from engine.guidance.slices import _LOSSES, check_slice_targets, guide_slices, shell_distances
from engine.guidance.targets import parse_target
from engine.outcomes import DesignOutcome
from engine.properties.transport import solve_with_gradient
from engine.sampling.multiplane import Noise
from engine.sampling.schedules import LinearSchedule
from tests.engine.guidance.test_volume import soft_volume

PHASES = ("pore", "solid")
SCHEDULE = LinearSchedule()


class Logits:
    """Latents are the logit of the first phase, pixel by pixel: encoding and decoding lose nothing."""

    factor, channels = 1, 1

    def encode(self, probabilities):
        p = probabilities[:, :1].clamp(1e-4, 1 - 1e-4)
        return p.log() - (1 - p).log()

    def decode(self, latents):
        return torch.cat([torch.sigmoid(latents), torch.sigmoid(-latents)], dim=1)

    def decode_pullback(self, latents, cotangents):
        p = torch.sigmoid(latents)
        return (cotangents[:, :, :1] - cotangents[:, :, 1:]) * p * (1 - p)


def content(noisy, abar, axis):
    """A denoiser that takes the latents as they came: no pull but that of the noise it is told."""
    return noisy / math.sqrt(abar)


def plane(seed=0, n=16):
    smooth = F.avg_pool2d(torch.randn(1, 1, n + 4, n + 4, generator=torch.Generator().manual_seed(seed)), 5, 1)[0, 0]
    pore = torch.sigmoid(10 * smooth)
    return torch.stack([pore, 1 - pore])


def term(text, numbers=None, training=None):
    target = parse_target(text, PHASES)
    return _LOSSES[target.metric.name](target, PHASES, numbers or SliceNumbers(), training)


def derivative(loss, at, axis=0):
    leaf = at.clone().requires_grad_(True)
    value = loss(leaf, axis)
    return float(value.detach()), torch.autograd.grad(value, leaf)[0]


def test_fractions_have_a_first_and_a_second_moment():
    p = plane()
    first, second = float(p[0].mean()), float(p[0].square().mean())
    value, gradient = derivative(term("fraction[pore]=0.3±0.01", SliceNumbers(fraction=2.0)), p)
    assert value == pytest.approx(2 * ((first - 0.3) ** 2 + (second - 0.3) ** 2), rel=1e-4)
    wanted = 4 * ((first - 0.3) + (second - 0.3) * 2 * p[0]) / p[0].numel()
    assert torch.allclose(gradient[0], wanted, atol=1e-7) and not gradient[1].any()


def test_a_one_sided_target_that_holds_does_not_push():
    value, gradient = derivative(term("fraction[pore]>=0.01"), plane())
    assert value == 0 and not gradient.any()
    assert derivative(term("fraction[pore]>=0.9"), plane())[0] > 0


def test_surface_is_that_of_the_hard_mask_and_its_derivative_goes_straight_through():
    p = plane()
    area = float(surface_area((p[0] > 0.5).numpy(), space_dims=2))
    value, gradient = derivative(term("surface_area[pore]=0.1±0.01", SliceNumbers(surface_area=1.0)), p)
    assert value == pytest.approx((area - 0.1) ** 2, rel=1e-4)
    assert gradient[0].any()


def test_correlation_compares_the_hard_mask_with_the_curve_at_the_distances_of_its_shells():
    p = plane()
    hard = (p[0] > 0.5).float()
    curve = np.linspace(0.5, 0.2, 12)
    value, gradient = derivative(term("s2[pore]=training±2%", SliceNumbers(s2=1.0), {"s2[pore]": curve.tolist()}), p)
    wanted = np.interp(shell_distances(12), np.arange(12), curve)
    assert value == pytest.approx(float(np.mean((radial_s2(hard, 12, space_dims=2).numpy() - wanted) ** 2)), rel=1e-4)
    assert gradient[0].any()


def test_distances_of_shells():
    """By hand: the pairs that round to 1 are 4 at distance 1 and 4 at sqrt 2."""
    assert shell_distances(4)[:2] == [0.0, pytest.approx((4 + 4 * math.sqrt(2)) / 8)]


@pytest.mark.parametrize(("across", "inside"), [(1, 1), (2, 1)])
def test_diffusivity_is_that_of_the_slice_along_the_axis_that_it_holds(across, inside):
    """Along z in planes across y (z, x) and across x (z, y): their first axis both times."""
    p = plane(3)
    loss = term("diffusivity[pore,z]=0.1±0.01", SliceNumbers(diffusivity=1.0))
    solved = solve_with_gradient(p[:1].unsqueeze(0), inside)
    value, gradient = derivative(loss, p, across)
    assert value == pytest.approx((float(solved.value) - 0.1) ** 2, rel=1e-4)
    assert torch.allclose(gradient[0], 2 * (solved.value[0] - 0.1) * solved.gradient[0, 0], rtol=1e-4, atol=1e-8)


def test_the_derivative_of_a_slices_diffusivity_is_that_of_finite_differences():
    p = plane(3, n=8).double()
    loss = term("diffusivity[pore,x]=0.1±0.01", SliceNumbers(diffusivity=1.0))

    def exact(at):
        return (float(solve_with_gradient(at[:1].unsqueeze(0), 2, tolerance=1e-9).value) - 0.1) ** 2

    _, gradient = derivative(loss, p)
    pixel = tuple(int(i) for i in np.unravel_index(int(gradient[0].abs().argmax()), (8, 8)))
    ends = []
    for step in (1e-4, -1e-4):
        moved = p.clone()
        moved[(0, *pixel)] += step
        ends.append(exact(moved))
    assert float(gradient[(0, *pixel)]) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=0.03)


def test_slices_across_the_flux_are_left_alone():
    loss = term("diffusivity[pore,z]=0.1±0.01")
    assert float(loss(plane(), 0)) == 0


def run(targets, steps=300, rate=0.1, denoise=content, seed=0, **numbers):
    return guide_slices(
        soft_volume(0)[:, :16, :16, :16].contiguous(),
        [parse_target(text, PHASES) for text in targets],
        PHASES,
        Logits(),
        denoise,
        SCHEDULE,
        Noise([seed]),
        SliceNumbers(steps=steps, rate=rate, rounds=0, **numbers),
    )


@pytest.mark.parametrize("goal", [0.2, 0.5])
def test_fractions_of_slices_bring_the_fraction_of_the_volume(goal):
    """Not exactly: moments of soft pixels are asked for, hard voxels are counted."""
    result = run([f"fraction[pore]={goal}±0.05"])
    assert result.outcome is DesignOutcome.ATTAINED
    assert float((result.probabilities.argmax(dim=0) == 0).float().mean()) == pytest.approx(goal, abs=0.05)
    assert [entry["iteration"] for entry in result.trace] == [0.0, 300.0]
    assert result.trace[0]["fraction[pore]"] == pytest.approx(
        float((soft_volume(0)[:, :16, :16, :16].argmax(dim=0) == 0).float().mean())
    )


def test_score_distillation_moves_latents_towards_what_the_denoiser_expects():
    """Without weights only the prior pushes: a denoiser that expects solid everywhere makes more of it."""

    def solid(noisy, abar, axis):
        return torch.full_like(noisy, -4.0)

    result = run(["fraction[pore]=0.9±0.01"], denoise=solid, fraction=0.0)
    assert result.outcome is DesignOutcome.MISSED
    assert result.trace[1]["fraction[pore]"] < 0.8 * result.trace[0]["fraction[pore]"]


def test_what_is_given_is_not_changed_and_the_seed_decides():
    given = soft_volume(0)[:, :16, :16, :16].contiguous()
    before = given.clone()
    arguments = [parse_target("fraction[pore]=0.4±0.02", PHASES)], PHASES, Logits(), content, SCHEDULE
    numbers = SliceNumbers(steps=5, rounds=1)
    results = [guide_slices(given, *arguments, Noise([seed]), numbers).probabilities for seed in (1, 1, 2)]
    assert torch.equal(given, before)
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_rounds_of_a_codec_that_loses_nothing_change_nothing():
    volume = soft_volume(0)[:, :16, :16, :16].clamp(0.01, 0.99)
    arguments = [parse_target("fraction[pore]=0.4±0.02", PHASES)], PHASES, Logits(), content, SCHEDULE
    results = [guide_slices(volume, *arguments, Noise([1]), SliceNumbers(steps=1, rounds=n)) for n in (0, 2)]
    assert torch.allclose(results[0].probabilities, results[1].probabilities, atol=1e-4)


def test_a_target_without_a_published_loss_is_refused():
    with pytest.raises(InputError, match=r"sds-slices has losses on .* and diffusivity along an axis alone"):
        check_slice_targets([parse_target("tpb_density>=0.01")])


def test_numbers_are_read_from_text():
    assert parse_slice_numbers("") == SliceNumbers()
    assert parse_slice_numbers("steps=20, rate=0.01") == SliceNumbers(steps=20, rate=0.01)
    for text, says in (
        ("stepps=20", "did you mean 'steps'|steps"),
        ("steps=2.5", "must be a whole number"),
        ("rate=fast", "must be a number"),
        ("rate=0", "must be above 0"),
        ("fraction=-1", "at least 0"),
        ("steps=0", "at least 1"),
        ("steps=2,steps=3", "given twice"),
        ("rate=nan", "above 0"),
    ):
        with pytest.raises(InputError, match=says):
            parse_slice_numbers(text)
