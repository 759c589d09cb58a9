import json

import numpy as np
import pytest

from cluster.commands.evaluate import _progress
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


def test_a_phase_that_a_lacks_is_a_result(call: Call, sets: None) -> None:
    np.save("empty.npy", np.zeros((16, 16, 32), dtype=np.uint8))
    called = call("evaluate", "empty.npy", "--against", "volume.npy", "--json")
    assert called.status == 0, called.stderr
    found = json.loads(called.stdout)
    numbers = {each["name"]: each for each in found["judged"]}
    assert numbers["fraction[1]"]["ours"] == 0 and numbers["fraction[1]"]["comparison"]["passes"] is False
    assert found["copying"] is None
    assert "too little interface" in call("evaluate", "empty.npy", "--against", "volume.npy").stdout


def test_the_time_left_of_a_long_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, shown = iter([100.0, 100.0, 110.0, 110.0, 120.0, 120.0]), []

    class Bar:
        def update(self, done: int, note: str = "", total: int | None = None) -> None:
            shown.append((done, note))

    monkeypatch.setattr("cluster.commands.evaluate.time.monotonic", lambda: next(clock))
    update = _progress(Bar())
    for share in (0.0, 0.25, 1.0):
        update(3, "copying", share)
    assert shown == [(3, "copying"), (3, "copying, 30 s left"), (3, "copying")]


def test_refuses_nan_headers_beyond_memory_and_other_weights(refused: Call, sets: None) -> None:
    np.save("nan.npy", np.full((16, 16, 16), np.nan))
    assert "NaN" in refused("evaluate", "nan.npy", "--against", "volume.npy")
    with open("huge.npy", "wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (100_000, 100_000, 100_000)}
        np.lib.format.write_array_header_1_0(stream, header)
    assert "promises" in refused("evaluate", "volume.npy", "--against", "huge.npy")
    np.save("row.npy", np.ones((16, 1, 16), dtype=np.uint8))
    line = refused("evaluate", "volume.npy", "--against", "row.npy")
    assert "block of 1" in line and "row.npy" in line
    np.save("nine.npy", np.full((16, 16, 16), 9, dtype=np.uint8))
    assert "label 9 is not in --against" in refused("evaluate", "nine.npy", "--against", "volume.npy")
    line = refused("evaluate", "a", "--against", "b", "--inception", "nan.npy")
    assert "nan.npy" in line and "not a file of PyTorch weights" in line


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
