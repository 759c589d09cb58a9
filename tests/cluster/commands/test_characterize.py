import json
from pathlib import Path

import numpy as np
import pytest

from tests.cluster.conftest import Call


@pytest.fixture
def laminate(call: Call) -> Path:
    """16³, labels 3 and 7: a plate of label 3 across z takes a quarter of the volume."""
    labels = np.full((16, 16, 16), 7, np.uint8)
    labels[:, :, :4] = 3
    np.save("laminate.npy", labels)
    return Path("laminate.npy")


def test_json_has_values_outcomes_and_curves(call: Call, laminate: Path) -> None:
    called = call("characterize", laminate, "--phases", "plate,rest", "--json")
    assert called.status == 0, called.stderr
    [volume] = json.loads(called.stdout)["volumes"]
    assert volume["shape"] == [16, 16, 16] and volume["phases"] == {"plate": 3, "rest": 7}
    metrics = volume["metrics"]
    assert metrics["fraction[plate]"] == {"value": 0.25, "outcome": "measured"}
    assert metrics["diffusivity[plate,z]"]["value"] == pytest.approx(0.25, rel=1e-2)
    assert metrics["diffusivity[plate,x]"] == {"value": 0.0, "outcome": "does_not_percolate"}
    assert volume["curves"]["s2[plate]"][0] == pytest.approx(0.25)


def test_phases_are_named_by_label_unless_told(call: Call, laminate: Path) -> None:
    called = call("characterize", laminate, "--metrics", "fraction[3],diffusivity[7,z]")
    lines = [line.split() for line in called.stdout.splitlines()]
    assert ["fraction[3]", "0.25", "measured"] in lines
    assert [line[0] for line in lines if line and "[" in line[0]] == ["fraction[3]", "diffusivity[7,z]"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["missing.tif"], ["missing.tif", "no such file"]),
        (["laminate.npy", "--phases", "pore"], ["2 labels (3, 7)", "names 1"]),
        (["laminate.npy", "--phases", "a,a"], ["a, a"]),
        (["laminate.npy", "--metrics", "fraction[pore]"], ["pore"]),
        (["laminate.npy", "missing.tif"], ["missing.tif"]),
    ],
)
def test_refuses(refused: Call, laminate: Path, options: list[str], words: list[str]) -> None:
    line = refused("characterize", *options)
    assert all(word in line for word in words), line


@pytest.mark.parametrize(("name", "word"), [("broken.tif", "unreadable"), ("grey.npy", "grey"), ("small.npy", "layer")])
def test_refuses_what_is_no_labelled_volume(refused: Call, images: Path, name: str, word: str) -> None:
    line = refused("characterize", images / name)
    assert str(images / name) in line and word in line
