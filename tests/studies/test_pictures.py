"""studies.pictures: what is seen, from where."""

import io

import numpy as np
from PIL import Image

from studies.pictures import corner_png, phase_indices, seen_from, seen_through, slices_png, turntable_gif


def cross() -> np.ndarray:
    """A thin bar along z through the middle of a block."""
    indices = np.ones((12, 12, 12), np.uint8)
    indices[:, 6, 6] = 0
    return indices


def test_labels_become_places_in_the_list() -> None:
    labels = np.array([[[7, 3, 9]]], np.uint8)
    assert phase_indices(labels, [3, 7]).tolist() == [[[1, 0, 2]]]


def test_one_looks_through_the_most_abundant_phase() -> None:
    assert seen_through(cross(), 2).tolist() == [True, False]
    assert seen_through(np.zeros((2, 2, 2), np.uint8), 3).tolist() == [True, True, True]


def test_a_bar_along_z_stands_upright_from_every_side() -> None:
    for azimuth in (0.3, 1.9, 4.0):
        picture = seen_from(cross(), 2, azimuth=azimuth, tilt=0.4, pixels=200)
        blue = (picture[..., 2].astype(int) > picture[..., 0].astype(int) + 30) & (picture[..., 3] > 0)
        rows, columns = np.nonzero(blue)
        assert len(rows) and np.ptp(rows) > 5 * np.ptp(columns)
        assert abs(columns.mean() - 100) < 12


def test_what_is_in_front_hides_what_is_behind() -> None:
    indices = np.full((12, 12, 12), 2, np.uint8)
    indices[:, :, 10], indices[:, :, 2] = 0, 1  # two walls across x
    for azimuth, seen in ((0.0, 0), (np.pi, 1)):
        picture = seen_from(indices, 3, azimuth=azimuth, tilt=0.05, pixels=120)
        red, blue = int(picture[60, 60, 0]), int(picture[60, 60, 2])
        assert (blue > red) == (seen == 0), "phase 0 is blue, phase 1 sand"


def test_pictures_are_files_of_their_kind() -> None:
    corner = Image.open(io.BytesIO(corner_png(cross(), 2, pixels=60)))
    assert corner.format == "PNG" and corner.size == (60, 60)
    slices = Image.open(io.BytesIO(slices_png(cross()[:, :, :6], 2, side=48)))
    assert slices.size == (48 + 24 + 24 + 12, 48)
    turning = Image.open(io.BytesIO(turntable_gif(cross(), 2, pixels=50, frames=5)))
    assert turning.format == "GIF" and turning.n_frames == 5 and turning.info["loop"] == 0
