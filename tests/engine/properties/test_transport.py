import math
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.outcomes import Outcome
from engine.properties.bounds import hashin_shtrikman, reuss, voigt
from engine.properties.certificate import certify_diffusivity
from engine.properties.conductor import make_conductor
from engine.properties.phases import by_indicators, mixed
from engine.properties.transport import potential, solve, solve_with_gradient, value_and_gradient
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


SANGANI_ACRIVOS = {  # coefficients c1 ... c6 of each lattice
    "simple cubic": (1.305, 0.231, 0.405, 0.0723, 0.153, 0.0105),
    "body-centred": (0.129, -0.413, 0.764, 0.257, 0.0113, 0.00562),
    "face-centred": (0.0753, 0.697, -0.741, 0.0420, 0.0231, 9.14e-7),
}
CENTRES = {
    "simple cubic": [(0, 0, 0)],
    "body-centred": [(0, 0, 0), (0.5, 0.5, 0.5)],
    "face-centred": [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)],
}


def spheres_on_lattice(lattice: str, share: float, size: int) -> structures.Volume:
    """One periodic cell of spheres that fill `share` of it, mirror planes at its faces."""
    centres = np.array(CENTRES[lattice])
    radius = (share / len(centres) * 3 / (4 * math.pi)) ** (1 / 3)
    at = np.stack(np.meshgrid(*[(np.arange(size) + 0.5) / size] * 3, indexing="ij"), -1)
    apart = (at[..., None, :] - centres + 0.5) % 1 - 0.5
    return (np.square(apart).sum(-1).min(-1) <= radius**2).astype(np.uint8)


def sangani_acrivos(lattice: str, ratio: float, f: float) -> float:
    """Conductivity of spheres (conductivity `ratio`, volume fraction `f`) on a cubic lattice in a matrix of 1."""
    c1, c2, c3, c4, c5, c6 = SANGANI_ACRIVOS[lattice]
    l2, l3, l4, l5 = ((ratio - 1) / (ratio + d) for d in (4 / 3, 6 / 5, 8 / 7, 10 / 9))
    chain = c1 * l2 * f ** (10 / 3) * (1 + c2 * l3 * f ** (11 / 3)) / (1 - c3 * l2 * f ** (7 / 3))
    rest = c4 * l3 * f ** (14 / 3) + c5 * l4 * f**6 + c6 * l5 * f ** (22 / 3)
    return 1 - 3 * f / (f - (ratio + 2) / (ratio - 1) + chain + rest)


@pytest.mark.parametrize("lattice", CENTRES)
@pytest.mark.parametrize("ratio", (0.0, 10.0))
def test_spheres_on_cubic_lattices_follow_the_published_series(lattice: str, ratio: float) -> None:
    """A. S. Sangani and A. Acrivos, Proc. R. Soc. Lond. A 386, 263 (1983); the coefficients of the simple cubic lattice
    were checked against a second source, those of the others by this test alone. The staircase of an insulating sphere
    costs a first order in the voxel size, which two sizes extrapolate away."""
    errors = []
    for size in (20, 40):
        phase = spheres_on_lattice(lattice, 0.25, size)
        found = solve(1 + (ratio - 1) * volume(phase).double(), 0, periodic=True).value.item()
        errors.append(found / sangani_acrivos(lattice, ratio, phase.mean()) - 1)
    if ratio:
        assert abs(errors[1]) < 2e-3
    else:
        assert abs(errors[1]) < 0.6 * abs(errors[0]) and abs(2 * errors[1] - errors[0]) < 6e-3


def test_random_spheres_follow_jeffrey() -> None:
    """1 - 1.5 f + 0.588 f^2 for insulating spheres in random positions (D. J. Jeffrey, Proc. R. Soc. Lond. A 335, 355,
    1973), extrapolated from two voxel sizes."""
    generator = np.random.default_rng(0)
    count, radius, errors = 29, 0.1, {24: [], 48: []}
    for _ in range(2):
        centres: list[np.ndarray] = []
        while len(centres) < count:  # random sequential addition in a periodic unit cube
            new = generator.uniform(size=3)
            if all(np.square((new - old + 0.5) % 1 - 0.5).sum() > (2 * radius) ** 2 for old in centres):
                centres.append(new)
        for size, found in errors.items():
            at = (np.indices((size, size, size)).transpose(1, 2, 3, 0) + 0.5) / size
            nearest = np.min([np.square((at - c + 0.5) % 1 - 0.5).sum(-1) for c in centres], axis=0)
            matrix = nearest > radius**2
            f = 1 - matrix.mean()
            values = [solve(volume(matrix), axis, periodic=True, tolerance=1e-3).value.item() for axis in range(3)]
            found.append(np.mean(values) / (1 - 1.5 * f + 0.588 * f**2) - 1)
    coarse, fine = np.mean(errors[24]), np.mean(errors[48])
    assert 0.11 < f < 0.13 and abs(2 * fine - coarse) < 6e-3


def test_two_hundred_random_structures_stay_within_their_bounds_along_every_axis() -> None:
    generator = np.random.default_rng(7)
    for seed in range(200):
        phase = structures.level_cut((6, 6, 6), generator.uniform(0.1, 0.9), generator.uniform(0.3, 2), seed)
        low = 10 ** generator.uniform(-3, 0)
        mix = (phase.mean(), 1 - phase.mean()), (1.0, low)
        sigma = (low + (1 - low) * volume(phase)).double()
        for axis in range(3):
            result = solve(sigma, axis, periodic=bool(seed % 2), tolerance=1e-3)
            assert reuss(*mix) * (1 - 1e-9) <= result.value.item() <= voigt(*mix) * (1 + 1e-6)


@pytest.mark.parametrize("fraction", (0.3, 0.6))
def test_isotropic_ensembles_stay_within_hashin_and_shtrikman(fraction: float) -> None:
    values = []
    for seed in range(6):
        phase = structures.level_cut((20, 20, 20), fraction, 1.5, seed)
        sigma = 0.05 + 0.95 * volume(phase)
        values += [solve(sigma, axis, periodic=True).value.item() for axis in range(3)]
    bounds = hashin_shtrikman((fraction, 1 - fraction), (1.0, 0.05))
    assert bounds.low < np.mean(values) < bounds.high


def test_three_phases_in_layers() -> None:
    labels = torch.arange(12).view(1, 12, 1, 1).expand(1, 12, 5, 4) % 3
    one_hot = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).double()
    sigma = mixed(one_hot, torch.tensor([0.5, 2.0, 7.0]).double())
    third = (1 / 3, 1 / 3, 1 / 3)
    assert value(sigma, 0, TIGHT) == pytest.approx(reuss(third, (0.5, 2, 7)), rel=1e-9)
    assert value(sigma, 1, TIGHT) == pytest.approx(voigt(third, (0.5, 2, 7)), rel=1e-9)


@pytest.mark.parametrize("flux", range(3))
def test_phases_with_a_conductivity_per_axis_in_layers(flux: int) -> None:
    labels = torch.arange(8).view(1, 1, 8, 1).expand(1, 5, 8, 4) % 2
    one_hot = torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).double()
    table = torch.tensor([[1.0, 2.0, 3.0], [10.0, 30.0, 20.0]], dtype=torch.float64)
    along = table[:, flux].tolist()
    expected = (reuss if flux == 1 else voigt)((0.5, 0.5), along)
    assert value(mixed(one_hot, table), flux, TIGHT) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("normal", range(3))
@pytest.mark.parametrize("periodic", (False, True), ids=("sealed", "periodic"))
def test_layers_of_a_phase_that_insulates_along_one_axis(normal: int, periodic: bool) -> None:
    """Such as sheets of graphite: layers along the flux add up, layers across it are as good as the worst."""
    phase = volume(structures.laminate((8, 12, 10), normal=normal, period=2, thickness=1)).long()
    one_hot = torch.nn.functional.one_hot(phase, 2).movedim(-1, 1).double()
    table = torch.tensor([[1.0, 0.0, 3.0], [10.0, 30.0, 20.0]], dtype=torch.float64)
    for flux in range(3):
        result = solve(mixed(one_hot, table), flux, periodic=periodic, tolerance=TIGHT)
        expected = (reuss if flux == normal else voigt)((0.5, 0.5), table[:, flux].tolist())
        assert result.value.item() == pytest.approx(expected, rel=1e-9)
        assert result.outcome == [Outcome.CONVERGED if expected else Outcome.DOES_NOT_PERCOLATE]


def test_a_phase_that_insulates_along_the_flux_still_spreads_it() -> None:
    """Two half columns end in a plate that conducts within its plane alone: exactly 0 until it conducts along the flux,
    then two half voxels of it in series over half of the section each."""
    sigma = torch.zeros(1, 3, 7, 6, 6, dtype=torch.float64)
    sigma[:, :, :3, :3] = sigma[:, :, 4:, 3:] = 1
    sigma[:, 1:, 3] = 5
    assert solve(sigma, 0).outcome == [Outcome.DOES_NOT_PERCOLATE] and solve(sigma, 0).value.item() == 0
    assert solve(sigma, 1).outcome == [Outcome.CONVERGED]
    sigma[:, 0, 3] = 1e-3
    faces, conductance = 18, 2 * 1e-3
    assert value(sigma, 0, TIGHT) == pytest.approx(faces * conductance / 2 * 7 / 36, rel=0.02)


def test_no_conduction_along_one_axis_is_the_limit_of_little() -> None:
    phase = volume(structures.level_cut((8, 9, 10), 0.6, 1.0, seed=4)).double()
    none = torch.stack([phase, 0.5 * phase, 1 - phase], 1)
    little = none.clamp(min=1e-6)
    for axis in range(3):
        for periodic in (False, True):
            found = [solve(each, axis, periodic=periodic, tolerance=TIGHT).value.item() for each in (none, little)]
            assert 0 < found[0] == pytest.approx(found[1], rel=1e-3) and found[0] <= found[1]


def test_periodic_sides_do_not_care_where_the_volume_is_cut() -> None:
    sigma = 0.01 + volume(structures.level_cut((9, 10, 11), 0.4, 1.0, seed=3)).double()
    for axis in range(3):
        shifts = [0 if a == axis else 4 for a in range(3)]
        moved = sigma.roll(shifts, (1, 2, 3))
        values = [solve(each, axis, periodic=True, tolerance=TIGHT).value.item() for each in (sigma, moved)]
        assert values[0] == pytest.approx(values[1], rel=1e-9)
        assert values[0] > value(sigma, axis, TIGHT) * (1 - 1e-12)  # opening the sides never costs conductance


def test_a_path_through_the_sides_counts_only_where_they_meet() -> None:
    phase = np.zeros((6, 8, 8), np.uint8)
    phase[:3, 0], phase[2:, 7] = 1, 1
    sealed, periodic = solve(volume(phase), 0), solve(volume(phase), 0, periodic=True)
    assert sealed.outcome == [Outcome.DOES_NOT_PERCOLATE] and sealed.value.item() == 0
    assert periodic.outcome == [Outcome.CONVERGED] and 0.05 < periodic.value.item() < 0.125


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


def test_agrees_with_taufactor_with_periodic_sides() -> None:
    from taufactor import PeriodicSolver

    phase = structures.level_cut((24, 24, 24), 0.5, 1.5, seed=3)
    peer = PeriodicSolver(phase, device="cpu")
    peer.solve(verbose=False, conv_crit=1e-3)
    ours = solve(volume(phase), 0, periodic=True).value.item()
    assert peer.converged and ours == pytest.approx(float(peer.D_rel[0]), rel=5e-3)


def test_agrees_with_taufactor_on_several_conductivities() -> None:
    """Its multiphase solver fixes the potentials half a voxel further out, so the ends are uniform layers here: they
    add exactly one voxel of that phase in series."""
    from taufactor import MultiPhaseSolver

    first, second = (structures.level_cut((24, 16, 16), 0.5, 1.5, seed) for seed in (3, 4))
    labels = 1 + first + first * second
    labels[:6], labels[-6:] = 2, 2
    peer = MultiPhaseSolver(labels, cond={1: 0.2, 2: 1.0, 3: 5.0}, device="cpu")
    peer.solve(verbose=False, conv_crit=1e-3)
    sigma = torch.tensor([0, 0.2, 1.0, 5.0])[volume(labels).long()]
    assert peer.converged
    assert 24 / value(sigma, 0) + 1 == pytest.approx(25 / float(peer.D_eff[0]), rel=5e-3)


@pytest.mark.parametrize(
    ("file", "phase", "corner", "side"),
    [
        ("nmc_cathode_251x301x200.tif", 0, (0, 0, 136), 48),
        ("berea_sandstone_200x400x400.tif", 0, (0, 0, 272), 64),
        ("separator_lr_156x75x75.tif", 0, (92, 0, 0), 48),
        ("separator_lr_156x75x75.tif", 1, (92, 0, 0), 48),
    ],
)
def test_agrees_with_taufactor_on_tomograms(
    shared_data: Path, file: str, phase: int, corner: tuple[int, int, int], side: int
) -> None:
    import tifffile

    tomogram = tifffile.imread(shared_data / file)
    mask = (tomogram[tuple(slice(at, at + side) for at in corner)] == np.unique(tomogram)[phase]).astype(np.uint8)
    for axis in range(3):
        certified, result = certify_diffusivity(mask, axis), solve(volume(mask), axis)
        assert result.outcome == [certified.outcome]
        assert result.value.item() == pytest.approx(certified.value, rel=5e-3)


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
    together = potential(make_conductor(sigma), ramp, 1e-4, 100)
    assert together.converged == [True] * 4
    assert together.iterations[3] == 0 and len(set(together.iterations)) > 2
    values = make_conductor(sigma).power(together.x)
    for member in range(4):
        conductor = make_conductor(sigma[member : member + 1])
        alone = potential(conductor, ramp[:1], 1e-4, 100)
        assert alone.iterations == [together.iterations[member]]
        torch.testing.assert_close(values[member : member + 1], conductor.power(alone.x), rtol=1e-5, atol=0)


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


@pytest.mark.parametrize(
    "phase",
    [
        structures.level_cut((6, 7, 8), 0.45, 0.8, seed=2),
        structures.dead_ends((7, 4, 4), 0),  # one layer of insulators: any one of them opens the volume
        structures.channel((6, 5, 5), 0, 2),
    ],
    ids=["random", "dead ends", "channel"],
)
@pytest.mark.parametrize("periodic", (False, True), ids=("sealed", "periodic"))
def test_gradient_at_true_insulators_is_the_one_sided_derivative(phase: structures.Volume, periodic: bool) -> None:
    """Every insulating voxel of an interface, and a sample of the others, one by one; nothing leaks."""
    sigma = 3.0 * volume(phase).double()
    result = value_and_gradient(sigma, 0, periodic=periodic, tolerance=TIGHT)
    generator = np.random.default_rng(0)
    wanted = [generator.permutation(np.argwhere(phase == kind))[:15] for kind in (0, 1)]
    for voxel in np.concatenate(wanted):
        where = (0, *voxel)
        step = 1e-4 if phase[tuple(voxel)] == 0 else -1e-4
        values = []
        for multiple in (0, 1, 2):
            moved = sigma.clone()
            moved[where] += multiple * step
            values.append(solve(moved, 0, periodic=periodic, tolerance=TIGHT).value.item())
        difference = (-3 * values[0] + 4 * values[1] - values[2]) / (2 * step)
        assert result.gradient[where].item() == pytest.approx(difference, rel=1e-3, abs=2e-6)
    if result.outcome == [Outcome.DOES_NOT_PERCOLATE]:
        assert result.value.item() == 0 and result.gradient.max() > 0.01


@pytest.mark.parametrize("axis", range(3))
def test_gradient_by_the_conductivity_along_each_axis(axis: int) -> None:
    generator = torch.Generator().manual_seed(5)
    sigma = torch.rand(1, 3, 4, 5, 6, generator=generator, dtype=torch.float64) + 0.05
    sigma[:, :, 2, 2, 2:4] = 0
    result = value_and_gradient(sigma, axis, periodic=True, tolerance=TIGHT)
    direction = torch.rand(sigma.shape, generator=generator, dtype=torch.float64) * (sigma > 0)
    step = 1e-6
    ends = [solve(sigma + s * direction, axis, periodic=True, tolerance=TIGHT).value for s in (step, -step)]
    difference = (ends[0] - ends[1]).item() / (2 * step)
    assert (result.gradient * direction).sum().item() == pytest.approx(difference, rel=1e-5)
    assert (result.gradient * sigma).sum().item() == pytest.approx(result.value.item(), rel=1e-6)  # Euler


@pytest.mark.parametrize("axis", (0, 2))
@pytest.mark.parametrize("percolates", (True, False))
def test_gradient_where_phases_insulate_along_single_axes(axis: int, percolates: bool) -> None:
    """Every kind of zero, one by one: along an axis of a voxel that conducts otherwise, and in insulators."""
    shape = (6, 5, 4)
    phase = structures.level_cut(shape, 0.85, 0.6, seed=1) if percolates else structures.dead_ends(shape, axis)
    grain = volume(structures.level_cut(shape, 0.3, 0.6, seed=3)).double()
    sigma = torch.stack([0.3 + grain, grain, 1 - grain], 1) * volume(phase).double()
    result = value_and_gradient(sigma, axis, periodic=True, tolerance=TIGHT)
    assert (result.outcome == [Outcome.CONVERGED]) == percolates
    generator, step, seen = np.random.default_rng(0), 1e-4, 0
    zeros, others = (generator.permutation(np.argwhere(kind.numpy())) for kind in (sigma[0] == 0, sigma[0] > 0))
    most = zeros[np.argsort([-result.gradient[(0, *entry)].item() for entry in zeros])]
    for entry in np.concatenate([most[:6], zeros[:6], others[:6]]):
        where = (0, *entry)
        values = []
        for multiple in (0, 1, 2):
            moved = sigma.clone()
            moved[where] += multiple * step
            values.append(solve(moved, axis, periodic=True, tolerance=TIGHT).value.item())
        difference = (-3 * values[0] + 4 * values[1] - values[2]) / (2 * step)
        assert result.gradient[where].item() == pytest.approx(difference, rel=1e-3, abs=2e-6)
        seen += abs(difference) > 1e-4 and sigma[where].item() == 0
    assert seen >= 3


def test_gradient_by_phase_indicators() -> None:
    soft = torch.rand(1, 3, 5, 4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(1)
    table = torch.tensor([0.0, 1.0, 8.0], dtype=torch.float64)
    gradient = by_indicators(value_and_gradient(mixed(soft, table), 1, tolerance=TIGHT).gradient, table)
    direction = torch.rand(soft.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 0.5
    ends = [value(mixed(soft + s * direction, table), 1, TIGHT) for s in (1e-6, -1e-6)]
    assert (gradient * direction).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4)


# ---- input ----


def test_extreme_conductivities_neither_overflow_nor_vanish() -> None:
    phase = volume(structures.level_cut((10, 10, 10), 0.6, 1.0, seed=1)).float()
    plain = value_and_gradient(phase, 0)
    for unit in (1e-30, 1e30):
        result = value_and_gradient(unit * phase, 0)
        assert result.value.item() == pytest.approx(unit * plain.value.item(), rel=1e-4)
        assert result.gradient.isfinite().all()


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    value_and_gradient(volume(structures.dead_ends((8, 8, 8), 0)), 0)
    assert capfd.readouterr() == ("", "")


def test_refuses_what_cannot_be_solved() -> None:
    good = torch.rand(1, 4, 4, 4)
    with pytest.raises(InputError, match="axis"):
        solve(good, 3)
    with pytest.raises(InputError, match=r"\[B, D, H, W\]"):
        solve(good[0], 0)
    with pytest.raises(InputError, match="at least 0"):
        solve(good - 2, 0)
    for bad in (math.nan, math.inf):
        with pytest.raises(InputError, match="finite"):
            solve(torch.where(good > 0.9, bad, good), 0)
    with pytest.raises(InputError, match="3, D, H, W"):
        solve(torch.stack([good, good], 1), 0)
    with pytest.raises(InputError, match="start"):
        solve(good, 0, start=good[:, :2])
    with pytest.raises(InputError, match="contrast"):
        solve_with_gradient(good, 0, contrast=0)
    with pytest.raises(InputError, match="within"):
        solve_with_gradient(good + 0.5, 0)
    with pytest.raises(InputError, match="within"):
        solve_with_gradient(good * math.nan, 0)
