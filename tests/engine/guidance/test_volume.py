"""Guidance with an identity prior on level cuts of smooth random fields: the targets alone are at work."""

import numpy as np
import pytest
import torch

from engine.descriptors.discrepancy import relative_area
from engine.descriptors.triple_phase import soft_tpb_density
from engine.descriptors.two_point import directional_s2
from engine.errors import InputError
from engine.guidance.steering import Modulus, _pairs, steered
from engine.guidance.targets import parse_target
from engine.guidance.volume import check_guided, fraction_goals, guide
from engine.measure import measure
from engine.metrics import Metric, parse_metric
from engine.models.bundle import Phase
from engine.outcomes import DesignOutcome
from engine.properties.elasticity import homogenize
from engine.properties.materials import Materials, PhaseMaterial
from engine.properties.stiffness import uniaxial_strain, youngs_modulus
from engine.properties.transport import solve

PHASES = ("pore", "solid")


def smooth_field(seed, n=32, width=2.0):
    k = np.fft.fftfreq(n)
    radius2 = k[:, None, None] ** 2 + k[None, :, None] ** 2 + k[None, None] ** 2
    noise = np.random.default_rng(seed).standard_normal((n, n, n))
    field = np.fft.ifftn(np.fft.fftn(noise) * np.exp(-0.5 * (2 * np.pi * width) ** 2 * radius2)).real
    return torch.from_numpy(field / field.std()).float()


def soft_volume(seed, cut=0.5):
    """Two phases, pore where the field is above the cut."""
    pore = torch.sigmoid(2 * (smooth_field(seed) - cut))
    return torch.stack([pore, 1 - pore])


def identity(current, axis, which):
    return current


def run(soft, *texts, iterations=12):
    targets = [parse_target(text, PHASES) for text in texts]
    (result,) = guide(soft[None], [targets], PHASES, identity, iterations)
    return result, (result.probabilities.argmax(dim=0) == 0)


def test_fraction_is_met():
    result, pore = run(soft_volume(0), "fraction[pore]=0.40±0.005")
    assert result.outcome is DesignOutcome.ATTAINED
    assert float(pore.float().mean()) == pytest.approx(0.40, abs=0.005)


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_fraction_and_diffusivity_are_met_together(factor):
    soft = soft_volume(1, cut=0.2)
    pore = (soft.argmax(dim=0) == 0).float()
    natural, fraction = float(solve(pore[None], 0).value), float(pore.mean())
    result, guided = run(
        soft,
        f"fraction[pore]={fraction}±0.01",
        f"diffusivity[pore,z]={factor * natural}±4%",
        iterations=30,
    )
    assert result.outcome is DesignOutcome.ATTAINED
    assert float(guided.float().mean()) == pytest.approx(fraction, abs=0.01)
    assert float(solve(guided.float()[None], 0).value) == pytest.approx(factor * natural, rel=0.04)


def test_a_volume_that_does_not_percolate_can_be_opened():
    soft = soft_volume(2, cut=1.2)
    assert float(solve((soft.argmax(dim=0) == 0).float()[None], 0).value) == 0
    result, pore = run(soft, "diffusivity[pore,z]>=0.02", iterations=40)
    assert result.outcome is DesignOutcome.ATTAINED
    assert float(solve(pore.float()[None], 0).value) >= 0.02


def test_what_cannot_be_reached_is_missed_with_the_best_state_and_a_trace():
    result, pore = run(soft_volume(3), "fraction[pore]=0.30±0.001", "diffusivity[pore,z]=0.299±0.1%", iterations=4)
    assert result.outcome is DesignOutcome.MISSED
    assert torch.isfinite(result.probabilities).all()
    assert result.trace and set(result.trace[0]) == {"iteration", "fraction[pore]", "diffusivity[pore,z]"}
    assert 0 < float(pore.float().mean()) < 1


@pytest.mark.parametrize("iterations", [1, 2])
def test_fewer_iterations_than_axes_end_with_the_best_state(iterations):
    result, pore = run(soft_volume(0), "fraction[pore]=0.02±0.0001", iterations=iterations)
    assert result.outcome is DesignOutcome.MISSED and 0 < float(pore.float().mean()) < 1


def test_a_target_that_holds_changes_nothing_with_an_identity_prior():
    soft = soft_volume(4)
    before = soft.argmax(dim=0)
    fraction = float((before == 0).float().mean())
    _, pore = run(soft, f"fraction[pore]={fraction}±0.05")
    assert torch.equal(pore, before == 0)


def test_a_volume_does_not_depend_on_its_batch():
    targets = [[parse_target("fraction[pore]=0.4±0.003")], [parse_target("fraction[pore]=0.2±0.003")]]
    soft = torch.stack([soft_volume(5), soft_volume(6)])
    both = guide(soft, targets, PHASES, identity, 10)
    alone = guide(soft[1:], targets[1:], PHASES, identity, 10)
    assert torch.equal(both[1].probabilities, alone[0].probabilities)


def test_three_phases():
    a, b = smooth_field(7), smooth_field(8)
    soft = torch.softmax(torch.stack([2 * a, 2 * b, torch.zeros_like(a)]), dim=0)
    targets = [parse_target("fraction[a]=0.45±0.005"), parse_target("fraction[b]=0.25±0.005")]
    (result,) = guide(soft[None], [targets], ("a", "b", "c"), identity, 20)
    index = result.probabilities.argmax(dim=0)
    assert result.outcome is DesignOutcome.ATTAINED
    assert float((index == 0).float().mean()) == pytest.approx(0.45, abs=0.005)
    assert float((index == 1).float().mean()) == pytest.approx(0.25, abs=0.005)


MATERIALS = Materials(
    name="stiff and soft",
    phases={
        "pore": PhaseMaterial(conductivity=(0.1,), youngs_modulus_gpa=(1.0,), poissons_ratio=(0.3,)),
        "solid": PhaseMaterial(conductivity=(5.0,), youngs_modulus_gpa=(50.0,), poissons_ratio=(0.2,)),
    },
)


@pytest.mark.parametrize("factor", [0.85, 1.2])
@pytest.mark.parametrize(
    ("metric", "tolerance"),
    [("surface_area[pore]", 2), ("mean_chord[pore,y]", 2), ("conductivity[x]", 2), ("elastic_modulus_gpa[z]", 2)],
)
def test_every_metric_is_met_with_the_fraction_held(metric, factor, tolerance):
    soft = soft_volume(1, cut=0.2)
    before = soft.argmax(dim=0).to(torch.uint8).numpy()
    wanted = parse_metric(metric, PHASES)
    natural = measured(before, wanted)
    fraction = float((before == 0).mean())
    targets = [
        parse_target(f"fraction[pore]={fraction}±0.01", PHASES),
        parse_target(f"{metric}={factor * natural}±{tolerance}%", PHASES),
    ]
    (result,) = guide(soft[None], [targets], PHASES, identity, 30, materials=[MATERIALS])
    after = result.probabilities.argmax(dim=0).to(torch.uint8).numpy()
    assert result.outcome is DesignOutcome.ATTAINED
    assert measured(after, wanted) == pytest.approx(factor * natural, rel=tolerance / 100)
    assert float((after == 0).mean()) == pytest.approx(fraction, abs=0.01)


def measured(labels, metric):
    phases = [Phase(name=name, label=label, fraction=0.5) for label, name in enumerate(PHASES)]
    return measure(labels, phases, metrics=[metric], materials=MATERIALS, certify=False).values[metric].value


def test_triple_lines_of_three_phases():
    soft = torch.softmax(3 * torch.stack([smooth_field(7), smooth_field(8), smooth_field(9)]), dim=0)

    def density(volume):
        hard = torch.nn.functional.one_hot(volume.argmax(dim=0), 3).movedim(-1, 0).float()
        return float(soft_tpb_density(hard[None])[0])

    natural = density(soft)
    targets = [parse_target(f"tpb_density={0.8 * natural}±2%"), parse_target("fraction[a]=0.33±0.02")]
    (result,) = guide(soft[None], [targets], ("a", "b", "c"), identity, 30)
    assert result.outcome is DesignOutcome.ATTAINED
    assert density(result.probabilities) == pytest.approx(0.8 * natural, rel=0.02)


def test_what_can_only_be_measured_or_lacks_materials_is_refused():
    with pytest.raises(InputError, match="euler_number_density can be measured but not asked for; targets may be on"):
        check_guided([parse_target("euler_number_density[pore]=0.001±0.0005")], PHASES)
    with pytest.raises(InputError, match="--materials"):
        check_guided([parse_target("conductivity[z]=1±0.1")], PHASES)
    check_guided([parse_target("conductivity[z]=1±0.1")], PHASES, MATERIALS)


def test_goals_by_phase_index():
    targets = [parse_target("fraction[solid]=0.8±0.01"), parse_target("diffusivity[pore,z]>=0.1")]
    assert fraction_goals(targets, PHASES) == {1: pytest.approx(0.8)}


def test_a_correlation_function_is_met():
    """Of another field, with shorter waves: the surface follows."""
    other = (smooth_field(11, width=1.6) > 0.35).numpy()
    wanted = directional_s2(other, 16).mean(dim=0).tolist()
    training = {"pore": wanted}
    soft = soft_volume(1, cut=0.2)
    (result,) = guide(soft[None], [[parse_target("s2[pore]=training±1%")]], PHASES, identity, 40, training=training)
    pore = (result.probabilities.argmax(dim=0) == 0).numpy()
    assert result.outcome is DesignOutcome.ATTAINED
    assert relative_area(directional_s2(pore, 16).mean(dim=0).numpy(), np.array(wanted)) <= 0.01
    phases = [Phase(name=name, label=label, fraction=0.5) for label, name in enumerate(PHASES)]
    labels = (~pore).astype(np.uint8)
    found = measure(labels, phases, metrics=[Metric("s2_discrepancy", "pore")], training=training)
    assert found.values[Metric("s2_discrepancy", "pore")].value <= 0.01


def test_the_gradient_of_each_lag_is_that_of_finite_differences():
    mask = (smooth_field(3, n=12, width=1.5) > 0).double()
    for lag in (0, 1, 5):
        value, slope = _pairs(mask, lag)
        assert value == pytest.approx(float(directional_s2(mask.bool().numpy(), 6).mean(dim=0)[lag]))
        for voxel in ((0, 0, 0), (5, 6, 7), (11, 3, 11)):
            ends = []
            for step in (1e-4, -1e-4):
                moved = mask.clone()
                moved[voxel] += step
                ends.append(_pairs(moved, lag)[0])
            # the product of a voxel with itself (lag 0) counts twice in a difference, once in the derivative by a mask
            assert float(slope[voxel]) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-5, abs=1e-12)


def test_a_curve_that_the_card_does_not_hold_is_refused():
    with pytest.raises(InputError, match="holds no S2 of its training"):
        check_guided([parse_target("s2[pore]=training±1%")], PHASES)


def test_a_modulus_where_nothing_hangs_together_is_zero_and_has_a_direction():
    """Grains in a void: the stiffness is singular, and guidance goes on instead of ending."""
    grains = torch.zeros(8, 8, 8, dtype=torch.bool)
    grains[2:5, 2:5, 2:5] = True
    hard = torch.stack([~grains, grains]).float()
    stiffness = torch.stack([torch.zeros(6, 6, dtype=torch.float64), MATERIALS.stiffnesses(PHASES)[1]])
    found = Modulus(stiffness, 0)(hard, 0.8 * hard + 0.1, lambda value: 10.0)
    assert found.value == pytest.approx(0.0, abs=1e-3)
    assert torch.isfinite(found.moves[0].direction).all()


def test_the_gradient_of_a_modulus_is_that_of_finite_differences():
    soft = torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    phases = torch.stack([soft, 1 - soft])
    table = MATERIALS.stiffnesses(PHASES)

    def modulus(indicators):
        return youngs_modulus(homogenize(indicators[None], table, tolerance=1e-8).stiffness[0], 2)

    cell = homogenize(phases[None], table, tolerance=1e-8)
    strain = uniaxial_strain(cell.stiffness[0], 2)
    gradient = cell.stiffness_gradient(torch.outer(strain, strain)[None])[0]
    for k, voxel in ((0, (1, 2, 3)), (1, (0, 0, 0))):
        ends = []
        for step in (1e-4, -1e-4):
            moved = phases.clone()
            moved[(k, *voxel)] += step
            ends.append(modulus(moved))
        assert float(gradient[(k, *voxel)]) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3)


@pytest.mark.parametrize("text", ["surface_area[pore]", "mean_chord[pore,y]", "diffusivity[pore,z]"])
def test_where_faces_join_a_target_does_not_know_where_the_volume_is_cut(text):
    """Along the axes that it may be turned along: a diffusivity has its end faces."""
    soft, metric = soft_volume(4, cut=0.2), parse_metric(text, PHASES)
    turn = (0, 5, 11)
    turned = soft.roll(turn, (1, 2, 3))
    for periodic in (True, False):
        here, there = (
            steered(metric, PHASES, periodic=periodic)(_hard(p), p, lambda value: 9.0) for p in (soft, turned)
        )
        same = here.value == pytest.approx(there.value, rel=1e-4)
        assert same is periodic
        if periodic:
            moved = here.moves[0].direction.roll(turn, (1, 2, 3))
            assert torch.allclose(moved, there.moves[0].direction, atol=0.02 * float(moved.abs().max()))


def test_pairs_of_a_periodic_volume_and_their_slope():
    mask = (soft_volume(5)[0] > 0.5).float()
    for lag in (1, 7, 20):
        value, slope = _pairs(mask, lag, periodic=True)
        s2 = directional_s2(mask.bool(), 21, periodic=True).mean(dim=0)
        assert value == pytest.approx(float(s2[lag]), abs=1e-6)
        nudged = mask.clone()
        nudged[0, 31, 3] += 1e-2
        assert _pairs(nudged, lag, periodic=True)[0] - value == pytest.approx(1e-2 * float(slope[0, 31, 3]), rel=0.05)


def _hard(soft):
    return torch.zeros_like(soft).scatter_(0, soft.argmax(dim=0, keepdim=True), 1.0)
