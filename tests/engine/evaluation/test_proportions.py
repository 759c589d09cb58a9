import pytest

from engine.errors import InputError
from engine.evaluation.proportions import wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)],
)
def test_published_values(successes, trials, low, high):
    """The last two are Newcombe's (1998) examples for the score method without continuity correction."""
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_the_ends_solve_the_score_equation():
    """At either end the observed share is 1.96 standard errors of that end away."""
    for end in wilson_interval(22, 27):
        assert abs(22 / 27 - end) == pytest.approx(1.959964 * (end * (1 - end) / 27) ** 0.5, rel=1e-5)


@pytest.mark.parametrize(("successes", "trials", "confidence"), [(1, 0, 0.95), (-1, 3, 0.95), (4, 3, 0.95), (1, 3, 1)])
def test_impossible_counts_are_refused(successes, trials, confidence):
    with pytest.raises(InputError, match="successes"):
        wilson_interval(successes, trials, confidence)
