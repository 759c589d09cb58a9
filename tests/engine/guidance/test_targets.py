import math

import pytest

from engine.errors import InputError
from engine.guidance.targets import Target, parse_extreme, parse_target
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
    [
        "fraction[pore]=0.2±0.01",
        "diffusivity[pore,y]>=0.1",
        "diffusivity[pore]>=0.1",
        "fraction[solid]<=0.9",
        "tpb_density=[0.1,0.25]",
        "maximize diffusivity[pore,z]",
        "minimize tpb_density",
    ],
)
def test_text_parses_back(text):
    target = parse_target(text)
    again = parse_target(str(target))
    assert (again.metric, again.extreme) == (target.metric, target.extreme)
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
        ("diffusivity=0.2±0.1", r"diffusivity\[PHASE,AXIS\] or diffusivity\[PHASE\]"),
        ("maximize poresize[pore]", "no metric is called 'poresize'"),
        ("maximize diffusivity[gas]", "no phase is called 'gas'"),
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


def test_miss_and_goal():
    two_sided = parse_target("fraction[pore]=[0.1,0.3]")
    assert two_sided.goal == pytest.approx(0.2)
    assert two_sided.miss(0.2) == 0 and two_sided.miss(0.05) == pytest.approx(-0.05)
    assert two_sided.miss(0.35) == pytest.approx(0.05)
    assert parse_target("fraction[pore]>=0.3").goal == 0.3
    assert not two_sided.holds(None) and two_sided.holds(0.3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_holds_nothing(value):
    for text in ("fraction[pore]>=0.3", "mean_chord[pore,z]>=3", "maximize mean_chord[pore,z]"):
        assert not parse_target(text).holds(value)
    assert parse_target("mean_chord[pore,z]>=3").miss(math.inf) == math.inf  # too long, not long enough


def test_an_extreme_has_no_limits():
    most = parse_extreme("diffusivity[pore,z]", "maximize", PHASES)
    assert most == parse_target("maximize diffusivity[pore,z]", PHASES)
    assert most.holds(0.0) and most.miss(123.0) == 0
    with pytest.raises(InputError, match="has no limits"):
        Target(metric=most.metric, low=0.1, extreme="maximize")


def test_the_mean_of_the_axes_is_named_without_one():
    target = parse_target("diffusivity[pore]=0.2±5%", PHASES)
    assert target.metric.is_mean and [str(part) for part in target.metric.along()] == [
        f"diffusivity[pore,{axis}]" for axis in "zyx"
    ]
    assert parse_target("conductivity>=2", PHASES).metric.is_mean


def test_a_curve_of_the_training_is_asked_for_by_name():
    target = parse_target("s2[pore]=training±2%", ("pore", "solid"))
    assert target.metric == Metric("s2_discrepancy", "pore") and target.high == pytest.approx(0.02)
    assert parse_target(str(target)) == target
    assert parse_target("s2[pore] = training+-0.5%").high == pytest.approx(0.005)
    assert parse_target("lineal_path[pore]=training±3%").metric == Metric("lineal_path_discrepancy", "pore")
    for bad in ("s2[pore]=training", "s2[pore]=training±2", "s2[pore]=training±0%", "s2[gas]=training±2%"):
        with pytest.raises(InputError):
            parse_target(bad, ("pore", "solid"))
