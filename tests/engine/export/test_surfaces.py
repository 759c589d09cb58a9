"""Surfaces are closed whatever the voxels, and enclose what the voxels fill. trimesh judges."""

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from engine.errors import InputError
from engine.export.surfaces import APART, FREEDOM, smooth_surface, voxel_surface
from tests.structures import checkerboard, level_cut, sphere

BOTH = pytest.mark.parametrize("make", [voxel_surface, smooth_surface])


def as_a_file_gives_it(surface: tuple[NDArray[np.float64], NDArray[np.int64]]) -> trimesh.Trimesh:
    """Triangles that know nothing of each other, in single precision, joined where corners coincide."""
    vertices, triangles = surface
    return trimesh.Trimesh(**trimesh.triangles.to_kwargs(vertices[triangles].astype(np.float32)))


@BOTH
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_noise_is_closed(make: object, share: float) -> None:
    """Noise holds every way in which voxels can touch: through faces, along edges, in corners, at the border."""
    mesh = as_a_file_gives_it(make(np.random.default_rng(1).random((9, 10, 11)) < share))  # type: ignore[operator]
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0


@BOTH
def test_every_filling_of_eight_voxels_is_closed(make: object) -> None:
    for code in range(1, 256):
        mask = np.array([code >> bit & 1 for bit in range(8)], bool).reshape(2, 2, 2)
        mesh = as_a_file_gives_it(make(mask))  # type: ignore[operator]
        assert mesh.is_watertight and mesh.is_winding_consistent, f"{code:08b}"


def test_voxels_that_touch_along_edges_stay_apart() -> None:
    """A checkerboard: as many closed pieces as cubes."""
    mask = checkerboard((6, 6, 6), 2).astype(bool)
    mesh = as_a_file_gives_it(voxel_surface(mask))
    pieces = mesh.split(only_watertight=True)
    assert len(pieces) == 14 and all(piece.volume == pytest.approx(8, rel=0.01) for piece in pieces)


def test_the_voxel_surface_is_exact() -> None:
    """A smooth random medium: volume = voxels, area = faces, counted on their own, up to where pieces are set apart."""
    mask = level_cut((24, 20, 16), 0.4, 2.0, seed=3).astype(bool)
    mesh = as_a_file_gives_it(voxel_surface(mask))
    padded = np.pad(mask, 1)
    faces = sum(int((np.diff(padded.astype(int), axis=axis) != 0).sum()) for axis in range(3))
    assert mesh.volume == pytest.approx(mask.sum(), rel=APART / 10)
    assert mesh.area == pytest.approx(faces, rel=APART)
    np.testing.assert_allclose(mesh.bounds, [[0, 0, 0], [16, 20, 24]], atol=1.1 * APART)  # (x, y, z)
    off = np.abs(mesh.vertices * 2 - np.round(mesh.vertices * 2)).max()
    assert off <= 2 * APART * (1 + 1e-3)


@pytest.mark.parametrize("radius", [4.0, 8.0, 13.0])
def test_a_smoothed_sphere(radius: float) -> None:
    """Volume within 1 % of the voxels'; area far closer to the sphere's than the voxels' 1.5 times."""
    mask = sphere((32, 32, 32), radius).astype(bool)
    mesh = as_a_file_gives_it(smooth_surface(mask))
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(mask.sum(), rel=0.01)
    assert mesh.area == pytest.approx(4 * np.pi * radius**2, rel=0.08)
    distance = np.linalg.norm(mesh.vertices - 16, axis=1)
    assert abs(distance.mean() - radius) < 0.15 and distance.std() < 0.3


def test_smoothing_moves_no_point_far_and_none_off_the_border() -> None:
    mask = level_cut((20, 20, 20), 0.3, 1.5, seed=5).astype(bool)
    before, triangles = voxel_surface(mask)
    after, same = smooth_surface(mask)
    np.testing.assert_array_equal(triangles, same)
    assert np.abs(after - before).max() <= FREEDOM * (1 + 1e-12)
    for border in (0, 20):
        np.testing.assert_array_equal(after[before == border], border)
    assert as_a_file_gives_it((after, same)).volume == pytest.approx(mask.sum(), rel=0.03)


@BOTH
def test_nothing_to_enclose_is_refused(make: object) -> None:
    for mask in (np.zeros((4, 4, 4), bool), np.ones((4, 4), bool)):
        with pytest.raises(InputError, match="at least one voxel"):
            make(mask)  # type: ignore[operator]
