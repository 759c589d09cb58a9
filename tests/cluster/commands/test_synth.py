from pathlib import Path

import numpy as np
import pytest
import tifffile

from engine.micrographs.read import read_micrographs
from studies.table import read_structures
from tests.cluster.conftest import Call

SPHERES = ("synth", "spheres", "--size", 32, "--dimensions", 2, "--set", "radius=4", "--out", "out")


def contents() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("out").iterdir() if path.suffix == ".tif"}


def test_images_are_written_with_their_rows(call: Call) -> None:
    called = call(*SPHERES, "--count", 3, "--seed", 5)
    assert called.status == 0, called.stderr
    assert called.stdout.splitlines()[-1].startswith("3 images of spheres(fraction=0.4, radius=4.0) in out")
    rows = read_structures(Path("out")).to_pylist()
    assert {f"{row['structure_id']}.tif" for row in rows} == set(contents())
    for row in rows:
        labels = tifffile.imread(f"out/{row['structure_id']}.tif")
        assert labels.shape == (32, 32)
        assert row["fraction_spheres"] == pytest.approx(np.mean(labels == 1))
        assert row["bundle"] == "synthetic:spheres(fraction=0.4, radius=4.0)"
    assert len(read_micrographs(["out"], ["matrix", "spheres"], minimum=32).arrays) == 3


def test_volumes_can_be_characterized(call: Call) -> None:
    assert call("synth", "disks", "--shape", "16,16,12", "--set", "radius=2", "--out", "out").status == 0
    [name] = contents()
    called = call("characterize", f"out/{name}", "--metrics", "fraction[1]")
    assert called.status == 0 and "fraction[1]" in called.stdout


def test_the_same_command_adds_what_is_missing_and_changes_nothing(call: Call) -> None:
    call(*SPHERES, "--count", 2)
    first = contents()
    Path("out", min(first)).unlink()
    assert call(*SPHERES, "--count", 4).status == 0
    assert len(contents()) == 4
    assert {name: contents()[name] for name in first} == first
    assert len(read_structures(Path("out"))) == 4


def test_matched_images(call: Call) -> None:
    call("synth", "levelcut", "--size", 64, "--dimensions", 2, "--set", "lengths=4", "--out", "target")
    [target] = Path("target").glob("*.tif")
    options = ("--like", target, "--size", 32, "--set", "lags=8", "--set", "iterations=20", "--out", "out")
    called = call("synth", "matched", *options)
    assert called.status == 0, called.stderr
    [made] = (tifffile.imread(path) for path in Path("out").glob("*.tif"))
    assert made.mean() == pytest.approx(tifffile.imread(target).mean(), abs=1e-3)


def test_the_list_shows_every_material(call: Call) -> None:
    called = call("synth", "--list")
    assert all(name in called.stdout for name in ("spheres", "plurigaussian", "matched", "radius=6"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["MATERIAL", "--list"]),
        (["sphere", "--out", "out"], ["spheres"]),
        (["spheres", "--out", "out", "--count", 0], ["--count 0"]),
        (["spheres", "--out", "out", "--seed", -1], ["--seed -1"]),
        (["spheres", "--out", "out", "--dimensions", 4], ["--dimensions 4"]),
        (["spheres", "--out", "out", "--shape", "8"], ["--shape 8"]),
        (["spheres", "--out", "out", "--shape", "8,8", "--size", 8], ["--shape"]),
        (["spheres", "--out", "out", "--set", "radius=-1"], ["radius"]),
        (["spheres", "--out", "out", "--size", 8], ["radius", "fit"]),
        (["spheres", "--out", "out", "--size", 100000], ["memory"]),
        (["matched", "--out", "out"], ["--like"]),
        (["spheres", "--out", "out", "--like", "a.tif"], ["matched only"]),
    ],
)
def test_refuses(refused: Call, options: list[object], words: list[str]) -> None:
    line = refused("synth", *options)
    assert all(word in line for word in words), line


def test_refuses_a_folder_that_holds_something_else(call: Call, refused: Call) -> None:
    call(*SPHERES)
    assert "something else" in refused("synth", "disks", "--size", 32, "--out", "out")


def test_goes_on_beside_a_report(call: Call) -> None:
    call(*SPHERES)
    call("report", "out")
    call(*SPHERES)


def test_grey_values_have_rows_without_phases(call: Call) -> None:
    called = call("synth", "polycrystal", "--size", 32, "--dimensions", 2, "--count", 2, "--out", "out")
    assert called.status == 0, called.stderr
    assert called.stdout.splitlines()[-1].endswith("in out; grey values 0 to 255")
    for row in read_structures(Path("out")).to_pylist():
        assert len(np.unique(tifffile.imread(f"out/{row['structure_id']}.tif"))) > 20
