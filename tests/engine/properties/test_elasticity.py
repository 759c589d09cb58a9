"""Voigt order xx, yy, zz, yz, xz, xy; x, y, z are array axes 2, 1, 0."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.outcomes import Outcome
from engine.properties.bounds import hashin_shtrikman_bulk
from engine.properties.elasticity import Homogenized, homogenize, stiffness_basis
from engine.properties.stiffness import (
    engineering_constants,
    isotropic,
    modulus,
    orthotropic,
    poissons_ratio,
    uniaxial_strain,
    youngs_modulus,
)
from tests import structures

TIGHT = 1e-12
SOFT, STIFF, VOID = isotropic(1.0, 0.35), isotropic(100.0, 0.2), torch.zeros(6, 6, dtype=torch.float64)
FIBRE = orthotropic((230, 15, 15), (0.2, 0.2, 0.25), (24, 24, 6))


def two_phases(phase: np.ndarray) -> torch.Tensor:
    """[1, 2, D, H, W] float64: outside, inside."""
    inside = torch.from_numpy(np.asarray(phase)).double()
    return torch.stack([1 - inside, inside])[None]


def cell(phase: np.ndarray, stiffness: torch.Tensor, expansion: torch.Tensor | None = None) -> Homogenized:
    return homogenize(two_phases(phase), stiffness, expansion, tolerance=TIGHT)


def thermal(*values: float) -> torch.Tensor:
    """[K, 6] isotropic expansions."""
    return torch.tensor([[value] * 3 + [0] * 3 for value in values], dtype=torch.float64)


def bulk(stiffness: torch.Tensor) -> float:
    return float(stiffness[:3, :3].mean())


# ---- theory ----


def lamination(stiffnesses: torch.Tensor, shares: torch.Tensor, normal: int) -> torch.Tensor:
    """Exact stiffness of layers (G. W. Milton, The Theory of Composites, 2002, section 9.1): across the layers the
    tractions, within them the strains are the same everywhere."""
    across = {0: [0, 4, 5], 1: [1, 3, 5], 2: [2, 3, 4]}[normal]
    within = [i for i in range(6) if i not in across]
    c = stiffnesses
    nn, nt, tt = c[:, across][:, :, across], c[:, across][:, :, within], c[:, within][:, :, within]
    mean = lambda values: torch.einsum("k,k...->...", shares, values)  # noqa: E731
    flexible = torch.linalg.inv(mean(torch.linalg.inv(nn)))
    carried = mean(torch.linalg.solve(nn, nt))
    own = mean(tt - nt.mT @ torch.linalg.solve(nn, nt))
    out = torch.zeros(6, 6, dtype=c.dtype)
    rows, columns = torch.tensor(across), torch.tensor(within)
    out[rows[:, None], rows] = flexible
    out[rows[:, None], columns] = flexible @ carried
    out[columns[:, None], rows] = (flexible @ carried).T
    out[columns[:, None], columns] = own + carried.T @ flexible @ carried
    return out


@pytest.mark.parametrize("axis", range(3))
def test_layers_follow_the_exact_lamination_formula(axis: int) -> None:
    phase = structures.laminate((4, 4, 4), normal=axis, period=4, thickness=1)
    stiffness = torch.stack([SOFT, FIBRE])
    found = cell(phase, stiffness).stiffness[0]
    expected = lamination(stiffness, torch.tensor([0.75, 0.25], dtype=torch.float64), normal=2 - axis)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_layers_have_the_textbook_shear_moduli_and_poissons_ratio() -> None:
    """Within the layers shear strains are equal, across them shear stresses; in plane stress the plates add up."""
    phase, share = structures.laminate((4, 4, 4), normal=0, period=4, thickness=1), np.array([0.75, 0.25])
    e, nu = np.array([1.0, 100.0]), np.array([0.35, 0.2])
    found = engineering_constants(cell(phase, torch.stack([SOFT, STIFF])).stiffness[0])
    assert found is not None
    shear, plate = e / (2 * (1 + nu)), e / (1 - nu**2)
    assert found.shear_modulus_gpa["xy"] == pytest.approx(share @ shear)
    assert found.shear_modulus_gpa["xz"] == pytest.approx(1 / (share @ (1 / shear)))
    assert found.poissons_ratio["xy"] == pytest.approx(share @ (nu * plate) / (share @ plate))


def test_phases_of_one_shear_modulus_mix_to_an_isotropic_body() -> None:
    """Whatever the geometry (R. Hill, J. Mech. Phys. Solids 11, 357, 1963); the bulk modulus, and so Poisson's ratio,
    to the first order of the voxel size."""
    shear, ratios = 4.0, torch.tensor([0.1, 0.4], dtype=torch.float64)
    stiffness = torch.stack([isotropic(2 * shear * (1 + nu), nu) for nu in ratios.tolist()])
    bulks, errors = torch.stack([each[:3, :3].mean() for each in stiffness]), []
    for size in (8, 16):
        phase = structures.cubic_spheres((size, size, size), size, 0.4 * size)
        known = engineering_constants(homogenize(two_phases(phase), stiffness, tolerance=1e-8).stiffness[0])
        assert known is not None
        f = float(phase.mean())
        k = 1 / float((torch.tensor([1 - f, f]) / (bulks + 4 / 3 * shear)).sum()) - 4 / 3 * shear
        expected, found = (3 * k - 2 * shear) / (2 * (3 * k + shear)), list(known.poissons_ratio.values())
        assert list(known.shear_modulus_gpa.values()) == pytest.approx([shear] * 3)
        assert found == pytest.approx([found[0]] * 6)
        errors.append(found[0] / expected - 1)
    assert abs(errors[1]) < 0.015 and abs(errors[1]) < 0.6 * abs(errors[0])


def test_a_homogeneous_cell_is_its_material_in_two_steps() -> None:
    result = homogenize(torch.ones(1, 1, 3, 4, 5).double(), FIBRE[None], torch.arange(6.0)[None].double())
    torch.testing.assert_close(result.stiffness[0], FIBRE)
    torch.testing.assert_close(result.expansion[0], torch.arange(6.0).double())
    assert max(result.iterations[0]) <= 2


def test_turning_the_cell_permutes_the_stiffness() -> None:
    phase = structures.level_cut((6, 5, 4), 0.5, 1.0, seed=1)
    one = cell(phase, torch.stack([SOFT, STIFF])).stiffness[0]
    turned = cell(np.ascontiguousarray(phase.transpose(2, 0, 1)), torch.stack([SOFT, STIFF])).stiffness[0]
    order = [1, 2, 0, 4, 5, 3]  # new x, y, z are old y, z, x
    torch.testing.assert_close(turned, one[order][:, order], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("inclusion", [isotropic(20.0, 0.25), VOID], ids=["stiff", "void"])
def test_a_sphere_follows_the_coated_sphere(inclusion: torch.Tensor) -> None:
    """The bulk modulus of a dilute cubic array is Hashin and Shtrikman's coated sphere but for high orders of the
    fraction; the staircase of the voxels remains."""
    matrix, size = isotropic(1.0, 0.3), 20
    phase = structures.cubic_spheres((size, size, size), size, 0.27 * size)
    found = bulk(cell(phase, torch.stack([matrix, inclusion])).stiffness[0])
    f = float(phase.mean())
    moduli = [(bulk(c), float(c[3, 3])) for c in (matrix, inclusion)]
    bounds = hashin_shtrikman_bulk((1 - f, f), [m[0] for m in moduli], [m[1] for m in moduli])
    assert 0.05 < f < 0.1
    assert found == pytest.approx(bounds.low if float(inclusion[0, 0]) else bounds.high, rel=0.015)


def random_spheres(size: int) -> np.ndarray:
    """Overlapping, periodic; the same spheres at every size."""
    at = (np.indices((size, size, size)).transpose(1, 2, 3, 0) + 0.5) / size
    centres = np.random.default_rng(0).uniform(size=(6, 3))
    nearest = np.min([np.square((at - centre + 0.5) % 1 - 0.5).sum(-1) for centre in centres], axis=0)
    return (nearest < 0.22**2).astype(np.uint8)


GEOMETRIES: dict[str, Callable[[int], np.ndarray]] = {
    "checkerboard": lambda size: structures.checkerboard((size,) * 3, size // 2),
    "cubic spheres": lambda size: structures.cubic_spheres((size,) * 3, size, 0.45 * size),
    "random spheres": random_spheres,
}


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_phases_of_equal_shear_modulus_follow_hill(geometry: str) -> None:
    """Isotropic whatever the geometry, with 1 / (K + 4/3 G) the mean of that of the phases (R. Hill, J. Mech. Phys.
    Solids 11, 357, 1963). The error is positive, as of an energy, and of first order in the voxel size or better."""
    shear, bulks = 1.0, torch.tensor([1.0, 8.0])
    young, ratio = 9 * bulks * shear / (3 * bulks + shear), (3 * bulks - 2 * shear) / (6 * bulks + 2 * shear)
    stiffness = torch.stack([isotropic(e, nu) for e, nu in zip(young.tolist(), ratio.tolist(), strict=True)])
    errors = []
    for size in (12, 24):
        phase = GEOMETRIES[geometry](size)
        found = homogenize(two_phases(phase).float(), stiffness, tolerance=1e-4).stiffness[0]
        assert found[3:, 3:].diagonal().tolist() == pytest.approx([shear] * 3, rel=1e-5)
        f = phase.mean()
        expected = 1 / ((1 - f) / (bulks[0] + 4 / 3 * shear) + f / (bulks[1] + 4 / 3 * shear)) - 4 / 3 * shear
        errors.append(bulk(found) / float(expected) - 1)
    assert 0 < errors[1] < 0.65 * errors[0] and errors[1] < 0.02


def test_relabelled_phases_are_the_same_cell() -> None:
    labels = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (1, 4, 5, 4)))
    stiffness, expansion = torch.stack([SOFT, FIBRE, VOID]), thermal(6e-5, 1e-6, 0)
    found = []
    for order in ([0, 1, 2], [2, 0, 1]):
        one_hot = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).double()[:, order]
        found.append(homogenize(one_hot, stiffness[order], expansion[order], tolerance=1e-10))
    torch.testing.assert_close(found[0].stiffness, found[1].stiffness, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found[0].expansion, found[1].expansion, rtol=1e-6, atol=1e-11)


def test_random_cells_stay_between_reuss_and_voigt_in_every_direction() -> None:
    generator = np.random.default_rng(3)
    for seed in range(200):
        phase = structures.level_cut((3, 4, 3), generator.uniform(0.2, 0.8), 0.5, seed)
        stiffness = torch.stack([isotropic(generator.uniform(0.1, 1), generator.uniform(0, 0.4)), FIBRE])
        found = homogenize(two_phases(phase), stiffness, tolerance=1e-3).stiffness[0]
        f = phase.mean()
        voigt = (1 - f) * stiffness[0] + f * stiffness[1]
        reuss = torch.linalg.inv((1 - f) * torch.linalg.inv(stiffness[0]) + f * torch.linalg.inv(stiffness[1]))
        assert torch.linalg.eigvalsh(voigt - found)[0] > -1e-6 and torch.linalg.eigvalsh(found - reuss)[0] > -1e-6


def test_isotropic_ensembles_stay_within_hashin_and_shtrikman() -> None:
    stiffness, f = torch.stack([SOFT, isotropic(10.0, 0.2)]), 0.4
    found = []
    for seed in range(4):
        phase = structures.level_cut((12, 12, 12), f, 1.2, seed)
        found.append(bulk(homogenize(two_phases(phase).float(), stiffness, tolerance=1e-3).stiffness[0]))
    bounds = hashin_shtrikman_bulk((1 - f, f), [bulk(c) for c in stiffness], [float(c[3, 3]) for c in stiffness])
    assert bounds.low < np.mean(found) < bounds.high


def test_expansion_of_two_isotropic_phases_follows_from_the_compliance() -> None:
    """Exact for any geometry (B. W. Rosen and Z. Hashin, Int. J. Eng. Sci. 8, 157, 1970)."""
    a1, a2 = 60e-6, 5e-6
    result = cell(structures.level_cut((6, 5, 4), 0.4, 0.8, seed=2), torch.stack([SOFT, STIFF]), thermal(a1, a2))
    s1, s2 = 1 / (3 * bulk(SOFT)), 1 / (3 * bulk(STIFF))
    identity = torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=torch.float64)
    expected = a1 * identity + (a2 - a1) / (s2 - s1) * (
        torch.linalg.solve(result.stiffness[0], identity) - s1 * identity
    )
    torch.testing.assert_close(result.expansion[0], expected, rtol=1e-6, atol=1e-12)


def test_equal_expansions_stay_and_a_void_does_not_count() -> None:
    phase = structures.level_cut((6, 6, 6), 0.7, 1.0, seed=2)
    result = cell(phase, torch.stack([VOID, STIFF]), thermal(7.0, 2e-5))
    torch.testing.assert_close(result.expansion[0, :3], torch.full((3,), 2e-5).double(), rtol=1e-6, atol=0)


# ---- numerics ----


def test_what_nothing_holds_together_has_no_stiffness() -> None:
    plates = structures.laminate((4, 4, 4), normal=0, period=4, thickness=2)
    result = cell(plates, torch.stack([VOID, STIFF]), thermal(0, 1e-5))
    assert result.outcome == [Outcome.CONVERGED]
    moduli = [youngs_modulus(result.stiffness[0], axis) for axis in range(3)]
    assert moduli == pytest.approx([50, 50, 0], abs=1e-3) and result.expansion.isnan().all()
    empty = homogenize(torch.ones(1, 1, 3, 3, 3), VOID[None])
    assert empty.outcome == [Outcome.CONVERGED] and (empty.stiffness == 0).all()
    island = cell(structures.sphere((6, 6, 6), 2), torch.stack([VOID, STIFF]))
    assert island.outcome == [Outcome.CONVERGED] and float(island.stiffness.abs().max()) < 1e-6


@pytest.mark.parametrize("contrast", (1e-3, 0.0), ids=("1000", "void"))
def test_hard_contrasts_converge_in_single_precision(contrast: float) -> None:
    phase = structures.level_cut((12, 12, 12), 0.6, 1.2, seed=4)
    stiffness = torch.stack([contrast * isotropic(1.0, 0.3), isotropic(1.0, 0.3)])
    single = homogenize(two_phases(phase).float(), stiffness)
    exact = cell(phase, stiffness)
    assert single.outcome == exact.outcome == [Outcome.CONVERGED]
    ratio = (single.stiffness / exact.stiffness)[0].diagonal()
    assert float(ratio.min()) > 1 - 1e-5 and float(ratio.max()) < 1 + 5e-4  # an energy: an upper bound


def test_batch_gives_what_its_members_give_and_a_start_saves_steps() -> None:
    phases = [structures.level_cut((6, 5, 4), f, 0.8, seed) for seed, f in ((1, 0.3), (2, 0.6))]
    stiffness, expansion = torch.stack([SOFT, STIFF]), thermal(6e-5, 1e-6)
    batch = homogenize(torch.cat([two_phases(phase) for phase in phases]).float(), stiffness, expansion)
    for member, phase in enumerate(phases):
        alone = homogenize(two_phases(phase).float(), stiffness, expansion)
        torch.testing.assert_close(batch.stiffness[member], alone.stiffness[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(batch.expansion[member], alone.expansion[0], rtol=1e-5, atol=1e-12)
    again = homogenize(two_phases(phases[1]).float(), stiffness, expansion, start=batch.displacements[1:])
    assert max(again.iterations[0]) <= 3 < min(batch.iterations[1])


def test_out_of_iterations_is_said() -> None:
    phase = structures.level_cut((6, 6, 6), 0.5, 1.0, seed=4)
    result = homogenize(two_phases(phase), torch.stack([SOFT, STIFF]), max_iterations=2)
    assert result.outcome == [Outcome.OUT_OF_ITERATIONS] and result.iterations == [[2] * 6]


def test_the_basis_has_no_more_materials_than_it_needs() -> None:
    three = torch.stack([SOFT, isotropic(7.0, 0.1), STIFF, VOID])
    basis, mixing = stiffness_basis(three)
    assert len(basis) == 2
    torch.testing.assert_close(torch.einsum("kr,rij->kij", mixing, basis), three, rtol=1e-9, atol=1e-12)
    assert len(stiffness_basis(torch.stack([FIBRE, SOFT]))[0]) == 2


# ---- gradient ----


Numbers = Callable[[Homogenized], list[float]]


def check_one_by_one(
    numbers: Numbers,
    gradients: list[torch.Tensor],
    indicators: torch.Tensor,
    stiffness: torch.Tensor,
    expansion: torch.Tensor | None,
    voxels: np.ndarray,
) -> None:
    """Finite differences of a hard two-phase cell, where single voxels turn into the other phase."""
    step = 1e-4
    for voxel in voxels:
        change = 1 - 2 * indicators[(0, slice(None), *voxel)]
        values = []
        for multiple in (0, 1, 2):
            moved = indicators.clone()
            moved[(0, slice(None), *voxel)] += multiple * step * change
            # tight: a voxel that hardly carries is the last to come right
            values.append(numbers(homogenize(moved, stiffness, expansion, tolerance=1e-14)))
        for gradient, start, near, far in zip(gradients, *values, strict=True):
            difference = (-3 * start + 4 * near - far) / (2 * step)
            found = float((gradient[(0, slice(None), *voxel)] * change).sum())
            assert found == pytest.approx(difference, rel=1e-3, abs=1e-5)


BOX = np.ones((5, 4, 4), np.uint8)
BOX[1:4, :3, :3] = 0  # a hole with corners that no solid touches; one voxel of it has no other
HARD = {"random": structures.level_cut((4, 4, 4), 0.6, 0.6, seed=4), "box": BOX}


@pytest.mark.parametrize("other", [SOFT, VOID], ids=["soft", "void"])
@pytest.mark.parametrize("name", HARD)
def test_gradients_of_hard_phases_agree_with_finite_differences(other: torch.Tensor, name: str) -> None:
    """Of Young's modulus and of the expansion along x, on both sides of interfaces and within the phases."""
    phase, stiffness = HARD[name], torch.stack([other, FIBRE])
    expansion = thermal(4.0, 1.0)
    expansion[1, 1] = 3.0  # anisotropic, else a porous solid would expand as it is whatever its pores
    indicators = two_phases(phase)
    result = homogenize(indicators, stiffness, expansion, tolerance=TIGHT)
    strain = uniaxial_strain(result.stiffness[0], 0)
    gradients = [
        result.stiffness_gradient(torch.outer(strain, strain)[None]),
        result.expansion_gradient(torch.eye(6).double()[:1]),
    ]

    def numbers(moved: Homogenized) -> list[float]:
        return [youngs_modulus(moved.stiffness[0], 0), float(moved.expansion[0, 0])]

    generator = np.random.default_rng(0)
    voxels = [generator.permutation(np.argwhere(phase == kind))[:3] for kind in (0, 1)] + [[[2, 1, 1]]]
    check_one_by_one(numbers, gradients, indicators, stiffness, expansion, np.concatenate(voxels))


@pytest.mark.parametrize("other", [SOFT, VOID], ids=["soft", "void"])
@pytest.mark.parametrize("name", HARD)
def test_gradients_of_shear_moduli_and_poissons_ratios_agree_with_finite_differences(
    other: torch.Tensor, name: str
) -> None:
    phase, stiffness = HARD[name], torch.stack([other, FIBRE])
    indicators = two_phases(phase)
    result = homogenize(indicators, stiffness, tolerance=TIGHT)
    strain = uniaxial_strain(result.stiffness[0], 4)  # xz
    ratio = poissons_ratio(result.stiffness[0], "xz", stiffness)
    assert ratio is not None
    gradients = [
        result.stiffness_gradient(torch.outer(strain, strain)[None]),
        result.stiffness_gradient(ratio.gradient[None]),
    ]

    def numbers(moved: Homogenized) -> list[float]:
        found = poissons_ratio(moved.stiffness[0], "xz", stiffness)
        assert found is not None
        return [modulus(moved.stiffness[0], 4), found.value]

    generator = np.random.default_rng(1)
    voxels = [generator.permutation(np.argwhere(phase == kind))[:2] for kind in (0, 1)]
    check_one_by_one(numbers, gradients, indicators, stiffness, None, np.concatenate(voxels))


def test_gradient_says_where_to_bridge_a_cell_that_does_not_hang_together() -> None:
    """Plates with a gap of one voxel carry nothing across it; any voxel of the gap would."""
    plates = structures.laminate((4, 3, 3), normal=0, period=4, thickness=3)
    stiffness, indicators = torch.stack([VOID, STIFF]), two_phases(plates)
    result = homogenize(indicators, stiffness, tolerance=TIGHT)
    strain = uniaxial_strain(result.stiffness[0], 2)
    gradient = result.stiffness_gradient(torch.outer(strain, strain)[None])

    def numbers(moved: Homogenized) -> list[float]:
        return [youngs_modulus(moved.stiffness[0], 2)]

    gap, inside = np.argwhere(plates == 0)[4], np.argwhere(plates == 1)[0]
    check_one_by_one(numbers, [gradient], indicators, stiffness, None, np.stack([gap, inside]))
    assert numbers(result) == [pytest.approx(0, abs=1e-8)] and gradient[(0, 1, *gap)] > 1


def test_gradients_agree_with_finite_differences_on_soft_phases() -> None:
    generator = torch.Generator().manual_seed(0)
    indicators = torch.rand(1, 3, 4, 3, 5, generator=generator, dtype=torch.float64).softmax(1) * 0.9 + 0.03
    stiffness, expansion = torch.stack([SOFT, FIBRE, VOID]), thermal(6e-5, 1e-6, 0)
    expansion[1, 5] = 3e-6
    result = homogenize(indicators, stiffness, expansion, tolerance=TIGHT)
    weights = torch.randn(1, 6, 6, generator=generator, dtype=torch.float64)
    thermal_weights = torch.randn(1, 6, generator=generator, dtype=torch.float64)
    direction = torch.randn(indicators.shape, generator=generator, dtype=torch.float64)
    ends = [homogenize(indicators + s * direction, stiffness, expansion, tolerance=TIGHT) for s in (1e-5, -1e-5)]
    by_stiffness = (weights * (ends[0].stiffness - ends[1].stiffness)).sum() / 2e-5
    by_expansion = (thermal_weights * (ends[0].expansion - ends[1].expansion)).sum() / 2e-5
    assert (result.stiffness_gradient(weights) * direction).sum() == pytest.approx(float(by_stiffness), rel=1e-4)
    assert (result.expansion_gradient(thermal_weights) * direction).sum() == pytest.approx(
        float(by_expansion), rel=1e-3
    )


# ---- another code ----


def test_agrees_with_torch_fem() -> None:
    """A mirrored cell strained along its axes moves like one octant between frictionless plates; sheared, like one
    whose faces are held within and free across. So does the whole stiffness, and with it Poisson's ratios."""
    torchfem = pytest.importorskip("torchfem", reason="needs torch-fem, a development dependency")
    from torchfem.materials import IsotropicElasticity3D
    from torchfem.mesh import cube_hexa

    n = 5
    octant = structures.level_cut((n, n, n), 0.5, 0.8, seed=5)
    mirrored = octant
    for axis in range(3):
        mirrored = np.concatenate([mirrored, np.flip(mirrored, axis)], axis)
    phases = torch.stack([SOFT, STIFF])
    ours = homogenize(two_phases(mirrored), phases, tolerance=1e-8).stiffness[0]

    nodes, elements = cube_hexa(n + 1, n + 1, n + 1, float(n), float(n), float(n))
    nodes = nodes.double()
    centres = nodes[elements].mean(1).long()  # x, y, z
    inside = torch.from_numpy(octant)[centres[:, 2], centres[:, 1], centres[:, 0]].double()
    material = IsotropicElasticity3D(E=1 + 99 * inside, nu=0.35 - 0.15 * inside)
    first, last = nodes.abs() < 1e-6, (nodes - n).abs() < 1e-6  # [nodes, 3] on the faces
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model = torchfem.Solid(nodes, elements, material)
        normal = torch.zeros(3, 3)
        for load in range(3):
            model.constraints, model.displacements = first | last, torch.zeros_like(nodes)
            model.displacements[last[:, load], load] = float(n)
            _, forces, *_ = model.solve()
            normal[:, load] = torch.stack([forces[last[:, axis], axis].sum() / n**2 for axis in range(3)])
        model.constraints, model.displacements = torch.zeros_like(first), torch.zeros_like(nodes)  # xy
        model.constraints[:, 2] = (first | last).any(1)
        for across, along in ((0, 1), (1, 0)):
            model.constraints[:, along] = first[:, across] | last[:, across]
            model.displacements[last[:, across], along] = n / 2
        _, forces, *_ = model.solve()
        shear = float(forces[last[:, 0], 1].sum()) / n**2
    finally:
        torch.set_default_dtype(previous)
    torch.testing.assert_close(ours[:3, :3], normal, rtol=0.01, atol=0.01)
    assert modulus(ours, 5) == pytest.approx(shear, rel=0.01)
    compliance = torch.linalg.inv(normal)  # of a mirrored body, whose shears are apart
    for a, b in ((0, 1), (1, 0), (2, 0)):
        ratio = poissons_ratio(ours, "xyz"[a] + "xyz"[b], phases)
        assert ratio is not None and ratio.value == pytest.approx(-float(compliance[b, a] / compliance[a, a]), rel=0.01)


# ---- input ----


def test_refuses_what_cannot_be_homogenized() -> None:
    good, stiffness = torch.rand(1, 2, 3, 3, 3), torch.stack([SOFT, STIFF])
    with pytest.raises(InputError, match=r"\[B, K, D, H, W\]"):
        homogenize(good[0], stiffness)
    with pytest.raises(InputError, match=r"\[2, 6, 6\]"):
        homogenize(good, stiffness[:1])
    with pytest.raises(InputError, match=r"phase 1.*positive definite"):
        homogenize(good, torch.stack([SOFT, -STIFF]))
    with pytest.raises(InputError, match="within"):
        homogenize(good + 0.5, stiffness)
    with pytest.raises(InputError, match="within"):
        homogenize(good * torch.nan, stiffness)
    with pytest.raises(InputError, match="expansion"):
        homogenize(good, stiffness, torch.zeros(2, 3))
    with pytest.raises(InputError, match="start"):
        homogenize(good, stiffness, start=torch.zeros(1, 7, 3, 3, 3, 3))
    with pytest.raises(InputError, match="20000x20000x20000"):
        homogenize(torch.ones(1).expand(1, 2, 20_000, 20_000, 20_000), stiffness)
    with pytest.raises(InputError, match="not asked for"):
        homogenize(good, stiffness).expansion_gradient(torch.ones(1, 6))
