import itertools

import pytest
import torch

from engine.properties.conductor import insulator_gradient, make_conductor

SHAPE = (3, 4, 5)
KINDS = pytest.mark.parametrize("periodic", (False, True), ids=("sealed", "periodic"))
CHANNELS = pytest.mark.parametrize("channels", (1, 3), ids=("isotropic", "per axis"))


def conductivity(channels: int = 1) -> torch.Tensor:
    """[2, 3, 4, 5] or [2, 3, 3, 4, 5] random, with insulating voxels."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(2, channels, *SHAPE, generator=generator, dtype=torch.float64)
    return torch.where(values[:, :1] < 0.3, 0.0, values).squeeze(1)


@KINDS
@CHANNELS
def test_power_is_the_quadratic_form_of_the_operator(periodic: bool, channels: int) -> None:
    conductor = make_conductor(conductivity(channels), periodic)
    u = torch.rand(2, 60, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    right = conductor.source()
    quadratic = (u * conductor.stencil.apply(u) - 2 * u * right + right).sum(1)  # the last term: potential 1 outside
    torch.testing.assert_close(conductor.power(u), quadratic)


@KINDS
@CHANNELS
def test_power_gradient_is_the_derivative_at_a_fixed_potential(periodic: bool, channels: int) -> None:
    sigma = conductivity(channels) + 0.1
    u = torch.rand(2, 60, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    gradient = make_conductor(sigma, periodic).power_gradient(u).view_as(sigma)
    step = 1e-6
    for entry in itertools.product(*[range(channels)] * (channels > 1), (0, 1, 2), (0, 3), (0, 2, 4)):
        change = torch.zeros_like(sigma)
        change[(slice(None), *entry)] = step
        more, less = make_conductor(sigma + change, periodic), make_conductor(sigma - change, periodic)
        difference = more.power(u) - less.power(u)
        torch.testing.assert_close(gradient[(slice(None), *entry)], difference / (2 * step), rtol=1e-6, atol=1e-8)


def test_opening_the_gap_between_two_potentials() -> None:
    """A voxel between 0 and 1 takes 1/2 and dissipates 2 a (1/4 + 1/4)."""
    conducting = torch.tensor([True, False, True]).view(1, 3, 1, 1)
    u = torch.tensor([0.0, 0.3, 1.0]).view(1, 3, 1, 1)  # what an insulator carries does not matter
    gained = insulator_gradient(conducting[:, None], conducting, u, periodic=False)
    assert gained.tolist() == [[[0, 1, 0]]]


def test_an_opening_counts_the_fixed_potentials_and_the_other_side() -> None:
    conducting = torch.tensor([[0, 1, 1]]).view(1, 1, 3, 1).bool()
    u = torch.full((1, 1, 3, 1), 0.5)
    u[0, 0, 2] = 0.8
    sealed = insulator_gradient(conducting[:, None], conducting, u, periodic=False)
    assert sealed[0, 0, 0].item() == pytest.approx(2 * (0.25 + 0.25))  # 0, 1 and one neighbour at 0.5
    periodic = insulator_gradient(conducting[:, None], conducting, u, periodic=True)
    mean = (0 + 1 + 0.5 + 0.8) / 4
    assert periodic[0, 0, 0].item() == pytest.approx(2 * sum((v - mean) ** 2 for v in (0, 1, 0.5, 0.8)))
    along = insulator_gradient(conducting[:, None].expand(-1, 3, -1, -1, -1), conducting, u, periodic=True)
    assert along[0, :, 0].tolist() == pytest.approx([1, 2 * 2 * 0.15**2, 0])


def test_a_voxel_that_opens_a_second_axis_keeps_its_potential() -> None:
    known = torch.ones(1, 1, 3, 1, dtype=torch.bool)
    conducts = known[:, None].repeat(1, 3, 1, 1, 1)
    conducts[0, 1, 0, 1] = False  # the middle one insulates along Y
    u = torch.tensor([0.2, 0.5, 0.9]).view(1, 1, 3, 1)
    gained = insulator_gradient(conducts, known, u, periodic=False)
    assert gained[0, 1].tolist() == pytest.approx([0, 2 * (0.3**2 + 0.4**2), 0]) and gained[0, [0, 2]].max() == 0
