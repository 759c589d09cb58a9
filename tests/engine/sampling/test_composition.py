import pytest
import torch

from engine.sampling.composition import fit_composition, steer_mean


def linear_material(count=500, noise=0.0):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(count, 2, 1, 1, generator=generator) * torch.tensor([0.5, 0.2])[:, None, None]
    means = latents.mean(dim=(2, 3))
    first = 0.3 + means @ torch.tensor([0.1, -0.2])
    return latents.expand(-1, -1, 4, 4), torch.stack([first, 1 - first], dim=1)


def test_a_linear_composition_is_found_exactly():
    composition = fit_composition(*linear_material())
    assert torch.allclose(composition.offset, torch.tensor([0.3, 0.7]), atol=1e-5)
    assert torch.allclose(composition.slope, torch.tensor([[0.1, -0.2], [-0.1, 0.2]]), atol=1e-5)


def test_the_shift_meets_the_goal_along_the_material_s_own_direction():
    composition = fit_composition(*linear_material())
    shift = composition.shift(torch.zeros(2), {0: 0.35})
    assert float(composition.slope[0] @ shift) == pytest.approx(0.05, abs=1e-4)
    # covariance S^T: channel 0 varies (0.5/0.2)^2 = 6.25 times as much as channel 1 and takes the larger share.
    assert float(shift[0] / shift[1]) == pytest.approx(6.25 * 0.1 / -0.2, rel=0.15)


def test_only_volumes_with_a_goal_are_steered_and_only_in_their_mean():
    composition = fit_composition(*linear_material())
    volume = torch.randn(2, 2, 4, 4, 4)
    steered = steer_mean(lambda v, axis, abar: v, composition, [{}, {0: 0.4}])(volume, 0, 0.5)
    assert torch.equal(steered[0], volume[0])
    mean = steered[1].mean(dim=(1, 2, 3))
    assert float(0.3 + mean @ torch.tensor([0.1, -0.2])) == pytest.approx(0.4, abs=1e-4)
    change = steered[1] - volume[1]
    assert torch.allclose(change, change[:, :1, :1, :1].expand_as(change), atol=1e-6)


def test_two_fractions_that_sum_to_one_are_met_together():
    composition = fit_composition(*linear_material())
    shift = composition.shift(torch.zeros(2), {0: 0.35, 1: 0.65})
    assert float(composition.slope[0] @ shift) == pytest.approx(0.05, abs=1e-4)


def test_one_channel_is_enough_for_two_phases():
    latents, _ = linear_material()
    latents = latents[:, :1]
    first = 0.3 + 0.1 * latents.mean(dim=(1, 2, 3))
    composition = fit_composition(latents, torch.stack([first, 1 - first], dim=1))
    assert composition.covariance.shape == (1, 1)
    assert float(composition.shift(torch.zeros(1), {1: 0.65})) == pytest.approx(0.5, abs=1e-3)
