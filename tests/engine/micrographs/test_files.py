"""Files to arrays: what each format gives, and every damaged or oversized file refused before it is trusted."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from engine.errors import InputError
from engine.micrographs import files
from engine.micrographs.files import distinct_values, read_array, value_counts


def labels(*shape: int, phases: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, phases, shape, dtype=np.uint8)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises width x height grey pixels and holds next to none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return start + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def tiff_header(width: int, height: int) -> bytes:
    """A little-endian TIFF with one page that promises width x height bytes in one strip of four."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 4)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 12) + b"\0" * 4 + struct.pack("<H", len(tags)) + entries + b"\0" * 4


def npy_header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_tiff_image_stack_and_pages_written_one_by_one(tmp_path: Path) -> None:
    volume = labels(5, 20, 30)
    tifffile.imwrite(tmp_path / "image.tif", volume[0])
    tifffile.imwrite(tmp_path / "stack.tiff", volume, compression="zlib")
    with tifffile.TiffWriter(tmp_path / "plain.tif") as writer:
        for page in volume:
            writer.write(page, metadata=None)
    with tifffile.TiffWriter(tmp_path / "series.tif") as writer:
        for page in volume:
            writer.write(page, contiguous=False)
    np.testing.assert_array_equal(read_array(tmp_path / "image.tif").array, volume[0])
    for name in ("stack.tiff", "plain.tif", "series.tif"):
        np.testing.assert_array_equal(read_array(tmp_path / name).array, volume)


@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits", "deflate", "zstd"])
def test_tiff_compressions(tmp_path: Path, compression: str) -> None:
    volume = labels(3, 20, 30, phases=3)
    tifffile.imwrite(tmp_path / "a.tif", volume, photometric="minisblack", compression=compression)
    np.testing.assert_array_equal(read_array(tmp_path / "a.tif").array, volume)


def test_tiff_pages_of_different_shape_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(labels(20, 30))
        writer.write(labels(10, 30))
    with pytest.raises(InputError, match=r"a\.tif: its pages differ in shape \(10x30, 20x30\)"):
        read_array(tmp_path / "a.tif")


@pytest.mark.parametrize("unit, micrometres", [("um", 5.345), ("micron", 5.345), ("\\u00B5m", 5.345), ("nm", 5.345e-3)])
def test_imagej_voxel_size(tmp_path: Path, unit: str, micrometres: float) -> None:
    metadata = {"axes": "ZYX", "spacing": 5.345, "unit": unit}
    resolution = (1 / 5.345, 1 / 5.345)
    tifffile.imwrite(tmp_path / "a.tif", labels(3, 8, 8), imagej=True, resolution=resolution, metadata=metadata)
    assert read_array(tmp_path / "a.tif").voxel_size_um == pytest.approx(micrometres, rel=1e-12)


@pytest.mark.parametrize("spacing, unit", [(2.0, "um"), (5.0, "pixel"), (5.0, "inch")])
def test_unequal_sides_or_no_length_unit_is_no_voxel_size(tmp_path: Path, spacing: float, unit: str) -> None:
    metadata = {"axes": "ZYX", "spacing": spacing, "unit": unit}
    tifffile.imwrite(tmp_path / "a.tif", labels(3, 8, 8), imagej=True, resolution=(0.2, 0.2), metadata=metadata)
    assert read_array(tmp_path / "a.tif").voxel_size_um is None


def test_png_modes_give_labels(tmp_path: Path) -> None:
    image = labels(20, 30)
    Image.fromarray(image).save(tmp_path / "grey.png")
    Image.fromarray(image.astype(bool)).save(tmp_path / "bits.png")
    Image.fromarray(image.astype(np.uint16) * 300).save(tmp_path / "deep.png")
    palette = Image.fromarray(image, mode="P")
    palette.putpalette([200, 10, 10, 0, 0, 90])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(np.stack([image] * 3, axis=-1)).save(tmp_path / "rgb.png")
    opaque = np.concatenate([np.stack([image] * 3, axis=-1), np.full((20, 30, 1), 255, np.uint8)], axis=-1)
    Image.fromarray(opaque).save(tmp_path / "rgba.png")
    for name, factor in [("grey", 1), ("bits", 1), ("deep", 300), ("palette", 1), ("rgb", 1), ("rgba", 1)]:
        found = read_array(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(found.array, image.astype(int) * factor, err_msg=name)
        assert not found.is_colour


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_colour_becomes_luminance(tmp_path: Path, suffix: str) -> None:
    colour = np.zeros((10, 12, 3), dtype=np.uint8)
    colour[:, :6] = (200, 100, 50)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(colour).save(path)
    found = read_array(path)
    assert found.is_colour
    np.testing.assert_allclose(found.array[0], [0.299 * 200 + 0.587 * 100 + 0.114 * 50] * 6 + [0.0] * 6, rtol=1e-6)


def test_varying_alpha_is_refused(tmp_path: Path) -> None:
    pixels = np.zeros((10, 10, 4), dtype=np.uint8)
    pixels[:5, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="transparent in places"):
        read_array(tmp_path / "a.png")


def test_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(labels(10, 10, seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="animation of 3 frames"):
        read_array(tmp_path / "a.png")


@pytest.mark.parametrize("dtype", ["u1", ">u2", "i8", "?", ">f4"])
def test_npy_types(tmp_path: Path, dtype: str) -> None:
    volume = np.asfortranarray(labels(4, 6, 5).astype(dtype))
    np.save(tmp_path / "a.npy", volume)
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy").array, volume)


def test_npy_with_objects_is_refused_unread(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "exploded",)  # type: ignore[return-value]

    np.save(tmp_path / "a.npy", np.array([[Bomb()]], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="Python objects"):
        read_array(tmp_path / "a.npy")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    image = np.zeros((10, 10))
    image[3, 4] = value
    np.save(tmp_path / "a.npy", image)
    with pytest.raises(InputError, match=r"a\.npy: 1 values are NaN or infinite"):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "array, words",
    [
        (np.zeros((0, 5), np.uint8), "no pixels"),
        (np.zeros(5, np.uint8), "1 dimensions"),
        (np.zeros((2, 2, 2, 2), np.uint8), "4 dimensions"),
        (np.zeros((5, 5), complex), "type complex128"),
        (np.full((5, 5), "pore"), "type <U4"),
        (np.zeros((5, 5), [("a", "u1")]), "named fields"),
    ],
)
def test_npy_that_is_no_image(tmp_path: Path, array: np.ndarray, words: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=words):
        read_array(tmp_path / "a.npy")


def test_missing_empty_folder_and_unknown(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.tif: no such file"):
        read_array(tmp_path / "gone.tif")
    with pytest.raises(InputError, match="not a file"):
        read_array(tmp_path)
    for name in ("a.tif", "a.png", "a.npy"):
        (tmp_path / name).touch()
        with pytest.raises(InputError, match=r"empty \(0 bytes\)"):
            read_array(tmp_path / name)
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"unknown image format '\.jpg'; readable: \.tif, \.tiff, \.png, \.npy"):
        read_array(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.npy"])
def test_garbage_is_one_clear_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"these are not pixels\n" * 50)
    with pytest.raises(InputError, match="unreadable or truncated") as caught:
        read_array(tmp_path / name)
    assert "\n" not in str(caught.value) and str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("kind", ["zlib stack", "plain stack", "separate pages", "imagej", "png", "npy"])
def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path: Path, kind: str) -> None:
    volume = labels(4, 24, 40)
    path = tmp_path / {"png": "a.png", "npy": "a.npy"}.get(kind, "a.tif")
    if kind == "png":
        Image.fromarray(volume[0]).save(path)
    elif kind == "npy":
        np.save(path, volume)
    elif kind == "separate pages":
        with tifffile.TiffWriter(path) as writer:
            for page in volume:
                writer.write(page, metadata=None, compression="zlib")
    else:
        tifffile.imwrite(
            path,
            volume,
            compression="zlib" if kind == "zlib stack" else None,
            imagej=kind == "imagej",
            photometric="minisblack",
        )
    whole, truth = path.read_bytes(), read_array(path).array
    refused = 0
    for end in range(1, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:end])
        try:
            found = read_array(path).array
        except InputError:
            refused += 1
        else:
            np.testing.assert_array_equal(found, truth)
    assert refused >= 50


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.png", png_header(2**30, 2**30)),
        ("a.tif", tiff_header(2**30, 2**30)),
        ("a.npy", npy_header((2**20, 2**20, 2**20))),
        ("b.npy", npy_header((2**62, 2**62), "<f8")),
    ],
)
def test_header_that_promises_more_than_memory(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"header promises .* of memory are free"):
        read_array(tmp_path / name)


def test_memory_is_compared_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = labels(8, 32, 32)
    np.save(tmp_path / "a.npy", volume)
    tifffile.imwrite(tmp_path / "a.tif", volume)
    monkeypatch.setattr(files, "available_memory_bytes", lambda: 3 * volume.nbytes)
    for name in ("a.npy", "a.tif"):
        np.testing.assert_array_equal(read_array(tmp_path / name).array, volume)
    monkeypatch.setattr(files, "available_memory_bytes", lambda: 3 * volume.nbytes - 1)
    for name in ("a.npy", "a.tif"):
        with pytest.raises(InputError, match="8x32x32"):
            read_array(tmp_path / name)


def test_available_memory_is_plausible() -> None:
    assert 2**20 < files.available_memory_bytes() < 2**50


def test_header_with_a_negative_size(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy_header((-4, -4)) + b"\0" * 64)
    with pytest.raises(InputError, match="negative size"):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4", "?"])
def test_distinct_values(dtype: str) -> None:
    array = np.array([[1, 0], [1, 1]]).astype(dtype)
    np.testing.assert_array_equal(distinct_values(array), [0, 1])


def test_value_counts_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_COUNTED_AT_ONCE", 7)
    array = labels(5, 6, phases=3)
    np.testing.assert_array_equal(value_counts(array), np.bincount(array.reshape(-1), minlength=256))
