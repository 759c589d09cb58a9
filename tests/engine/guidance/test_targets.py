import math

import pytest

from engine.errors import InputError
from engine.guidance.targets import Target, check_feasible, parse_target
from engine.metrics import Metric

PHASES = ("pore", "solid")


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("fraction[pore]=0.2±0.01", 0.19, 0.21),
        ("fraction[pore]=0.2+-0.01", 0.19, 0.21),
        ("diffusivity[pore,z] = 0.05 ± 2%", 0.049, 0.051),
        ("fraction[pore]>=0.3", 0.3, math.inf),
        ("fraction[pore]<=3e-1", -math.inf, 0.3),
        ("fraction[ pore ]=[0.1, .25]", 0.1, 0.25),
    ],
)
def test_grammar(text, low, high):
    target = parse_target(text, PHASES)
    assert (target.low, target.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(
    "text",
    ["fraction[pore]=0.2±0.01", "diffusivity[pore,y]>=0.1", "fraction[solid]<=0.9", "tpb_density=[0.1,0.25]"],
)
def test_text_parses_back(text):
    target = parse_target(text)
    again = parse_target(str(target))
    assert again.metric == target.metric
    assert (again.low, again.high) == (pytest.approx(target.low), pytest.approx(target.high))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fraction[pore]=0.2", "tolerance"),
        ("fraction[pore]=0.2±0", "above 0"),
        ("fraction[pore]=0.2±0%", "above 0"),
        ("fraction[pore]=[0.3,0.2]", "above 0"),
        ("fraction[pore]=many", "not V±t"),
        ("fraction[pore]>=many", "not a number"),
        ("fraction pore = 0.2", "expected METRIC"),
        ("fractoin[pore]=0.2±0.1", "did you mean 'fraction'"),
        ("fraction[poer]=0.2±0.1", "did you mean 'pore'"),
        ("diffusivity[pore]=0.2±0.1", "PHASE,AXIS"),
        ("diffusivity[pore,q]=0.2±0.1", "axis"),
        ("fraction[pore,z]=0.2±0.1", "PHASE"),
    ],
)
def test_bad_targets_are_named(text, says):
    with pytest.raises(InputError, match=says):
        parse_target(text, PHASES)


def test_nan_is_refused():
    with pytest.raises(InputError):
        Target(metric=Metric("fraction", "pore"), low=math.nan, high=1)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["fraction[pore]=1.4±0.1"], "lies within"),
        (["fraction[pore]=0.2±0.01", "fraction[pore]=0.3±0.01"], "contradicts"),
        (["fraction[pore]=0.6±0.01", "fraction[solid]=0.6±0.01"], "cannot sum to 1"),
        (["fraction[pore]=0.2±0.01", "fraction[solid]=0.2±0.01"], "cannot sum to 1"),
        (["fraction[pore]=0.2±0.01", "diffusivity[pore,z]=0.3±0.01"], "Voigt"),
        (["fraction[solid]=0.8±0.01", "diffusivity[pore,z]>=0.25"], "Voigt"),
        (["diffusivity[pore,z]=1.2±0.1"], "lies within"),
    ],
)
def test_impossible_targets_are_refused(texts, says):
    with pytest.raises(InputError, match=says):
        check_feasible([parse_target(text, PHASES) for text in texts], PHASES)


def test_possible_targets_pass():
    texts = ["fraction[pore]=0.2±0.01", "fraction[solid]=0.8±0.01", "diffusivity[pore,z]=0.2±0.01"]
    check_feasible([parse_target(text, PHASES) for text in texts], PHASES)


def test_miss_and_goal():
    two_sided = parse_target("fraction[pore]=[0.1,0.3]")
    assert two_sided.goal == pytest.approx(0.2)
    assert two_sided.miss(0.2) == 0 and two_sided.miss(0.05) == pytest.approx(-0.05)
    assert two_sided.miss(0.35) == pytest.approx(0.05)
    assert parse_target("fraction[pore]>=0.3").goal == 0.3
    assert not two_sided.holds(None) and two_sided.holds(0.3)


def test_a_curve_of_the_training_is_asked_for_by_name():
    target = parse_target("s2[pore]=training±2%", ("pore", "solid"))
    assert target.metric == Metric("s2_discrepancy", "pore") and target.high == pytest.approx(0.02)
    assert parse_target(str(target)) == target
    assert parse_target("s2[pore] = training+-0.5%").high == pytest.approx(0.005)
    for bad in ("s2[pore]=training", "s2[pore]=training±2", "s2[pore]=training±0%", "s2[gas]=training±2%"):
        with pytest.raises(InputError):
            parse_target(bad, ("pore", "solid"))
