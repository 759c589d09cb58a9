"""studies.report.embed: bytes that the page reads back."""

import base64
import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import studies
import studies.report.embed
from actors.volumes import VolumeWriter
from studies.report.embed import column, embed, voxels
from studies.table import append_rows
from tests.studies.fakes import PHASES


def test_a_column_is_float32_with_its_gaps() -> None:
    values = np.array([0.25, np.nan, 3e38])
    assert np.array_equal(np.frombuffer(base64.b64decode(column(values)), "<f4"), values.astype("<f4"), equal_nan=True)


def test_voxels_are_bit_planes() -> None:
    indices = np.random.default_rng(0).choice(np.array([0, 2, 3], np.uint8), (3, 5, 7))
    stored = voxels(indices)
    planes = zlib.decompress(base64.b64decode(stored["data"]))
    length = -(-indices.size // 8)
    codes = sum(
        np.unpackbits(np.frombuffer(planes, np.uint8, length, bit * length), count=indices.size, bitorder="little")
        << bit
        for bit in range(stored["bits"])
    )
    assert (np.array(stored["labels"])[codes].reshape(stored["shape"]) == indices).all()


def test_only_what_has_a_volume_and_room_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a", "b", "none"]
    append_rows(tmp_path, [{"structure_id": name} for name in names], PHASES)
    for name in names[:2]:
        VolumeWriter(tmp_path).write(name, np.eye(6, dtype=np.uint8)[None].repeat(6, 0), None, {})
    monkeypatch.setattr(studies.report.embed, "VOLUME_BUDGET", 1)
    steps: list[tuple[int, int]] = []
    results = studies.open(tmp_path)
    pictures, volumes = embed(results, names, [2, 1], [0, 1], [0, 1], lambda *step: steps.append(step))
    assert set(pictures) == {0, 1} and set(volumes) == {0}, "the budget is spent after the first"
    assert steps[-1] == (3, 3)
    picture = Image.open(io.BytesIO(base64.b64decode(pictures[0].partition(",")[2])))
    assert picture.size == (96, 96) and results.stored() == {"a", "b"}
