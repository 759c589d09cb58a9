import json
from pathlib import Path

import numpy as np
import pytest

from actors.volumes import VolumeWriter
from studies.table import append_rows, read_structures, write_rows
from tests.cluster.conftest import Call


@pytest.fixture
def sweep_folder(call: Call) -> Path:
    """A folder with rows and volumes in three files each."""
    folder = Path("sweep")
    for name in ("a", "b", "c"):
        write_rows(folder, [{"structure_id": name}], ["pore", "solid"])
        VolumeWriter(folder).write(name, np.zeros((2, 2, 2), np.uint8), None, {"s2[pore]": np.ones(2, np.float32)})
    return folder


def test_says_what_became_of_the_files(call: Call, sweep_folder: Path) -> None:
    called = call("compact", sweep_folder)
    assert called.status == 0
    lines = [line.split() for line in called.stdout.splitlines()[2:]]
    assert [line[:4] for line in lines] == [[name, "3", "3", "1"] for name in ("structures", "curves", "volumes")]
    assert "volumes: done in" in called.stderr
    assert read_structures(sweep_folder).num_rows == 3


def test_again_is_harmless_and_json_is_a_document(call: Call, sweep_folder: Path) -> None:
    call("compact", sweep_folder)
    called = call("compact", sweep_folder, "--json")
    assert [entry["files_after"] for entry in json.loads(called.stdout)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("folder", "words"),
    [("nowhere", ["nowhere", "no such folder"]), ("..", ["no results"]), ("single", ["one file already"])],
)
def test_refuses(refused: Call, folder: str, words: list[str]) -> None:
    append_rows(Path("single"), [{"structure_id": "a"}], ["pore"])
    line = refused("compact", folder)
    assert all(word in line for word in words), line
