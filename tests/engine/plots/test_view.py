"""The view from a corner against solid geometry."""

import numpy as np
import pytest

from engine.plots.view import view_from_corner

COLOURS = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
ALL = np.array([True, True, True])


@pytest.mark.parametrize("shape", [(8, 8, 8), (4, 9, 6), (1, 1, 1)])
def test_a_full_box_covers_its_projection(shape: tuple[int, int, int]) -> None:
    """Cauchy: along n the shadow of a box is the sum of |n_i| times its faces; here every |n_i| is 1/sqrt(3)."""
    pixels = 300
    picture = view_from_corner(np.zeros(shape, np.uint8), COLOURS, ALL, pixels=pixels)
    z, y, x = shape
    height = (2 * z + y + x) / np.sqrt(6)  # extent of the corners along the upward direction of the screen
    area = picture[..., 3].sum() * (height / pixels) ** 2
    assert area == pytest.approx((y * x + z * x + z * y) / np.sqrt(3), rel=0.01)
    assert (picture[picture[..., 3] > 0][:, 0] > 0).all() and not picture[..., 1:3].any()


def test_the_three_near_faces_are_seen_and_where() -> None:
    """Top of the screen: the last layer along z; lower right: along y... each face carries its own colour."""
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[:, -1, :] = 1  # the face that looks towards larger y
    labels[-1] = 2  # the top
    picture = view_from_corner(labels, COLOURS, ALL, pixels=200)
    height, width = picture.shape[:2]
    assert picture[height // 10, width // 2, :3].argmax() == 2
    # y grows to the left and x to the right: the face of the largest y is that on the right of the edge in the middle
    seen = {side: picture[int(0.7 * height), int(side * width), :3].argmax() for side in (0.25, 0.75)}
    assert sorted(seen.values()) == [0, 1]
    assert seen[0.25] == 1, "the face across y lies left"


def test_hidden_phases_are_seen_through() -> None:
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[3:5, 3:5, 3:5] = 1
    picture = view_from_corner(labels, COLOURS, np.array([False, True, True]), pixels=240)
    height = 4 * 8 / np.sqrt(6)
    area = picture[..., 3].sum() * (height / 240) ** 2
    assert area == pytest.approx(3 * 4 / np.sqrt(3), rel=0.03)
    assert picture[120, picture.shape[1] // 2, 1] > 0 and not picture[..., 0].any()


def test_deeper_is_darker() -> None:
    labels = np.ones((16, 16, 16), np.uint8)
    near = view_from_corner(labels, COLOURS, ALL, pixels=100)[..., 1].max()
    labels[:] = 0
    labels[0] = 1
    far = view_from_corner(labels, COLOURS, np.array([False, True, True]), pixels=100)[..., 1].max()
    assert 0 < far < near
