"""Every format read back by a tool that is not ours: VTK, meshio, trimesh, tifffile, NumPy."""

from pathlib import Path

import meshio
import numpy as np
import pytest
import tifffile
import trimesh

from engine.errors import InputError
from engine.export.formats import FORMATS, export, export_paths, known_format, known_surface
from tests.structures import level_cut

SIZE_UM = 5.345
PHASES = {"pore": 0, "ni": 7, "ysz": 255}
SHAPE = (6, 7, 8)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    volume = level_cut(SHAPE, 0.5, 1.0, seed=2) * np.uint8(255)
    volume[2:4] = np.where(volume[2:4] == 0, 7, volume[2:4])
    return volume


@pytest.mark.parametrize("format", FORMATS)
def test_the_files_are_those_foretold(tmp_path: Path, labels: np.ndarray, format: str) -> None:
    paths = export(labels, PHASES, tmp_path, "a", format, voxel_size_um=SIZE_UM)
    assert paths == export_paths(tmp_path, "a", format, list(PHASES))
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_tiff_and_npy(tmp_path: Path, labels: np.ndarray) -> None:
    [tiff] = export(labels, PHASES, tmp_path, "a", "tiff", voxel_size_um=SIZE_UM)
    [npy] = export(labels, PHASES, tmp_path, "a", "npy")
    np.testing.assert_array_equal(tifffile.imread(tiff), labels)
    np.testing.assert_array_equal(np.load(npy), labels)


@pytest.mark.parametrize(("size", "spacing"), [(SIZE_UM, SIZE_UM), (None, 1.0)])
def test_vti_is_image_data_of_vtk(tmp_path: Path, labels: np.ndarray, size: float | None, spacing: float) -> None:
    import pyvista

    [path] = export(labels, PHASES, tmp_path, "a", "vti", voxel_size_um=size)
    image = pyvista.read(path)
    assert image.dimensions == (9, 8, 7) and image.spacing == (spacing,) * 3 and image.origin == (0, 0, 0)
    np.testing.assert_array_equal(image.cell_data["phase"].reshape(SHAPE), labels)
    z, y, x = 4, 5, 2
    cell = image.find_containing_cell(((x + 0.5) * spacing, (y + 0.5) * spacing, (z + 0.5) * spacing))
    assert image.cell_data["phase"][cell] == labels[z, y, x]


@pytest.mark.parametrize("surface", ["smooth", "voxel"])
def test_stl_of_every_phase_is_watertight_and_in_micrometres(tmp_path: Path, labels: np.ndarray, surface: str) -> None:
    paths = export(labels, PHASES, tmp_path, "a", "stl", voxel_size_um=SIZE_UM, surface=known_surface(surface))
    total = 0.0
    for path, label in zip(paths, PHASES.values(), strict=True):
        mesh = trimesh.load_mesh(path)
        assert mesh.is_watertight and mesh.is_winding_consistent
        assert b"UNITS=um" in path.read_bytes()[:80]
        if surface == "voxel":
            assert mesh.volume == pytest.approx((labels == label).sum() * SIZE_UM**3, rel=2e-3)
        np.testing.assert_array_less(mesh.bounds[1], np.array(SHAPE[::-1]) * SIZE_UM * (1 + 1e-6))
        total += mesh.volume
    if surface == "voxel":
        assert total == pytest.approx(labels.size * SIZE_UM**3, rel=1e-3)


def test_inp_is_a_mesh_with_the_phases_as_sets(tmp_path: Path, labels: np.ndarray) -> None:
    [path] = export(labels, PHASES, tmp_path, "a", "inp", voxel_size_um=SIZE_UM)
    mesh = meshio.read(path)
    [block] = mesh.cells
    assert block.type == "hexahedron" and len(block.data) == labels.size and len(mesh.points) == 7 * 8 * 9
    corners = mesh.points[block.data]  # [E, 8, (x, y, z)]
    # The Jacobian at a corner is positive and the volume is a voxel's: the corners are numbered as the solver wants.
    edges = [corners[:, i] - corners[:, 0] for i in (1, 3, 4)]
    np.testing.assert_allclose(np.linalg.det(np.stack(edges, axis=1)), SIZE_UM**3, rtol=1e-6)
    np.testing.assert_allclose(corners[:, 6] - corners[:, 0], SIZE_UM, rtol=1e-6)
    middle = np.floor(corners.mean(axis=1) / SIZE_UM).astype(int)[:, ::-1]  # (z, y, x) of the voxel
    covered = np.concatenate([mesh.cell_sets[name][0] for name in PHASES])
    assert sorted(covered) == list(range(labels.size))
    for name, label in PHASES.items():
        members = mesh.cell_sets[name][0]
        assert len(members) == (labels == label).sum()
        assert (labels[tuple(middle[members].T)] == label).all()
    for axis, letter in enumerate("XYZ"):
        there = mesh.points[mesh.point_sets[f"{letter}_MAX"]][:, axis]
        np.testing.assert_allclose(there, SHAPE[2 - axis] * SIZE_UM, rtol=1e-6)
        assert len(there) == np.prod([side + 1 for i, side in enumerate(SHAPE[::-1]) if i != axis])


def test_inp_of_one_phase_leaves_no_node_without_an_element(tmp_path: Path, labels: np.ndarray) -> None:
    [path] = export(labels, {"ni": 7}, tmp_path, "a", "inp")
    mesh = meshio.read(path)
    [block] = mesh.cells
    assert len(block.data) == (labels == 7).sum()
    assert set(np.unique(block.data)) == set(range(len(mesh.points)))
    assert all(len(line.split(",")) <= 16 for line in path.read_text().splitlines())


def test_refusals(tmp_path: Path, labels: np.ndarray) -> None:
    with pytest.raises(InputError, match="did you mean 'stl'"):
        known_format("stll")
    with pytest.raises(InputError, match="valid: smooth, voxel"):
        known_surface("round")
    for format in ("stl", "inp"):
        with pytest.raises(InputError, match="'clay': label 3 has no voxel"):
            export(labels, {"pore": 0, "clay": 3}, tmp_path, "a", format)
    for format in FORMATS:
        with pytest.raises(InputError, match="positive length"):
            export(labels, PHASES, tmp_path, "a", format, voxel_size_um=-1.0)
        with pytest.raises(InputError, match=r"no such folder|does not exist"):
            export(labels, PHASES, tmp_path / "gone", "a", format)
    assert not list(tmp_path.iterdir())
