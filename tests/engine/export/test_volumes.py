"""Volumes written and read back; a failed write leaves what was there."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from engine.errors import InputError, WorkError
from engine.export.volumes import FORMATS, read_labels, read_volume, write_volume


def labels(*shape: int, phases: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, phases, shape, dtype=np.uint8)


@pytest.mark.parametrize("format", list(FORMATS))
@pytest.mark.parametrize("shape", [(16, 17, 18), (1, 5, 6), (5, 1, 6), (2, 3, 3), (4, 8, 4)])
def test_round_trip(tmp_path: Path, format: str, shape: tuple[int, int, int]) -> None:
    volume = labels(*shape) * 100
    path = tmp_path / f"a{FORMATS[format].suffixes[0]}"
    assert write_volume(volume, path, format) == path
    found = read_volume(path)
    np.testing.assert_array_equal(found.labels, volume)
    assert found.labels.dtype == np.uint8 and found.voxel_size_um is None
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("size_um", [5.345, 1e-3, 1 / 3, 250.0])
def test_tiff_carries_the_voxel_size_exactly(tmp_path: Path, size_um: float) -> None:
    path = write_volume(labels(4, 5, 6), tmp_path / "a.tif", "tiff", size_um)
    assert read_volume(path).voxel_size_um == size_um
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_imagej and tiff.series[0].axes == "ZYX"
        assert tiff.pages.first.compression.name == "ADOBE_DEFLATE"


def test_format_from_the_ending_and_other_integer_types(tmp_path: Path) -> None:
    volume = np.asfortranarray(labels(4, 5, 6).astype(np.int64))
    for name in ("a.tif", "a.TIFF", "a.npy"):
        np.testing.assert_array_equal(read_volume(write_volume(volume, tmp_path / name)).labels, volume)


@pytest.mark.parametrize("name", ["vti", "stl", "tif", ""])
def test_unknown_format_lists_what_there_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"valid: tiff, npy|did you mean 'tiff'"):
        write_volume(labels(4, 4, 4), tmp_path / "a.tif", name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "volume, words",
    [
        (labels(4, 4), "must be a volume"),
        (labels(4, 0, 4), "not empty"),
        (np.full((2, 2, 2), 256), "within 0..255"),
        (np.full((2, 2, 2), -1), "within 0..255"),
        (np.zeros((2, 2, 2)), "not float64"),
    ],
)
def test_labels_that_fit_no_volume(tmp_path: Path, volume: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        write_volume(volume, tmp_path / "a.tif")
    assert not list(tmp_path.iterdir())


def test_names_and_sizes_that_cannot_be_used(tmp_path: Path) -> None:
    volume = labels(4, 4, 4)
    with pytest.raises(InputError, match=r"no volume format ends in '\.raw'; endings: \.tif, \.tiff, \.npy"):
        write_volume(volume, tmp_path / "a.raw")
    with pytest.raises(InputError, match=r"must end in \.npy"):
        write_volume(volume, tmp_path / "a.tif", "npy")
    with pytest.raises(InputError, match=r"folder .* does not exist"):
        write_volume(volume, tmp_path / "gone" / "a.tif")
    with pytest.raises(InputError, match="positive length"):
        write_volume(volume, tmp_path / "a.tif", voxel_size_um=0.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    path = write_volume(labels(4, 4, 4), tmp_path / "a.tif")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(WorkError, match=r"a\.tif: could not be written \(No space left on device\)"):
        write_volume(np.zeros((8, 8, 8), np.uint8), path)
    assert path.read_bytes() == before and [item.name for item in tmp_path.iterdir()] == ["a.tif"]


def test_content_is_durable_before_the_name_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        steps.append("fsync")
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> None:
        steps.append("replace")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_volume(labels(4, 4, 4), tmp_path / "a.npy")
    assert steps == ["fsync", "replace", "fsync"]


def test_read_labels_wants_a_volume(tmp_path: Path) -> None:
    path = write_volume(labels(4, 5, 6), tmp_path / "a.tif")
    assert read_labels(path).shape == (4, 5, 6)
    tifffile.imwrite(tmp_path / "image.tif", labels(8, 9))
    assert read_volume(tmp_path / "image.tif").labels.shape == (1, 8, 9)
    with pytest.raises(InputError, match="1x8x9 is a single layer"):
        read_labels(tmp_path / "image.tif")


def test_files_that_are_no_labelled_volume(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "gone.tif")
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no volume format ends in '\.png'"):
        read_labels(tmp_path / "a.png")
    np.save(tmp_path / "grey.npy", np.arange(1000).reshape(10, 10, 10).astype(np.uint8))
    with pytest.raises(InputError, match="256 grey levels"):
        read_labels(tmp_path / "grey.npy")
