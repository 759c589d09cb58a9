"""`mesoforge export`, on the folder of `reconstruct` and on that of a sweep."""

from pathlib import Path

import meshio
import numpy as np
import pytest
import pyvista
import trimesh

from actors.volumes import VolumeWriter, volume_sha256
from engine.export.volumes import read_volume, write_volume
from studies.table import read_structures, write_rows
from tests.cluster.conftest import Call
from tests.structures import level_cut


@pytest.fixture
def made(call: Call, untrained: Path) -> str:
    """Id of the one structure in the folder `out`."""
    call("reconstruct", "--model", untrained, "--size", 32, "--out", "out")
    return str(read_structures(Path("out")).to_pylist()[0]["structure_id"])


@pytest.fixture
def swept(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Folder of a sweep with structure `abcd1` (phases pore 3 and ysz 9; no nickel), `abcd2` that failed."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    labels = np.where(level_cut((8, 8, 8), 0.25, 1.0, seed=1) == 1, 3, 9).astype(np.uint8)
    VolumeWriter(folder).write("abcd1", labels, 0.5, {})
    fractions = {"fraction_pore": 0.25, "fraction_ni": 0.0, "fraction_ysz": 0.75}
    row = {"structure_id": "abcd1", "status": "missed", "volume_sha256": volume_sha256(labels), **fractions}
    failed = {"structure_id": "abcd2", "status": "failed", "reason": "out of memory"}
    write_rows(folder, [row, failed], ("pore", "ni", "ysz"))  # type: ignore[list-item]
    return folder, labels


def test_a_reconstruction_in_every_format(call: Call, refused: Call, made: str) -> None:
    called = call("export", "out", made[:6], "--format", "tiff,npy,vti,stl,inp", "--out", "files")
    assert called.status == 0, called.stderr
    names = [f"{made}{end}" for end in (".tif", ".npy", ".vti", "_pore.stl", "_solid.stl", ".inp")]
    assert called.stdout.splitlines() == [f"files/{name}" for name in names]
    labels = read_volume(f"out/{made}.tif").labels
    np.testing.assert_array_equal(read_volume(f"files/{made}.tif").labels, labels)
    image = pyvista.read(f"files/{made}.vti")
    assert image.spacing == (2.0, 2.0, 2.0)  # the bundle's voxel size
    np.testing.assert_array_equal(image.cell_data["phase"].reshape(32, 32, 32), labels)
    assert trimesh.load_mesh(f"files/{made}_pore.stl").is_watertight
    assert len(meshio.read(f"files/{made}.inp").cell_sets["solid"][0]) == (labels == 1).sum()

    path = Path(f"out/{made}.tif")
    path.unlink()
    assert "holds no volume of it" in refused("export", "out", made)
    write_volume(1 - labels, path)
    assert "not the volume that was measured" in refused("export", "out", made)


def test_a_sweep_and_a_phase_that_is_absent(call: Call, swept: tuple[Path, np.ndarray]) -> None:
    folder, labels = swept
    called = call("export", folder, "abcd1", "--format", "stl", "--surface", "voxel")
    assert called.status == 0, called.stderr
    assert called.stdout.splitlines() == ["abcd1_pore.stl", "abcd1_ysz.stl"]
    assert trimesh.load_mesh("abcd1_pore.stl").volume == pytest.approx((labels == 3).sum() * 0.5**3, rel=2e-3)
    assert call("export", folder, "abcd1", "--format", "inp", "--phase", "ysz").status == 0
    [block] = meshio.read("abcd1.inp").cells
    assert len(block.data) == (labels == 9).sum()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["wxyz1"], ["no structure", "wxyz1", "mesoforge query"]),
        (["abcd"], ["2 ids begin so", "give more"]),
        (["abcd2"], ["failed", "out of memory"]),
        (["abcd1", "--format", "stll"], ["did you mean 'stl'"]),
        (["abcd1", "--surface", "round"], ["round", "smooth, voxel"]),
        (["abcd1", "--format", "inp", "--phase", "ni"], ["--phase ni", "pore, ysz"]),
    ],
)
def test_refuses(refused: Call, swept: tuple[Path, np.ndarray], options: list[str], words: list[str]) -> None:
    line = refused("export", swept[0], *options)
    assert all(word in line for word in words), line


def test_a_folder_that_is_not_there(refused: Call) -> None:
    assert "no such folder" in refused("export", "gone", "abcd1")
