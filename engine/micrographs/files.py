"""Image files to arrays: TIFF (2D, stack, multi-page), PNG and NPY. Nothing is guessed and nothing pickled.

A header is checked against the memory at hand before anything is allocated, and a file that ends early is
refused rather than read in part.
"""

import hashlib
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

SUFFIXES = (".tif", ".tiff", ".png", ".npy")

# Bytes needed while a file is checked, for each byte it holds: the array, a comparison or luminance, the indices.
WORKING_COPIES = 3

# numpy counts a copy with 8 bytes per value; in pieces the copy stays at 32 MiB.
_COUNTED_AT_ONCE = 2**22

_MICROMETRES = {"um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0, "micron": 1.0, "microns": 1.0, "nm": 1e-3, "mm": 1e3}
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


@dataclass(frozen=True, kw_only=True, eq=False)
class FileArray:
    """What a file holds, as it stands there."""

    array: NDArray[Any]
    """(y, x) or (z, y, x), real numbers or booleans, finite, not empty."""
    is_colour: bool
    """The file holds colours that differ from grey; `array` is then their luminance (float32, BT.601)."""
    voxel_size_um: float | None
    """From ImageJ metadata with a length unit and equal sides; None where the file does not say."""


def read_array(path: Path) -> FileArray:
    """Read a whole image file.

    Raises:
        InputError: missing, unreadable, truncated or empty file, unknown format, NaN or infinite values, a
            number of dimensions other than 2 or 3, or more voxels than memory holds.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise InputError(f"{path}: not a file; name a file of type {', '.join(SUFFIXES)}")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: unknown image format '{path.suffix}'; readable: {', '.join(SUFFIXES)}")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); write it again")
    reader = {".png": _read_png, ".npy": _read_npy}.get(path.suffix.lower(), _read_tiff)
    try:
        found = reader(path)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: does not fit into memory; cut a smaller file from it") from error
    except Exception as error:  # the decoders raise a dozen unrelated types on damaged files; all mean the same here
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: unreadable or truncated ({reason}); write or copy it again") from error
    return _checked(found, path)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def available_memory_bytes() -> int:
    """Memory that can be taken without swapping, in bytes."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # no /proc on this system
    return int(os.sysconf("SC_PHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))


def distinct_values(array: NDArray[Any]) -> NDArray[Any]:
    """Sorted distinct values; by counting where the type has few, which is much faster than sorting."""
    return np.flatnonzero(value_counts(array)) if array.dtype in (np.uint8, np.uint16) else np.unique(array)


def value_counts(array: NDArray[Any]) -> NDArray[np.int64]:
    """How often each value 0..2^bits-1 of an unsigned 8- or 16-bit array occurs."""
    counts = np.zeros(np.iinfo(array.dtype).max + 1, dtype=np.int64)
    flat = array.reshape(-1)
    for start in range(0, flat.size, _COUNTED_AT_ONCE):
        counts += np.bincount(flat[start : start + _COUNTED_AT_ONCE], minlength=len(counts))
    return counts


def side_text(shape: tuple[int, ...]) -> str:
    """Shape as text: `200x400x400`."""
    return "x".join(str(side) for side in shape)


def _checked(found: FileArray, path: Path) -> FileArray:
    """Refuse what no reader of the array could use."""
    array = found.array
    if array.dtype.kind not in "buif":
        raise InputError(f"{path}: holds values of type {array.dtype}; save labels as unsigned 8-bit integers")
    if array.size == 0:
        raise InputError(f"{path}: holds no pixels (shape {side_text(array.shape)}); write it again")
    if array.ndim not in (2, 3):
        raise InputError(
            f"{path}: has {array.ndim} dimensions ({side_text(array.shape)}); expected an image (y, x) or volume "
            "(z, y, x); cut one from it"
        )
    if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
        wrong = array.size - int(np.count_nonzero(np.isfinite(array)))
        raise InputError(f"{path}: {wrong} values are NaN or infinite; replace them before use")
    return found


def _check_fits(path: Path, shape: tuple[int, ...], itemsize: int) -> None:
    """Compare the header's promise with the memory at hand, before allocation."""
    promised, available = math.prod(shape) * itemsize, available_memory_bytes()
    if promised * WORKING_COPIES > available:
        raise InputError(
            f"{path}: its header promises {side_text(shape)} values ({promised / 2**30:.3g} GiB, and reading takes "
            f"{WORKING_COPIES} times that) but {available / 2**30:.3g} GiB of memory are free; cut a smaller file "
            "from it, or write it again if the header is wrong"
        )


def _read_npy(path: Path) -> FileArray:
    with path.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise InputError(f"{path}: NPY version {version} holds named fields; save a plain array of labels")
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(stream)
        start = stream.tell()
    if dtype.hasobject or dtype.names:
        raise InputError(f"{path}: holds Python objects or named fields; save a plain array of labels")
    if any(side < 0 for side in shape):
        raise ValueError(f"negative size in the header: {shape}")
    _check_fits(path, shape, dtype.itemsize)
    held, promised = path.stat().st_size - start, math.prod(shape) * dtype.itemsize
    if held < promised:
        raise ValueError(f"its header promises {promised} bytes of values, the file holds {held}")
    return FileArray(array=np.load(path, allow_pickle=False), is_colour=False, voxel_size_um=None)


def _read_png(path: Path) -> FileArray:
    from PIL.PngImagePlugin import PngImageFile  # not Image.open: its fixed pixel limit is replaced by _check_fits

    with PngImageFile(path) as image:
        bands = len(image.getbands())
        _check_fits(path, (image.height, image.width, bands), 4 if image.mode.startswith("I") else 1)
        if getattr(image, "n_frames", 1) > 1:
            raise InputError(f"{path}: an animation of {image.n_frames} frames; save the frames as separate images")
        pixels = np.array(image)  # a palette image gives its indices, which are the labels
    grey, is_colour = (pixels, False) if pixels.ndim == 2 else _without_channels(pixels, path)
    return FileArray(array=grey, is_colour=is_colour, voxel_size_um=None)


def _read_tiff(path: Path) -> FileArray:
    import tifffile

    with _no_tiff_errors(), tifffile.TiffFile(path, is_ome=False) as tiff:  # OME metadata may name other files
        series = _one_stack(tiff.series, path)
        for part in series:
            assert part.dtype is not None
        shape = (len(series), *series[0].shape) if len(series) > 1 else tuple(series[0].shape)
        _check_fits(path, shape, int(np.dtype(series[0].dtype).itemsize))
        values = np.stack([part.asarray() for part in series]) if len(series) > 1 else series[0].asarray()
        axes = ("Q" if len(series) > 1 else "") + series[0].axes
        voxel_size_um = _imagej_voxel_size_um(tiff, is_volume=len(axes.replace("S", "")) > 2)
    if "S" not in axes:
        return FileArray(array=values, is_colour=False, voxel_size_um=voxel_size_um)
    grey, is_colour = _without_channels(np.moveaxis(values, axes.index("S"), -1), path)
    return FileArray(array=grey, is_colour=is_colour, voxel_size_um=voxel_size_um)


def _one_stack(series: "list[TiffPageSeries]", path: Path) -> "list[TiffPageSeries]":
    """The series that make up one array: a single one, or equal 2D pages that were written one by one."""
    if not series:
        raise ValueError("no page in it")
    if len({(part.shape, part.axes, str(part.dtype)) for part in series}) > 1:
        shapes = sorted({side_text(part.shape) for part in series})
        raise InputError(f"{path}: its pages differ in shape ({', '.join(shapes)}); save them as separate files")
    return list(series)


@contextmanager
def _no_tiff_errors() -> Iterator[None]:
    """Turn errors that tifffile only logs into ValueError: a page list cut short reads as a shorter stack otherwise."""
    logger, messages = logging.getLogger("tifffile"), []

    class _Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    collector = _Collector(level=logging.ERROR)
    logger.addHandler(collector)
    try:
        yield
    finally:
        logger.removeHandler(collector)
    if messages:
        raise ValueError(messages[0])


def _imagej_voxel_size_um(tiff: "TiffFile", *, is_volume: bool) -> float | None:
    """Side of the cubic voxel (or square pixel) from ImageJ metadata, in micrometres; None where it does not say."""
    metadata = tiff.imagej_metadata or {}
    scale = _MICROMETRES.get(str(metadata.get("unit", "")).strip().lower())
    tags = [tiff.pages.first.tags.get(name) for name in ("XResolution", "YResolution")]
    if scale is None or any(tag is None or 0 in tag.value for tag in tags):
        return None
    sides: list[float] = [tag.value[1] / tag.value[0] for tag in tags if tag is not None]
    if "spacing" in metadata:  # a decimal number, where the tags are rounded fractions
        sides.insert(0, float(metadata["spacing"]))
    elif is_volume:
        return None  # the distance of the slices is not known
    if not sides[0] > 0 or any(abs(side - sides[0]) > 1e-5 * sides[0] for side in sides):
        return None
    return sides[0] * scale


def _without_channels(pixels: NDArray[Any], path: Path) -> tuple[NDArray[Any], bool]:
    """Grey values of an image with channels last, and whether it had colour.

    Args:
        pixels: (..., channels): grey, grey + alpha, RGB or RGB + alpha.

    Raises:
        InputError: another number of channels, or an alpha channel that varies.
    """
    channels = pixels.shape[-1]
    if channels not in (1, 2, 3, 4):
        raise InputError(f"{path}: has {channels} channels; expected grey or RGB; save one channel")
    if channels in (2, 4) and pixels.size:
        alpha = pixels[..., -1]
        if alpha.min() != alpha.max():
            raise InputError(f"{path}: is transparent in places, which is no phase; save it without an alpha channel")
    first = pixels[..., 0]
    if channels < 3 or all(np.array_equal(first, pixels[..., other]) for other in (1, 2)):
        return np.ascontiguousarray(first), False
    return pixels[..., :3].astype(np.float32) @ _LUMINANCE, True
