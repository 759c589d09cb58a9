"""studies.doubts: what is not to be expected of a study."""

from pathlib import Path

import pytest

from engine.models.bundle import Card
from studies.doubts import doubts_of
from tests.bundles import write_untrained_bundle
from tests.studies.fakes import STUDY, study

STONE = """
name: stone
phases:
  pore: {conductivity: 0.6, youngs_modulus_gpa: 2, poissons_ratio: 0.3}
  solid: {conductivity: 7.7, youngs_modulus_gpa: 95, poissons_ratio: 0.07}
"""
DIFFUSIVITY = "  diffusivity[pore,z]: {low: 0.02, high: 0.06, tolerance: 5%}\n"


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    return write_untrained_bundle(tmp_path_factory.mktemp("bundle") / "noise")


def said(card: Card, text: str, **changes: object) -> list[str]:
    config = study(text, **changes)
    return doubts_of(config, {bundle.name: card for bundle in config.bundles})


def test_nothing_is_said_of_what_can_be_expected(card: Card) -> None:
    assert said(card, STUDY) == []


def test_a_searched_mean_beyond_hashin_and_shtrikman_is_doubted_where_it_is(card: Card) -> None:
    text = STUDY.replace(DIFFUSIVITY, "  diffusivity[pore]: {low: 0.02, high: 0.13, tolerance: 1%}\n")
    [doubt] = said(card, text)
    assert "no isotropic structure has" in doubt and "Hashin and Shtrikman" in doubt
    assert doubt.endswith("(in part of the search, as with fraction[pore] at 0.15, diffusivity[pore] at 0.13)")


def test_a_doubt_that_holds_everywhere_names_no_place(card: Card) -> None:
    held = study(STUDY.replace(DIFFUSIVITY, ""), targets='["diffusivity[pore]>=0.15"]')
    [doubt] = doubts_of(held, {held.bundles[0].name: card})
    assert doubt.startswith("diffusivity[pore]: asked for is") and "part of the search" in doubt  # at 0.25 it is within
    [doubt] = said(card, STUDY.replace("0.25", "0.16").replace(DIFFUSIVITY, ""), targets='["diffusivity[pore]>=0.13"]')
    assert "part of the search" not in doubt


def test_fractions_that_training_hardly_had_are_doubted_at_that_end(
    card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    bands = {"pore": (0.1, 0.2), "solid": (0.8, 0.9)}
    monkeypatch.setattr(Card, "training_fractions", property(lambda self: bands))
    [doubt] = said(card, STUDY)
    assert "training crops" in doubt and doubt.endswith("as with fraction[pore] at 0.25)")
    [low] = said(card, STUDY.replace("low: 0.15", "low: 0.05").replace("high: 0.25", "high: 0.2"))
    assert "fraction[pore] at 0.05" in low


def test_selection_is_said_to_cost(card: Card) -> None:
    [cost] = said(card, STUDY, targets='["mean_pore_size[pore]>=3"]')
    assert cost.startswith("mean_pore_size[pore]: no gradient to follow; up to 8 volumes") and "part of" not in cost


def test_the_part_that_a_bound_cuts_off_is_named(card: Card, tmp_path: Path) -> None:
    (tmp_path / "stone.yaml").write_text(STONE)
    text = STUDY.replace(DIFFUSIVITY, "  elastic_modulus_gpa[z]: {low: 30, high: 90, tolerance: 5%}\n")
    [cut] = said(card, f"{text}materials: {tmp_path / 'stone.yaml'}\n")
    assert "no structure has it" in cut and "feasible range [11.26, 82.04]; no trial is spent there" in cut
    assert cut.endswith("(in part of the search, as with elastic_modulus_gpa[z] at 90)")
