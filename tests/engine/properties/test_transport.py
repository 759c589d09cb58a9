import math
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.outcomes import Outcome
from engine.properties.bounds import hashin_shtrikman, reuss, voigt
from engine.properties.certificate import certify_diffusivity
from engine.properties.stencil import make_conductor
from engine.properties.transport import conjugate_gradients, solve, solve_with_gradient
from tests import structures

TIGHT = 1e-12  # tolerance of reference solutions in double precision


def volume(*members: structures.Volume) -> torch.Tensor:
    return torch.from_numpy(np.stack(members))


def value(conductivity: torch.Tensor, axis: int, tolerance: float = 1e-4) -> float:
    return solve(conductivity, axis, tolerance=tolerance).value.item()


# ---- theory ----


@pytest.mark.parametrize("axis", range(3))
def test_laminates_reach_the_voigt_and_reuss_bounds(axis: int) -> None:
    phase = volume(structures.laminate((8, 12, 10), normal=axis, period=2, thickness=1)).double()
    sigma = 0.2 + 2.8 * phase
    for flux in range(3):
        expected = reuss((0.5, 0.5), (3, 0.2)) if flux == axis else voigt((0.5, 0.5), (3, 0.2))
        assert value(sigma, flux, TIGHT) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("axis", range(3))
def test_phase_in_an_insulator_conducts_along_its_layers_only(axis: int) -> None:
    result = solve(volume(structures.laminate((8, 8, 8), normal=1, period=4, thickness=1)), axis)
    assert result.value.item() == (0 if axis == 1 else pytest.approx(0.25, rel=1e-6))
    assert result.outcome == [Outcome.DOES_NOT_PERCOLATE if axis == 1 else Outcome.CONVERGED]


@pytest.mark.parametrize("axis", range(3))
def test_channel_conducts_its_share_of_the_section(axis: int) -> None:
    shape = (6, 8, 10)
    share = 9 / (np.prod(shape) / shape[axis])
    assert value(volume(structures.channel(shape, axis, width=3)), axis) == pytest.approx(share, rel=1e-6)


def test_checkerboard_tends_to_the_geometric_mean() -> None:
    """Two phases in squares conduct sqrt(a b) in the plane (A. M. Dykhne, Sov. Phys. JETP 32, 63, 1971). The sealed
    2 x 2 block is a mirror cell of the endless board."""
    errors = []
    for size in (16, 32, 64):
        phase = volume(structures.checkerboard((1, size, size), cell=size // 2)).double()
        errors.append(abs(value(1 + 3 * phase, 1, 1e-10) / math.sqrt(1 * 4) - 1))
    assert errors[0] < 0.05 and errors[2] < 0.015
    assert errors[1] < 0.7 * errors[0] and errors[2] < 0.7 * errors[1]


def test_checkerboard_in_an_insulator_touches_along_edges_only_and_does_not_percolate() -> None:
    result = solve(volume(structures.checkerboard((8, 8, 8), 2)), 0)
    assert result.value.item() == 0 and result.outcome == [Outcome.DOES_NOT_PERCOLATE]


def test_insulating_spheres_follow_maxwell() -> None:
    """Dilute spheres on a cubic lattice: 2 (1 - c) / (2 + c), Maxwell 1873; the next term is of order c^(13/3). What is
    left is the staircase of the voxels, of first order in their size."""
    errors = []
    for size in (16, 32, 64):
        spheres = structures.cubic_spheres((size, size, size), size, 9 / 32 * size)
        share = spheres.mean()
        errors.append(abs(value(1 - volume(spheres), 0) * (2 + share) / (2 * (1 - share)) - 1))
    assert errors[1] < 0.75 * errors[0] and errors[2] < 0.75 * errors[1] and errors[2] < 8e-3


def test_random_structures_stay_within_their_bounds() -> None:
    for seed, fraction in enumerate((0.2, 0.5, 0.8)):
        phase = structures.level_cut((16, 16, 16), fraction, 1.5, seed)
        sigma = 0.05 + 0.95 * volume(phase).double()
        mix = (phase.mean(), 1 - phase.mean()), (1.0, 0.05)
        values = [value(sigma, axis, 1e-8) for axis in range(3)]
        assert all(reuss(*mix) < v < voigt(*mix) for v in values)
        shtrikman = hashin_shtrikman(*mix)  # of the isotropic ensemble: the mean of the axes, give or take
        assert 0.9 * shtrikman.low < np.mean(values) < 1.1 * shtrikman.high


def test_random_conductivity_agrees_with_a_dense_solution() -> None:
    sigma = torch.rand(1, 5, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.01
    result = solve(sigma, 0, tolerance=TIGHT)
    conductor = make_conductor(sigma)
    u = torch.linalg.solve(conductor.stencil.dense()[0], conductor.source()[0])
    torch.testing.assert_close(result.field.flatten(), u, rtol=1e-5, atol=1e-6)
    current = (u.view(5, 42)[0] * 2 * sigma[0, 0].flatten()).sum()  # through the first face
    assert result.value.item() == pytest.approx(current.item() * 5 / 42, rel=1e-9)


# ---- other solvers ----


def test_agrees_with_taufactor_on_a_random_medium() -> None:
    phase = structures.level_cut((32, 32, 32), 0.4, 1.5, seed=3)
    for axis in range(3):
        certified = certify_diffusivity(phase, axis)
        assert certified.outcome == Outcome.CONVERGED
        assert value(volume(phase), axis) == pytest.approx(certified.value, rel=5e-3)


def test_agrees_with_taufactor_on_sandstone(shared_data: Path) -> None:
    import tifffile

    tomogram = tifffile.imread(shared_data / "berea_sandstone_200x400x400.tif")
    pore = (tomogram[:64, :64, 272:336] == 0).astype(np.uint8)
    assert value(volume(pore), 1) == pytest.approx(certify_diffusivity(pore, 1).value, rel=5e-3)


# ---- numerics ----


def test_error_of_the_value_stays_below_the_tolerance() -> None:
    phase = volume(structures.level_cut((24, 24, 24), 0.3, 1.5, seed=5))
    for sigma in (phase.float(), 1e-3 + 0.999 * phase):
        exact = value(sigma.double(), 0, TIGHT)
        steps = []
        for tolerance in (1e-1, 1e-2, 1e-3, 1e-4):
            result = solve(sigma, 0, tolerance=tolerance)
            assert result.outcome == [Outcome.CONVERGED]
            assert -1e-5 < result.value.item() / exact - 1 < tolerance  # dissipated power: an upper bound
            steps += result.iterations
        assert steps == sorted(steps) and steps[0] < steps[-1] < 30  # Jacobi needs more than a hundred


def test_batch_gives_what_its_members_give() -> None:
    shape = (12, 10, 14)
    members = [
        structures.level_cut(shape, 0.5, 1.0, seed=1),
        structures.dead_ends(shape, 1),
        structures.channel(shape, 1, 3),
        structures.level_cut(shape, 0.3, 1.0, seed=2),
        np.zeros(shape, np.uint8),
    ]
    batch = solve(volume(*members), 1)
    alone = [solve(volume(member), 1) for member in members]
    torch.testing.assert_close(batch.value, torch.cat([one.value for one in alone]), rtol=1e-5, atol=0)
    assert batch.iterations == [one.iterations[0] for one in alone]
    assert batch.outcome == [one.outcome[0] for one in alone]
    assert batch.outcome[1] == batch.outcome[4] == Outcome.DOES_NOT_PERCOLATE
    assert batch.value[1] == batch.value[4] == 0 and batch.field.isfinite().all()


def test_members_solved_together_retire_one_by_one() -> None:
    """What a GPU does: one conductor for the whole batch."""
    shape = (12, 10, 14)
    phases = [structures.level_cut(shape, f, 1.0, seed=1) for f in (0.9, 0.5, 0.25)] + [np.ones(shape, np.uint8)]
    sigma = 0.01 + 0.99 * volume(*phases)
    ramp = ((torch.arange(12) + 0.5) / 12).repeat_interleave(140).expand(4, -1)
    together = conjugate_gradients(make_conductor(sigma), ramp, 1e-4, 100)
    assert together[1] == [True] * 4
    assert together[2][3] == 0 and len(set(together[2])) > 2
    values = make_conductor(sigma).power(together[0])
    for member in range(4):
        conductor = make_conductor(sigma[member : member + 1])
        u, _, iterations = conjugate_gradients(conductor, ramp[:1], 1e-4, 100)
        assert iterations == [together[2][member]]
        torch.testing.assert_close(values[member : member + 1], conductor.power(u), rtol=1e-5, atol=0)


def test_warm_start_gives_the_same_answer_sooner() -> None:
    phase = structures.level_cut((24, 24, 24), 0.35, 1.5, seed=6)
    changed = phase.copy()
    changed[10:13, 10:13, 10:13] = 1 - changed[10:13, 10:13, 10:13]
    for function in (solve, solve_with_gradient):
        before = function(volume(phase), 2, tolerance=1e-4)
        cold = function(volume(changed), 2, tolerance=1e-4)
        warm = function(volume(changed), 2, tolerance=1e-4, start=before.field)
        assert warm.value.item() == pytest.approx(cold.value.item(), rel=2e-4)
        assert warm.iterations[0] < cold.iterations[0]
        again = function(volume(changed), 2, tolerance=1e-4, start=warm.field)
        assert again.iterations == [0] and again.value.item() == pytest.approx(warm.value.item(), rel=1e-6)


def test_axes_are_told_apart_on_shapes_that_are_no_cubes() -> None:
    sigma = torch.rand(1, 3, 9, 14, generator=torch.Generator().manual_seed(4)) + 0.02
    for axis in range(3):
        turned = sigma.movedim(axis + 1, 1)
        result, expected = solve(sigma, axis, tolerance=1e-6), solve(turned, 0, tolerance=1e-6)
        assert result.value.item() == pytest.approx(expected.value.item(), rel=1e-6)
        assert result.field.shape == sigma.shape
        torch.testing.assert_close(result.field, expected.field.movedim(1, axis + 1))


def test_axis_of_one_voxel_conducts_its_mean() -> None:
    sigma = torch.rand(1, 1, 9, 5, generator=torch.Generator().manual_seed(4))
    sigma[0, 0, 3, 3] = 0
    assert value(sigma, 0) == pytest.approx(sigma.mean().item(), rel=1e-6)
    assert value(torch.full((1, 1, 1, 1), 0.7), 2) == pytest.approx(0.7)


def test_value_scales_with_the_conductivity() -> None:
    phase = volume(structures.level_cut((12, 12, 12), 0.5, 1.0, seed=1))
    assert value(1e-9 * phase, 0) == pytest.approx(1e-9 * value(phase, 0), rel=1e-3)
    assert value(1e9 * phase, 0) == pytest.approx(1e9 * value(phase, 0), rel=1e-3)


def test_dead_clusters_change_nothing() -> None:
    phase = structures.channel((12, 12, 12), 0, 4)
    phase[6:, 8:, 8:] = 1
    assert value(volume(phase), 0) == pytest.approx(16 / 144, rel=1e-6)


def test_out_of_iterations_is_said() -> None:
    phase = volume(structures.level_cut((16, 16, 16), 0.35, 1.5, seed=6))
    result = solve(phase, 0, max_iterations=2)
    assert result.outcome == [Outcome.OUT_OF_ITERATIONS] and result.iterations == [2]
    assert result.value.item() > value(phase, 0)


def test_inputs_are_left_alone() -> None:
    phase = volume(structures.level_cut((8, 8, 8), 0.6, 1.0, seed=1)).float()
    start = torch.rand(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    copies = phase.clone(), start.clone()
    for axis in range(3):
        solve(phase, axis, start=start)
        solve_with_gradient(phase, axis, start=start)
    assert torch.equal(phase, copies[0]) and torch.equal(start, copies[1])


# ---- gradient ----


@pytest.mark.parametrize(
    "phase",
    [
        structures.level_cut((8, 7, 6), 0.5, 1.0, seed=2),
        structures.dead_ends((8, 7, 6), 0),  # does not percolate
        structures.channel((8, 7, 6), 0, 2),
    ],
    ids=["random", "dead ends", "channel"],
)
@pytest.mark.parametrize("axis", (0, 2))
def test_gradient_agrees_with_finite_differences(phase: structures.Volume, axis: int) -> None:
    """In every kind of voxel: inside the phase, in the insulator, on both sides of an interface."""
    soft = volume(phase).double()
    gradient = solve_with_gradient(soft, axis, tolerance=TIGHT).gradient
    neighbours = sum(np.roll(phase, s, a).astype(int) for a in range(3) for s in (1, -1))
    kinds = [
        (phase == 0) & (neighbours > 0),
        (phase == 1) & (neighbours < 6),
        (phase == 0) & (neighbours == 0),
        (phase == 1) & (neighbours == 6),
    ]
    assert kinds[0].any() and kinds[1].any()
    generator = np.random.default_rng(0)
    step = 1e-5
    for kind in kinds:
        for voxel in generator.permutation(np.argwhere(kind))[:4]:
            where = (0, *voxel)
            # One-sided at 0 and 1, where the phase cannot go further: second order with two points.
            inward = step if phase[tuple(voxel)] == 0 else -step
            values = []
            for multiple in (0, 1, 2):
                moved = soft.clone()
                moved[where] += multiple * inward
                values.append(solve_with_gradient(moved, axis, tolerance=TIGHT).value.item())
            difference = (-3 * values[0] + 4 * values[1] - values[2]) / (2 * inward)
            assert gradient[where].item() == pytest.approx(difference, rel=1e-3, abs=1e-6)


def test_gradient_agrees_with_finite_differences_on_soft_phases() -> None:
    soft = torch.rand(1, 6, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradient = solve_with_gradient(soft, 1, contrast=0.01, tolerance=TIGHT).gradient
    direction = torch.rand(1, 6, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    step = 1e-5
    inside = soft.clamp(step, 1 - step)
    ends = [solve_with_gradient(inside + s * direction, 1, contrast=0.01, tolerance=TIGHT).value for s in (step, -step)]
    difference = (ends[0] - ends[1]).item() / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(difference, rel=1e-3)


def test_gradient_says_where_to_open_a_volume_that_does_not_percolate() -> None:
    phase = structures.dead_ends((9, 6, 6), 0)
    result = solve_with_gradient(volume(phase), 0)
    assert 0 < result.value.item() < 0.02 and result.outcome == [Outcome.CONVERGED]
    assert result.gradient[0, 4].mean() > 100 * result.gradient[0, 2].mean() >= 0


def test_conductivity_weighted_gradient_sums_to_the_value() -> None:
    """The value is homogeneous of degree 1 in the conductivity (Euler)."""
    phase = volume(structures.level_cut((12, 12, 12), 0.4, 1.0, seed=2)).double()
    result = solve_with_gradient(phase, 0, contrast=1e-2, tolerance=TIGHT)
    sigma = 1e-2 + 0.99 * phase
    assert (result.gradient / 0.99 * sigma).sum().item() == pytest.approx(result.value.item(), rel=1e-6)


def test_gradient_in_single_precision_points_where_the_exact_one_does() -> None:
    phase = volume(structures.level_cut((24, 24, 24), 0.3, 1.5, seed=5))
    single, exact = solve_with_gradient(phase, 0), solve_with_gradient(phase.double(), 0, tolerance=TIGHT)
    cosine = torch.cosine_similarity(single.gradient.flatten().double(), exact.gradient.flatten(), dim=0)
    assert cosine > 0.97


# ---- input ----


def test_refuses_what_cannot_be_solved() -> None:
    good = torch.rand(1, 4, 4, 4)
    with pytest.raises(InputError, match="axis"):
        solve(good, 3)
    with pytest.raises(InputError, match=r"\[B, D, H, W\]"):
        solve(good[0], 0)
    with pytest.raises(InputError, match="at least 0"):
        solve(good - 2, 0)
    with pytest.raises(InputError, match="finite"):
        solve(good / 0, 0)
    with pytest.raises(InputError, match="start"):
        solve(good, 0, start=good[:, :2])
    with pytest.raises(InputError, match="contrast"):
        solve_with_gradient(good, 0, contrast=0)
    with pytest.raises(InputError, match="within"):
        solve_with_gradient(good + 0.5, 0)
    with pytest.raises(InputError, match="within"):
        solve_with_gradient(good * math.nan, 0)
