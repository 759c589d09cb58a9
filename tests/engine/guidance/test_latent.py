"""Guidance by score distillation on latents, with interpolation for a decoder and denoisers that are known."""

import math

import pytest
import torch
import torch.nn.functional as F

from engine.guidance.latent import FAR, MARGIN, guide_latents, push
from engine.guidance.targets import parse_target
from engine.outcomes import DesignOutcome
from engine.properties.transport import solve
from engine.sampling.multiplane import Noise
from engine.sampling.schedules import LinearSchedule

PHASES = ("pore", "solid")


class Interpolating:
    """One latent channel, twice as coarse as the voxels: its interpolation is the logit of the first phase."""

    factor, channels = 2, 1

    def encode(self, probabilities):
        raise AssertionError("nothing is encoded on the way")

    def decode(self, latents):
        logit = 3 * F.interpolate(latents, scale_factor=2, mode="bilinear") - 1
        return torch.cat([torch.sigmoid(logit), torch.sigmoid(-logit)], dim=1)

    def decode_pullback(self, latents, cotangents):
        with torch.enable_grad():
            leaf = latents.clone().requires_grad_(True)
            decoded = self.decode(leaf)
        return torch.stack([torch.autograd.grad(decoded, leaf, each, retain_graph=True)[0] for each in cotangents])


class Content:
    """A denoiser that takes latents as they come; remembers how often it was asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, volume, axis, abar):
        self.calls += 1
        return volume / math.sqrt(abar)


def smooth_latents(*seeds, n=12):
    noise = torch.stack([torch.randn(1, n, n, n, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    smooth = F.avg_pool3d(F.pad(noise, (1,) * 6, mode="circular"), 3, 1)
    return smooth / smooth.std()


def run(latents, *targets, iterations=60, estimate=None, finish=lambda volume, which: volume):
    parsed = [[parse_target(text, PHASES) for text in texts] for texts in targets]
    noise = Noise(list(range(len(latents))))
    return guide_latents(
        latents, parsed, PHASES, Interpolating(), estimate or Content(), LinearSchedule(), noise, finish, iterations
    )


def pores(result):
    return (result.probabilities.argmax(dim=0) == 0).float()


@pytest.mark.parametrize("goal", [0.25, 0.5])
def test_a_fraction_is_met(goal):
    (result,) = run(smooth_latents(0), [f"fraction[pore]={goal}±0.01"])
    assert result.outcome is DesignOutcome.ATTAINED
    assert float(pores(result).mean()) == pytest.approx(goal, abs=0.01)
    assert set(result.trace[0]) == {"iteration", "fraction[pore]"}


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_fraction_and_diffusivity_are_met_together(factor):
    latents = smooth_latents(1)
    (start,) = run(latents, ["fraction[pore]=[0.01,0.99]"], iterations=4)
    fraction, natural = float(pores(start).mean()), float(solve(pores(start)[None], 0).value)
    wanted = [f"fraction[pore]={fraction}±0.02", f"diffusivity[pore,z]={factor * natural}±5%"]
    (result,) = run(latents, wanted, iterations=120)
    assert result.outcome is DesignOutcome.ATTAINED
    assert float(solve(pores(result)[None], 0).value) == pytest.approx(factor * natural, rel=0.05)
    assert float(pores(result).mean()) == pytest.approx(fraction, abs=0.02)


def test_a_term_within_tolerance_stops_pushing():
    assert push(0.0) == push(MARGIN) == 0 and 0 < push(1.0) < push(3.0) < push(FAR) == push(50.0) == 1


class Towards:
    """A denoiser that expects one value everywhere."""

    def __init__(self, value):
        self.value = value

    def __call__(self, volume, axis, abar):
        return torch.full_like(volume, self.value)


def test_the_prior_pushes_also_where_every_target_holds():
    """A target that holds from the start moves nothing; what moves is the prior, in every iteration until the end."""
    latents = smooth_latents(2)
    asked = ["fraction[pore]>=0.01", "diffusivity[pore,z]=0.9±0.001"]  # the second one cannot be met: no early end
    content = Content()
    run(latents, asked, iterations=7, estimate=content)
    assert content.calls == 7
    fractions = []
    for expected in (-1.0, 1.0):
        (result,) = run(latents, ["fraction[pore]=[0.01,0.99]"], iterations=3, estimate=Towards(expected))
        fractions.append(float(pores(result).mean()))
    (still,) = run(latents, ["fraction[pore]=[0.01,0.99]"], iterations=3)
    assert fractions[0] < float(pores(still).mean()) < fractions[1]


def test_targets_hold_on_the_refined_volume():
    """Refinement that takes pores away everywhere: what it takes is asked for beforehand."""

    def thinning(volume, which):
        logit = volume[:, :1].log() - volume[:, 1:].log() - 0.6
        return torch.cat([torch.sigmoid(logit), torch.sigmoid(-logit)], dim=1)

    (result,) = run(smooth_latents(3), ["fraction[pore]=0.4±0.01"], finish=thinning)
    assert result.outcome is DesignOutcome.ATTAINED
    assert float(pores(result).mean()) == pytest.approx(0.4, abs=0.01)


def test_what_cannot_be_reached_is_missed_with_the_best_state():
    (result,) = run(smooth_latents(4), ["fraction[pore]=0.3±0.001", "diffusivity[pore,z]=0.299±0.1%"], iterations=5)
    assert result.outcome is DesignOutcome.MISSED and len(result.trace) == 5
    assert bool(torch.isfinite(result.probabilities).all())


def test_a_volume_does_not_depend_on_its_batch():
    """Neither on another's targets, nor on how many they are."""
    latents = smooth_latents(5, 6)
    first, second = ["fraction[pore]=0.4±0.005"], ["fraction[pore]=0.3±0.005", "surface_area[pore]<=0.5"]
    together = run(latents, first, second)
    (alone,) = run(latents[:1], first)
    assert torch.equal(together[0].probabilities, alone.probabilities)


def test_latents_that_are_given_are_not_changed():
    latents = smooth_latents(7)
    before = latents.clone()
    run(latents, ["fraction[pore]=0.6±0.01"], iterations=4)
    assert torch.equal(latents, before)
