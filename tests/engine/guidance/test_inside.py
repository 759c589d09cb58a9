"""engine.guidance.inside with a codec whose answer is known."""

import pytest
import torch
import torch.nn.functional as F

from engine.guidance.inside import FROM, SamplerGuidance
from engine.guidance.targets import parse_target
from engine.guidance.walk import Walk


class Pooled:
    """Latents are the local share of the first phase, as those of a bundle are."""

    factor = 2

    def encode(self, probabilities):
        return F.avg_pool2d(probabilities[:, :1], 2)

    def decode(self, latents):
        share = F.interpolate(latents, scale_factor=2).clamp(0.01, 0.99)
        return torch.cat([share, 1 - share], dim=1)


def smooth_noise(volumes=2, side=16):
    field = torch.randn(volumes, 1, side, side, side, generator=torch.Generator().manual_seed(0))
    return 0.5 + 0.5 * torch.tanh(4 * F.avg_pool3d(F.pad(field, (2,) * 6, mode="circular"), 5, stride=1))


def hard_fraction(latents):
    return float((latents > 0.5).float().mean())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_estimate_moves_towards_the_target_and_other_volumes_stay(axis):
    clean = smooth_noise()
    here = hard_fraction(clean[0])
    walk = Walk([parse_target(f"fraction[pore]={here + 0.1}±0.001")], ("pore", "solid"))
    moved = SamplerGuidance({0: walk}, Pooled())(clean, axis, 0.9)
    # Two steps that move 2 % of the soft volume each; more voxels than that stand close to the level.
    assert 0.02 < hard_fraction(moved[0]) - here < 0.1
    assert torch.equal(moved[1], clean[1])
    assert len(walk.trace) == 2 and walk.trace[0]["fraction[pore]"] == pytest.approx(here, abs=0.02)


def test_early_estimates_and_what_holds_already_are_left_alone():
    clean = smooth_noise(1)
    far = Walk([parse_target("fraction[pore]=0.9±0.001")], ("pore", "solid"))
    assert torch.equal(SamplerGuidance({0: far}, Pooled())(clean, 0, FROM / 2), clean)
    held = Walk([parse_target("fraction[pore]=[0.001,0.999]")], ("pore", "solid"))
    assert torch.equal(SamplerGuidance({0: held}, Pooled())(clean, 0, 0.9), clean)
