import math

import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.outcomes import Outcome
from engine.properties.krylov import minres
from engine.properties.permeability import _make_flow, permeability
from engine.properties.reach import Reach, reach
from tests import structures
from tests.published import ZICK_HOMSY, sphere_drag, square_duct_flow


def value(phase: np.ndarray, axis: int, tolerance: float = 1e-6) -> float:
    result = permeability(torch.from_numpy(phase)[None], axis, tolerance=tolerance)
    assert result.outcome == [Outcome.CONVERGED]
    return result.value.item()


@pytest.mark.parametrize("width", (1, 3, 8))
@pytest.mark.parametrize("axis", (0, 2))
def test_slits_carry_the_discrete_parabola(width: int, axis: int) -> None:
    """Poiseuille's w^2/12 per open share; the staggered grid's own parabola carries (w^2 + 2)/12."""
    slit = np.zeros((4, width + 3, 5), np.uint8)
    slit[:, 1 : 1 + width] = 1
    assert value(slit, axis, 1e-8) == pytest.approx(width / (width + 3) * (width**2 + 2) / 12, rel=1e-6)


def test_square_ducts_converge_to_the_series() -> None:
    """At second order in the voxel size."""
    errors = []
    for side in (4, 8):
        duct = np.zeros((3, side + 2, side + 2), np.uint8)
        duct[:, 1:-1, 1:-1] = 1
        errors.append(value(duct, 0) * (side + 2) ** 2 / (square_duct_flow() * side**4) - 1)
    assert 0 < errors[1] < 0.3 * errors[0] and errors[1] < 0.07


@pytest.mark.parametrize("fraction", ZICK_HOMSY)
def test_spheres_on_a_cubic_lattice_drag_as_published(fraction: float) -> None:
    """k = 2 a^2 / (9 c K) with Zick and Homsy's K; the gaps between the densest are 1.2 voxels wide."""
    size = 24
    spheres = structures.cubic_spheres((size,) * 3, size, (fraction * 3 / (4 * math.pi)) ** (1 / 3) * size)
    c = spheres.mean()
    radius = (c * 3 / (4 * math.pi)) ** (1 / 3) * size
    expected = 2 * radius**2 / (9 * c * sphere_drag(c, near=fraction))
    assert value(1 - spheres, 0, 1e-3) == pytest.approx(expected, rel=0.015)


def test_the_equations_are_symmetric_and_the_flow_keeps_its_volume() -> None:
    phase = torch.from_numpy(structures.level_cut((4, 5, 4), 0.7, 1.0, seed=1)).bool()
    flow = _make_flow(torch.from_numpy(reach(phase.numpy(), periodic=False) == Reach.SPANNING))
    generator = torch.Generator().manual_seed(0)
    inside = torch.cat([flow.open.flatten(), flow.fluid.double().flatten()])
    u, v = (torch.randn(len(inside), generator=generator, dtype=torch.float64) * inside for _ in range(2))
    torch.testing.assert_close(torch.dot(u, flow.apply(v)), torch.dot(v, flow.apply(u)))
    torch.testing.assert_close(torch.dot(u, flow.precondition(v)), torch.dot(v, flow.precondition(u)))
    assert torch.dot(u, flow.precondition(u)) > 0
    x, converged, _ = minres(flow.apply, flow.precondition, flow.pull(), 1e-8, 500)
    velocity = flow.split(x)[0]
    layers = velocity[0].sum((1, 2))
    assert converged and float(layers.max() - layers.min()) < 1e-6 * float(layers.mean())
    assert (velocity * (1 - flow.open) == 0).all()
    # what the pressure difference 1 puts in is what friction takes out
    dissipated = (velocity * flow.viscous.apply(velocity.flatten(1)).view_as(velocity)).sum()
    assert float(layers[0]) == pytest.approx(float(dissipated), rel=1e-6)


def test_error_of_the_value_stays_below_the_tolerance() -> None:
    phase = structures.level_cut((10, 10, 10), 0.5, 1.5, seed=3)
    exact = value(phase, 1, 1e-9)
    for tolerance in (1e-2, 1e-3, 1e-4):
        assert value(phase, 1, tolerance) == pytest.approx(exact, rel=2 * tolerance)


def test_finer_voxels_scale_with_the_square_less_what_coarse_walls_are_short_of() -> None:
    phase = structures.level_cut((8, 8, 8), 0.6, 1.5, seed=3)
    fine = phase.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    assert 0.5 < value(fine, 0, 1e-4) / (4 * value(phase, 0, 1e-4)) < 1  # a slit of 2 voxels: 18 / 24


def test_axes_batches_and_dead_ends() -> None:
    phase = structures.level_cut((8, 9, 10), 0.6, 1.2, seed=5)
    turned = np.ascontiguousarray(phase.transpose(1, 0, 2))
    assert value(phase, 1) == pytest.approx(value(turned, 0), rel=1e-6)
    channel = structures.channel((8, 8, 8), 0, 3)
    branched = channel.copy()
    branched[5:, 6:, 6:] = 1  # joined to nothing
    batch = permeability(torch.from_numpy(np.stack([channel, branched])), 0, tolerance=1e-6)
    assert batch.value[0].item() == pytest.approx(batch.value[1].item(), rel=1e-9)


def test_outcomes() -> None:
    shape = (6, 6, 6)
    members = [structures.dead_ends(shape, 0), np.zeros(shape, np.uint8), np.ones(shape, np.uint8)]
    result = permeability(torch.from_numpy(np.stack(members)), 0)
    assert result.outcome == [Outcome.DOES_NOT_PERCOLATE, Outcome.ABSENT, Outcome.UNBOUNDED]
    assert result.value.tolist() == [0, 0, math.inf]
    assert result.measured(2).value is None and result.measured(0).value == 0
    hard = torch.from_numpy(structures.level_cut((10, 10, 10), 0.5, 1.0, seed=1))[None]
    assert permeability(hard, 0, max_iterations=3).outcome == [Outcome.OUT_OF_ITERATIONS]
    one = permeability(torch.tensor([[[[1, 0], [1, 0]]]]), 0)  # an axis of one voxel
    assert one.outcome == [Outcome.CONVERGED] and one.value.item() > 0


def test_refuses_what_cannot_be_solved() -> None:
    good = torch.ones(1, 3, 3, 3)
    for bad in (0.5 * good, good * math.nan, -good):
        with pytest.raises(InputError, match="0 or 1"):
            permeability(bad, 0)
    with pytest.raises(InputError, match="axis"):
        permeability(good, 3)
    with pytest.raises(InputError, match=r"\[B, D, H, W\]"):
        permeability(good[0], 0)
    with pytest.raises(InputError, match="9000x9000x9000"):
        permeability(torch.ones(1).expand(1, 9000, 9000, 9000), 0)
