"""Small pictures of volumes as files for pages: seen from a corner, three slices, and a turning one."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.plots.style import PHASE_COLOURS, phase_rgb

_GAP = 6  # pixels between slices
_FRAME_MS = 80
_EDGE = 0.6  # grey of the edges of the box
_LIGHT_OF_AXIS = (1.45, 0.8, 1.1)  # faces across z, y, x: the three directions can be told apart


def phase_indices(labels: NDArray[np.uint8], phase_labels: Sequence[int]) -> NDArray[np.uint8]:
    """Labels (z, y, x) as indices into `phase_labels`; a label that is not among them gets the index after the last."""
    table = np.full(256, len(phase_labels), np.uint8)
    for index, label in enumerate(phase_labels):
        table[label] = index
    return table[labels]


def seen_through(indices: NDArray[np.uint8], count: int) -> NDArray[np.bool_]:
    """[count] which phases to show: all but the most abundant, through which one looks; all where there is only one."""
    amount = np.bincount(indices.ravel(), minlength=count)[:count]
    shown = np.ones(count, bool)
    if (amount > 0).sum() > 1:
        shown[amount.argmax()] = False
    return shown


def corner_png(indices: NDArray[np.uint8], count: int, pixels: int = 120) -> bytes:
    """The volume from a corner, on a transparent ground.

    Args:
        indices: (z, y, x), phase indices below `count`.
        count: number of phases.
        pixels: sides.
    """
    from PIL import Image

    # Drawn at twice the size and halved: edges are smooth then.
    picture = seen_from(indices, count, azimuth=np.pi / 4, tilt=np.arctan(np.sqrt(0.5)), pixels=2 * pixels)
    image = Image.fromarray(picture, "RGBA").resize((pixels, pixels), Image.Resampling.BOX)
    return _png(image.quantize(48, method=Image.Quantize.FASTOCTREE))


def slices_png(indices: NDArray[np.uint8], count: int, side: int = 240) -> bytes:
    """The middle slices across z, y and x side by side, each `side` pixels high."""
    from PIL import Image

    palette = (_colours(count) * 255).round().astype(np.uint8)
    images = []
    for axis in range(3):
        image = Image.fromarray(palette[indices.take(indices.shape[axis] // 2, axis=axis)], "RGB")
        width = max(1, round(side * image.width / image.height))
        images.append(image.resize((width, side), Image.Resampling.NEAREST))
    sheet = Image.new("RGB", (sum(image.width for image in images) + 2 * _GAP, side), "white")
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width + _GAP
    return _png(sheet.quantize(max(2, min(256, count + 2))))


def turntable_gif(indices: NDArray[np.uint8], count: int, pixels: int = 220, frames: int = 24) -> bytes:
    """The volume turning about z, as an animated GIF that repeats."""
    from PIL import Image

    pictures = []
    for frame in range(frames):
        picture = seen_from(indices, count, azimuth=np.pi * (0.25 + 2 * frame / frames), tilt=np.pi / 6, pixels=pixels)
        image = Image.fromarray(picture, "RGBA")
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        pictures.append(ground.quantize(64, method=Image.Quantize.MEDIANCUT))
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=_FRAME_MS, loop=0)
    return buffer.getvalue()


def seen_from(indices: NDArray[np.uint8], count: int, *, azimuth: float, tilt: float, pixels: int) -> NDArray[np.uint8]:
    """Orthographic picture of the faces of the shown phases, the nearest in front (painter's algorithm).

    `engine.plots.view` follows rays instead, which is exact and takes seconds; this is for hundreds of small pictures.

    Args:
        indices: (z, y, x), phase indices below `count`.
        count: number of phases.
        azimuth: direction of the viewer about z, in radians, from x towards y.
        tilt: of the viewer above the horizon, in radians, within (0, pi / 2).
        pixels: sides of the picture.

    Returns:
        [pixels, pixels, 4] red, green, blue, opacity.
    """
    shown = seen_through(indices, count)
    solid = np.pad(shown[np.minimum(indices, count - 1)], 1)
    viewer = np.array([np.sin(tilt), np.cos(tilt) * np.sin(azimuth), np.cos(tilt) * np.cos(azimuth)])
    right = np.array([0.0, np.cos(azimuth), -np.sin(azimuth)])
    up = np.array([np.cos(tilt), -np.sin(tilt) * np.sin(azimuth), -np.sin(tilt) * np.cos(azimuth)])
    size = np.array(indices.shape, float)
    scale = pixels / float(np.linalg.norm(size))  # pixels per voxel: the diagonal fits from every side
    samples = (np.arange(per_side := int(np.ceil(scale)) + 1) + 0.5) / per_side
    inner = (slice(1, -1),) * 3
    points, colours = [_edges(size, 2 * pixels)], [np.full((24 * pixels, 3), _EDGE)]
    for axis in range(3):
        if abs(viewer[axis]) < 1e-9:
            continue
        towards = 1 if viewer[axis] > 0 else -1
        faces = np.argwhere(solid[inner] & ~np.roll(solid, -towards, axis)[inner])  # [F, 3]
        offsets = np.zeros((per_side, per_side, 3))
        offsets[..., axis] = towards > 0
        first, second = (other for other in range(3) if other != axis)
        offsets[..., first], offsets[..., second] = samples[:, None], samples[None, :]
        points.append((faces[:, None] + offsets.reshape(-1, 3) - size / 2).reshape(-1, 3))
        colours.append(np.repeat(_colours(count)[indices[tuple(faces.T)]] * _LIGHT_OF_AXIS[axis], per_side**2, axis=0))
    where, colour = np.concatenate(points), np.concatenate(colours)
    column = (where @ right * scale + pixels / 2).astype(np.int64).clip(0, pixels - 1)
    row = (pixels / 2 - where @ up * scale).astype(np.int64).clip(0, pixels - 1)
    depth = where @ viewer
    colour *= 0.75 + 0.25 * depth[:, None] / (float(np.linalg.norm(size)) / 2)
    order = np.argsort(depth)  # the farthest first: what is nearer is painted over it
    picture = np.zeros((pixels, pixels, 4), np.uint8)
    picture[row[order], column[order], :3] = (255 * colour[order]).clip(0, 255).astype(np.uint8)
    picture[row, column, 3] = 255
    return picture


def _edges(size: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    """[12 * samples, 3] points on the edges of the box about the origin."""
    along = np.linspace(-0.5, 0.5, samples)
    found = []
    for axis in range(3):
        for first in (-0.5, 0.5):
            for second in (-0.5, 0.5):
                edge = np.empty((samples, 3))
                edge[:, axis], edge[:, axis - 1], edge[:, axis - 2] = along, first, second
                found.append(edge * size)
    return np.concatenate(found)


def _colours(count: int) -> NDArray[np.float64]:
    return phase_rgb(min(count, len(PHASE_COLOURS))) if count <= len(PHASE_COLOURS) else phase_rgb(count)


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
