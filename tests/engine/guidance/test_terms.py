"""How far off a term is, and what it asks for."""

import math

import pytest

from engine.guidance.steering import steered
from engine.guidance.targets import parse_target
from engine.guidance.terms import MOST_GAIN, ONE_SIDED, REST, Term, aim, relative_miss
from tests.engine.guidance.test_volume import PHASES


def term(text):
    target = parse_target(text, PHASES)
    return Term(target, steered(target.metric, PHASES))


def test_a_target_within_its_tolerance_asks_for_nothing():
    held, above = term("fraction[pore]=0.4±0.02"), term("fraction[pore]>=0.3")
    for offset in (0.0, 0.99 * REST * 0.02, -0.99 * REST * 0.02):
        assert held.distance(0.4 + offset) == 0
    assert held.distance(0.42) == pytest.approx(-0.02) and held.distance(0.37) == pytest.approx(0.03)
    assert above.distance(0.35) == 0 and above.distance(0.25) > 0


def test_distances_of_what_spans_decades_are_logarithms():
    wide = term("diffusivity[pore,z]=0.2±1%")
    assert wide.distance(0.1) == pytest.approx(math.log(2)) and wide.distance(0.4) == pytest.approx(-math.log(2))
    assert math.isfinite(wide.distance(0.0)) and math.isfinite(wide.distance(math.inf))
    assert wide.distance(math.nan) == 0


def test_limits_are_aimed_at_from_inside():
    above, below = parse_target("fraction[pore]>=0.3"), parse_target("fraction[pore]<=0.3")
    assert aim(above) == pytest.approx(0.3 * (1 + ONE_SIDED)) and aim(below) == pytest.approx(0.3 * (1 - ONE_SIDED))
    assert relative_miss(above, aim(above)) == 0 and relative_miss(above, 0.3) == pytest.approx(1)
    assert relative_miss(above, math.nan) == math.inf


def test_a_gain_grows_where_steps_bring_too_little_and_shrinks_where_they_bring_too_much():
    short, far, stuck = (term("fraction[pore]=0.4±0.001") for _ in range(3))
    short.learn_gain(0.2, 0.3)
    far.learn_gain(0.2, 0.5)
    assert short.gain > 1 > far.gain
    for _ in range(40):
        stuck.learn_gain(0.2, 0.2)
    assert stuck.gain == MOST_GAIN


def test_room_reaches_to_the_aim_or_close_to_the_end_of_the_interval():
    assert term("fraction[pore]<=0.3").room(0.2, 1.0) == pytest.approx(0.3 * (1 - ONE_SIDED) - 0.2)
    both = term("fraction[pore]=[0.2,0.4]")
    assert 0.3 < 0.3 + both.room(0.3, 1.0) < 0.4 and 0.2 < 0.3 + both.room(0.3, -1.0) < 0.3
