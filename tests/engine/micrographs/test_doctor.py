"""The doctor finds what was put into the images, and nothing in good ones."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import InputError
from engine.micrographs.doctor import Finding, Verdict, diagnose
from tests.structures import laminate, level_cut

GOOD, CAUTION, POOR = Verdict.GOOD, Verdict.CAUTION, Verdict.POOR


def field(seed: int = 0, side: int = 256, fraction: float = 0.4, smoothing: float = 3.0) -> NDArray[np.uint8]:
    """An isotropic image with chords of about ten pixels."""
    return level_cut((1, side, side), fraction, smoothing, seed)[0]


@pytest.fixture
def look(tmp_path: Path) -> object:
    """Saves arrays and returns the findings by topic."""

    def examine(*arrays: NDArray[np.generic], **options: object) -> dict[str, Finding]:
        paths = [tmp_path / f"{number}.npy" for number in range(len(arrays))]
        for path, array in zip(paths, arrays, strict=True):
            np.save(path, array)
        return {found.topic: found for found in diagnose(paths, **options)[1]}  # type: ignore[arg-type]

    return examine


def test_good_images_are_good(look: object) -> None:
    found = look(field(side=640))  # type: ignore[operator]
    assert {topic: each.verdict for topic, each in found.items()} == {
        "phases": GOOD,
        "resolution": GOOD,
        "field of view": GOOD,
        "isotropy": GOOD,
        "amount": GOOD,
    }
    assert all(not each.remedy for each in found.values())
    assert "b = label 1, 0.4000" in found["phases"].text


def test_a_volume(look: object) -> None:
    found = look(level_cut((64, 80, 96), 0.4, 2.0, 0))  # type: ignore[operator]
    assert "z " in found["isotropy"].text and found["isotropy"].verdict is GOOD
    assert "voxels" in found["amount"].text and found["amount"].verdict is POOR


def test_stretched_images_are_anisotropic(look: object) -> None:
    image = field(side=384)
    assert look(np.repeat(image, 2, axis=1)[:, :384])["isotropy"].verdict is POOR  # type: ignore[operator]
    a_little = image[:, np.arange(384) * 4 // 5]
    found = look(a_little)["isotropy"]  # type: ignore[operator]
    assert found.verdict is CAUTION and "anisotropic" in found.text and "mean of the directions" in found.remedy


def test_a_direction_within_its_scatter_is_no_finding(look: object) -> None:
    """A handful of grains: any ratio is chance."""
    found = look(field(side=64, smoothing=6.0, seed=3))["isotropy"]  # type: ignore[operator]
    assert "anisotropic" not in found.text


def test_thin_features_are_coarse(look: object) -> None:
    assert look(field(smoothing=1.0))["resolution"].verdict is CAUTION  # type: ignore[operator]
    noise = (np.random.default_rng(0).random((256, 256)) < 0.4).astype(np.uint8)
    assert look(noise)["resolution"].verdict is POOR  # type: ignore[operator]


def test_structure_longer_than_half_a_crop(look: object) -> None:
    found = look(field(smoothing=20.0, side=512))["resolution"]  # type: ignore[operator]
    assert found.verdict is CAUTION and "shrink the images 2 times" in found.remedy


def test_a_small_field_is_not_representative(look: object) -> None:
    found = look(field(side=96, fraction=0.1))  # type: ignore[operator]
    assert found["field of view"].verdict is POOR and "b (" in found["field of view"].remedy
    assert found["amount"].verdict is POOR


def test_uneven_images(look: object) -> None:
    image = field(side=384, smoothing=2.0)
    image[:, 192:] |= field(seed=1, side=384, smoothing=2.0, fraction=0.2)[:, 192:]
    found = look(image)["evenness"]  # type: ignore[operator]
    assert "along x" in found.text and found.verdict is CAUTION


def test_speckle_and_copies(look: object) -> None:
    image = field()
    image[np.random.default_rng(0).random(image.shape) < 0.02] = 1
    found = look(image, image)  # type: ignore[operator]
    assert found["speckle"].text.startswith(("b", "2", "3", "1")) and " of b " in found["speckle"].text
    assert "0.npy = 1.npy" in found["copies"].text


def test_a_rare_phase(look: object) -> None:
    image = field()
    image[:4, :4] = 2
    assert look(image)["phases"].verdict is CAUTION  # type: ignore[operator]


@pytest.mark.parametrize(("noise", "verdict"), [(8, GOOD), (28, CAUTION), (200, POOR)])
def test_grey_images(look: object, noise: int, verdict: Verdict) -> None:
    """Two grey values 100 apart: clear, overlapping, drowned."""
    truth = field(side=256)
    grey = 80 + 100.0 * truth + np.random.default_rng(0).normal(0, noise, truth.shape)
    found = look(np.clip(grey, 0, 255).astype(np.uint8) if noise < 100 else grey)["grey values"]  # type: ignore[operator]
    assert found.verdict is verdict, found.text
    assert ("--segment otsu" in found.remedy) == (verdict is GOOD)


def test_names_are_kept_and_a_rule_is_used(look: object) -> None:
    grey = (field(side=128) * 100 + np.arange(128, dtype=np.uint8)).astype(np.uint8)
    found = look(grey, phases=("pore", "solid"), segment="thresholds:99")  # type: ignore[operator]
    assert "grey values" not in found and "pore = label 0" in found["phases"].text


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((64, 64), np.uint8), "at least two"),
        (np.arange(32 * 32).reshape(32, 32) % 2, "smaller than the training crop"),
        (np.zeros((64, 64), np.float32), "too few"),
    ],
)
def test_what_cannot_be_trained_is_refused(look: object, array: NDArray[np.generic], words: str) -> None:
    with pytest.raises(InputError, match=words):
        look(array)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [
        # What is known of these files from their makers and from earlier measurements: shared/data/README.md.
        ("separator_lr_156x75x75.tif", {"isotropy": POOR, "amount": POOR}),
        ("mcrpy_carbonate_256.tif", {"isotropy": GOOD, "amount": POOR}),
    ],
)
def test_real_images(shared_data: Path, name: str, verdicts: dict[str, Verdict]) -> None:
    _, findings = diagnose([shared_data / name])
    found = {each.topic: each for each in findings}
    for topic, verdict in verdicts.items():
        assert found[topic].verdict is verdict, found[topic]
    if "separator" in name:
        assert "z 17.6" in found["isotropy"].text and "x 5.3" in found["isotropy"].text


def test_planes_that_are_told_apart(tmp_path: Path) -> None:
    alike, stretched = field(side=256), np.repeat(field(side=256), 2, axis=0)[:256]
    for name, image in (("xy", alike), ("other", field(side=256)), ("side", stretched)):
        np.save(tmp_path / f"{name}.npy", image)
    _, findings = diagnose([f"xy={tmp_path}/xy.npy", f"xz,yz={tmp_path}/side.npy"])
    found = {each.topic: each for each in findings}["isotropy"]
    assert found.verdict is GOOD and "planes are told apart" in found.text
    z, y, x = (float(value) for value in re.findall(r"[zyx] ([0-9.]+)", found.text)[:3])
    assert z > 1.5 * y and y == pytest.approx(x, rel=0.2)
    _, findings = diagnose([f"xy={tmp_path}/xy.npy", f"xz,yz={tmp_path}/other.npy"])
    assert "look alike" in {each.topic: each for each in findings}["isotropy"].remedy


def test_layers_without_an_end_are_anisotropic(tmp_path: Path) -> None:
    """A line along them meets no interface: their chords are not known, only that they are longer than the sample."""
    np.save(tmp_path / "layers.npy", laminate((64, 64, 64), 0, 12, 5))
    _, findings = diagnose([tmp_path / "layers.npy"])
    found = {each.topic: each for each in findings}["isotropy"]
    assert found.verdict is POOR and "runs through without an end" in found.text and "tell the planes" in found.remedy
    _, findings = diagnose([f"xy,xz,yz={tmp_path}/layers.npy"])
    found = {each.topic: each for each in findings}["isotropy"]
    assert found.verdict is GOOD and "without an end along some" in found.text
