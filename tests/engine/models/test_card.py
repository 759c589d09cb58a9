"""engine.models.bundle.Card: what a card tells of the training, and of cards that do not tell it."""

from dataclasses import replace

import pytest

from engine.models.bundle import read_card
from engine.models.training_curves import KEY
from tests.bundles import write_untrained_bundle


def test_curves_and_fractions_of_the_training():
    card = read_card("berea")
    assert set(card.training_means) == {
        f"{name}[{phase}]" for name in ("s2", "lineal_path") for phase in card.phase_names
    }
    assert card.training_means["s2[pore]"][0] == card.training_means["lineal_path[pore]"][0]
    low, high = card.training_fractions["pore"]
    assert low < card.phases[0].fraction < high
    assert card.training_fractions["solid"] == pytest.approx((1 - high, 1 - low), abs=1e-4)


def test_a_card_that_does_not_hold_them(tmp_path):
    card = write_untrained_bundle(tmp_path / "untrained")
    assert set(card.training_means) == {"s2[pore]", "s2[solid]"} and card.training_fractions == {}
    bare = replace(card, metrics={key: value for key, value in card.metrics.items() if key != KEY})
    assert bare.training_means == {} and bare.training_fractions == {}
