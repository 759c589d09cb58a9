"""mesoforge sample: images of a bundle, their rows, and what is added by the same command."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from studies.table import read_structures
from tests.bundles import write_untrained_bundle
from tests.cluster.conftest import Call


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_untrained_bundle(tmp_path / "noise")
    return tmp_path / "noise"


def images() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("out").glob("*.tif")}


def test_images_are_written_with_their_rows_and_added_to(call: Call, bundle: Path) -> None:
    options = ("sample", "--model", bundle, "--size", 32, "--seed", 3, "--out", "out")
    called = call(*options, "--count", 2)
    assert called.status == 0, called.stderr
    assert called.stdout.splitlines()[-1] == "2 images of noise in out; labels: 0 pore, 1 solid"
    first = images()
    rows = read_structures(Path("out")).to_pylist()
    assert {f"{row['structure_id']}.tif" for row in rows} == set(first) and {row["bundle"] for row in rows} == {"noise"}
    for row in rows:
        labels = tifffile.imread(f"out/{row['structure_id']}.tif")
        assert labels.shape == (32, 32) and row["fraction_pore"] == pytest.approx(np.mean(labels == 0))
    assert call(*options, "--count", 3).status == 0
    assert len(images()) == 3 and first.items() <= images().items()
    refused = call(*options, "--count", 3, "--steps", 5)
    assert refused.status == 2 and "holds something else" in refused.stderr


def test_bad_input_names_what_there_is(refused: Call, bundle: Path) -> None:
    options = ("sample", "--model", bundle, "--out", "out")
    assert "it was trained without classes" in refused(*options, "--class", "alloy")
    assert "its planes are all alike" in refused(*options, "--plane", "xy")
    assert "multiple of 8" in refused(*options, "--size", 50)
    assert "--count 0" in refused(*options, "--count", 0)
    assert "solver: must be one of" in refused(*options, "--solver", "euler")
