"""Threshold rules against images whose phases are known."""

import numpy as np
import pytest

from engine.errors import InputError
from engine.micrographs.segment import parse_rule, segment


def grey(phases: int, dtype: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Phase indices and grey values around well separated means, 40 apart with standard deviation 5."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, phases, (96, 96), dtype=np.uint8)
    values = 40.0 + 40.0 * truth + rng.normal(0, 5, truth.shape)
    return truth, values.round().clip(0, 255).astype(dtype) if dtype != "f4" else (values / 255).astype(dtype)


@pytest.mark.parametrize("phases", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_otsu_finds_separated_phases(phases: int, dtype: str) -> None:
    truth, values = grey(phases, dtype)
    indices, thresholds = segment(values, parse_rule("otsu", phases), phases)
    assert indices.dtype == np.uint8
    assert np.mean(indices == truth) > 0.999
    assert len(thresholds) == phases - 1 and list(thresholds) == sorted(thresholds)


def test_otsu_of_labels_is_the_labels() -> None:
    for phases in (2, 3):
        truth, _ = grey(phases, "u1")
        indices, _ = segment(truth, parse_rule("otsu", phases), phases)
        np.testing.assert_array_equal(indices, truth)
    bits = grey(2, "u1")[0].astype(bool)
    np.testing.assert_array_equal(segment(bits, parse_rule("otsu", 2), 2)[0], bits)


def test_thresholds_border_belongs_to_the_darker_phase() -> None:
    values = np.array([[0, 89, 90, 91, 160, 161, 255]], dtype=np.uint8)
    indices, thresholds = segment(values, parse_rule("thresholds:90,160", 3), 3)
    np.testing.assert_array_equal(indices, [[0, 0, 0, 1, 1, 2, 2]])
    assert thresholds == (90.0, 160.0)


def test_rule_text_is_recorded_in_one_form() -> None:
    assert parse_rule(" thresholds: 90.0, 160", 3).text == "thresholds:90,160"
    assert parse_rule("otsu", 2).text == "otsu"


@pytest.mark.parametrize(
    "text, phases, words",
    [
        ("otzu", 2, "rules: otsu, or thresholds:V1,V2"),
        ("otsu:3", 2, "rules: otsu, or thresholds:V1,V2"),
        ("otsu", 6, "at most 5 phases"),
        ("thresholds", 2, "no numbers"),
        ("thresholds:dark", 2, "no numbers"),
        ("thresholds:nan", 2, "finite and ascend"),
        ("thresholds:160,90", 3, "finite and ascend"),
        ("thresholds:90,90", 3, "finite and ascend"),
        ("thresholds:90", 3, "3 phases take 2 thresholds, not 1"),
    ],
)
def test_rules_that_cannot_be_used(text: str, phases: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_rule(text, phases)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("phases, levels", [(2, 1), (3, 2)])
def test_too_few_grey_levels(dtype: str, phases: int, levels: int) -> None:
    values = (np.arange(16).reshape(4, 4) % levels).astype(dtype)
    with pytest.raises(InputError, match=rf"a\.png: {levels} grey levels?, too few for {phases} phases"):
        segment(values, parse_rule("otsu", phases), phases, where="a.png")
