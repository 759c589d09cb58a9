"""The surfaces that guidance keeps, with an identity prior on level cuts."""

import math

import pytest
import torch
import torch.nn.functional as F

from engine.descriptors.surface import natural_surface_area, surface_area
from engine.descriptors.two_point import directional_s2
from engine.guidance.kept import WITHIN, RelativeSurface, kept_count, kept_terms
from engine.guidance.member import YIELDING, Member
from engine.guidance.newton import brought, logits, moved
from engine.guidance.steering import steered
from engine.guidance.targets import parse_target
from engine.guidance.terms import Term
from engine.guidance.volume import guide
from engine.outcomes import DesignOutcome
from engine.properties.transport import solve
from tests.engine.guidance.test_volume import PHASES, identity, smooth_field, soft_volume


def training_of(soft):
    """Curves of the hard volume itself."""
    hard = soft.argmax(dim=0).numpy()
    return {f"s2[{name}]": directional_s2(hard == k, 16).mean(dim=0).tolist() for k, name in enumerate(PHASES)}


def relative(pore, training):
    return float(surface_area(pore)) / natural_surface_area(training["s2[pore]"], float(pore.mean()))[0]


def ragged(soft):
    """The same phases with interfaces that nobody has smoothed."""
    noise = F.avg_pool3d(torch.randn(34, 34, 34, generator=torch.Generator().manual_seed(3))[None], 3, 1)[0]
    return (soft.clamp(min=1e-3).log() + torch.stack([2.0 * noise, -2.0 * noise])).softmax(dim=0)


def test_a_surface_far_from_natural_is_brought_back_while_the_targets_are_met():
    natural = soft_volume(1, cut=0.2)
    training, start = training_of(natural), ragged(natural)
    before = (start.argmax(dim=0) == 0).numpy()
    assert relative(before, training) > 1 + 2 * WITHIN
    targets = [parse_target(f"fraction[pore]={float(before.mean()):.4f}±0.01")]
    (result,) = guide(start[None], [targets], PHASES, identity, 20, training=training)
    (without,) = guide(start[None], [targets], PHASES, identity, 20)
    pore = (result.probabilities.argmax(dim=0) == 0).numpy()
    assert result.outcome is DesignOutcome.ATTAINED and targets[0].holds(float(pore.mean()))
    assert abs(relative(pore, training) - 1) <= WITHIN
    assert relative((without.probabilities.argmax(dim=0) == 0).numpy(), training) > 1 + 2 * WITHIN
    assert "surface_area_to_natural[pore]" in result.trace[-1]


def test_what_was_asked_for_comes_first():
    """A surface that cannot be kept delays a volume with all its targets by some iterations, and is given up."""
    soft = soft_volume(1, cut=0.2)
    training = {"s2[pore]": [0.4, 0.4 - 1e-4]}  # next to no interface
    pore = (soft.argmax(dim=0) == 0).float()
    wanted = parse_target(f"diffusivity[pore,z]={1.2 * float(solve(pore[None], 0).value):.5f}±4%")
    (result,) = guide(soft[None], [[wanted]], PHASES, identity, 40, training=training)
    assert result.outcome is DesignOutcome.ATTAINED
    assert max(entry["iteration"] for entry in result.trace) < 25
    after = (result.probabilities.argmax(dim=0) == 0).float()
    assert wanted.holds(float(solve(after[None], 0).value))


def test_an_extreme_keeps_the_surface():
    soft = soft_volume(1, cut=0.2)
    training = training_of(soft)
    fraction = float((soft.argmax(dim=0) == 0).float().mean())
    targets = [parse_target("maximize diffusivity[pore,z]"), parse_target(f"fraction[pore]={fraction:.4f}±0.01")]
    (result,) = guide(soft[None], [targets], PHASES, identity, 15, training=training)
    pore = (result.probabilities.argmax(dim=0) == 0).numpy()
    assert result.outcome is DesignOutcome.ATTAINED and abs(relative(pore, training) - 1) <= WITHIN


@pytest.mark.parametrize(("held", "rank", "late", "gives_up"), [
    (0, 1, False, True),  # all targets have held for long enough
    (None, 2, True, True),  # they do not, and it is late
    (YIELDING - 1, 1, False, False),
    (None, 2, False, False),
    (0, 0, True, False),  # everything has held
])  # fmt: skip
def test_when_a_surface_is_given_up(held, rank, late, gives_up):
    soft = soft_volume(1, cut=0.2)
    targets = [parse_target("maximize fraction[pore]"), parse_target("fraction[pore]<=0.45")]
    terms = [Term(each, steered(each.metric, PHASES)) for each in targets]
    member = Member(logits(soft), terms + kept_terms(targets, PHASES, training_of(soft)))
    member.held, member.best_rank = held, (rank, 0.5)
    member.correct(YIELDING, settled=False, late=late)
    assert any(term.kept for term in member.terms) != gives_up


def test_a_surface_is_kept_at_the_fractions_as_they_are():
    """The shortest way to less surface would be less of the phase."""
    soft = soft_volume(1, cut=0.2)
    hard = torch.stack([soft.argmax(dim=0) == k for k in range(2)]).float()
    [move] = RelativeSurface(0, [0.35, 0.345])(hard, soft, lambda value: 0.0).moves
    change = moved(soft, move.direction).sum(dim=(1, 2, 3))
    assert float(change.abs().max()) < 1e-3 * float(moved(soft, move.direction).abs().sum())
    assert brought(soft, move, move.direction) > 0


@pytest.mark.parametrize("periodic", [False, True])
def test_the_gradient_is_that_of_the_ratio(periodic):
    s2 = [0.4, 0.3]
    steering = RelativeSurface(0, s2, periodic=periodic)
    hard = torch.zeros(2, 6, 6, 6)
    hard[0] = (smooth_field(5, n=6, width=0.8) > 0.3).float()
    hard[1] = 1 - hard[0]
    soft = (3 * hard).softmax(dim=0)
    found = steering(hard, soft, lambda value: 0.0)
    assert found.value == pytest.approx(
        float(surface_area(hard[0].bool().numpy(), periodic=periodic))
        / natural_surface_area(s2, float(hard[0].mean()))[0],
        rel=1e-5,
    )
    [move] = found.moves
    for place in ((0, 0, 0), (3, 2, 4), (5, 5, 1)):
        step, values = 1e-3, []
        for sign in (1, -1):
            near = hard.double().clone()
            near[(0, *place)] += sign * step
            values.append(steering(near, soft, lambda value: 0.0).value)
        assert float(move.gradient[(0, *place)]) == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-4)


def test_a_volume_of_one_phase_has_nothing_to_keep():
    for index in (0, 1):
        hard = torch.zeros(2, 4, 4, 4)
        hard[index] = 1
        found = RelativeSurface(0, [0.4, 0.3])(hard, 0.9 * hard + 0.05, lambda value: 0.0)
        assert math.isnan(found.value) and found.moves == ()


def test_of_two_phases_one_and_none_where_a_target_speaks_of_interfaces():
    curve = [0.3, 0.2]
    training = {f"s2[{name}]": curve for name in ("a", "b", "c")}
    fraction, surface = parse_target("fraction[a]=0.3±0.01"), parse_target("mean_chord[a,z]=5±1")
    assert len(kept_terms([fraction], ("a", "b"), training)) == 1
    assert len(kept_terms([fraction], ("a", "b", "c"), training)) == 3 == kept_count([fraction], 3)
    assert kept_terms([fraction, surface], ("a", "b", "c"), training) == []
    assert kept_terms([fraction], ("a", "b"), None) == [] == kept_terms([fraction], ("a",), training)
    assert kept_terms([fraction], ("a", "b"), {"s2[a]": [1.0, 1.0]}) == []


def test_a_volume_is_as_natural_as_its_own_curve_says():
    soft = soft_volume(4)
    hard = torch.stack([soft.argmax(dim=0) == k for k in range(2)]).float()
    own = directional_s2(hard[0].bool().numpy(), 4, periodic=True).mean(dim=0).tolist()
    found = RelativeSurface(0, own, periodic=True)(hard, soft, lambda value: 0.0)
    assert found.value == pytest.approx(1, rel=1e-5)
