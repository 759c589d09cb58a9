import json

import numpy as np
import pytest

from tests.cluster.conftest import Call


@pytest.fixture
def sets(call: Call) -> None:
    """Folders a and b (level cuts, 12 images of 32x32 each) and c (disks), in the current folder."""
    for name, material, seed in (("a", "levelcut", 1), ("b", "levelcut", 2), ("c", "disks", 3)):
        setting = "lengths=3" if material == "levelcut" else "radius=3"
        options = ("--count", 12, "--size", 32, "--dimensions", 2, "--seed", seed, "--set", setting, "--out", name)
        assert call("synth", material, *options).status == 0
    np.save("volume.npy", np.random.default_rng(0).integers(0, 2, (16, 16, 32), dtype=np.uint8))


def test_json_has_every_part(call: Call, sets: None) -> None:
    called = call("evaluate", "a", "--against", "b", "--phases", "p,q", "--json")
    assert called.status == 0, called.stderr
    found = json.loads(called.stdout)
    assert (found["ours"], found["truth"], found["side"], found["dimensions"]) == (12, 12, 32, 2)
    names = {each["name"] for each in found["judged"]}
    assert {
        "fraction[p]",
        "surface_area[q]",
        "s2[p]",
        "autocovariance[p]",
        "lineal_path[q]",
        "chord_lengths[q]",
    } <= names
    assert found["copying"]["passes"] is True and found["errors"]["e_px"] > 0
    assert [each["phase"] for each in found["representativity"]] == ["p", "q"]


def test_tables_name_the_features_and_end_with_a_count(call: Call, sets: None) -> None:
    called = call("evaluate", "c", "--against", "b", "--train", "a")
    assert called.status == 0, called.stderr
    assert "BEYOND" in called.stdout
    assert "too few" in called.stdout  # 12 true images: no halves of 8
    assert called.stdout.splitlines()[-1].endswith("within what 95 % of true sets of this size would get")


def test_a_copied_set_is_called_so(call: Call, sets: None) -> None:
    called = call("evaluate", "a", "--against", "b", "--train", "a")
    assert "copying: COPIED" in called.stdout


def test_small_volumes(call: Call, sets: None) -> None:
    called = call("evaluate", "volume.npy", "--against", "volume.npy")
    assert called.status == 0, called.stderr
    assert "2 volumes of 16x16x16" in called.stdout and "blocks too small" in called.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["a", "--against", "missing"], ["missing", "no such file"]),
        (["a", "--against", "b", "--seed", -1], ["--seed -1"]),
        (["a", "--against", "b", "--phases", "p"], ["2 labels", "1 phases"]),
        (["a", "--against", "b", "--block", 64], ["block of 64"]),
        (["a", "--against", "b", "--inception", "none.pt"], ["none.pt", "no such file"]),
        (["a", "--against", "b", "--inception", "x", "--model", "y"], ["one network"]),
        (["a", "--against", "b", "--model", "nonesuch"], ["nonesuch"]),
    ],
)
def test_refuses(refused: Call, sets: None, options: list[object], words: list[str]) -> None:
    line = refused("evaluate", *options)
    assert all(word in line for word in words), line
