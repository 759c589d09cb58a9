"""Voxel meshes solved by CalculiX itself, against stresses that are known in closed form."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from engine.export.formats import export
from tests.docs.blocks import blocks
from tests.structures import laminate

SIZE_UM = 5.345
SHAPE = (6, 4, 5)
PHASES = {"matrix": 0, "layer": 7}
ELASTIC = {"matrix": (3000.0, 0.35), "layer": (70000.0, 0.2)}
"""Young's modulus and Poisson's ratio."""
STRAIN = 1e-3


@pytest.fixture(scope="module")
def ccx() -> str:
    found = shutil.which("ccx")
    if found is None:
        pytest.skip("needs CalculiX: ccx not found (Debian: apt-get install calculix-ccx)")
    return found


def solve(ccx: str, folder: Path, deck: str) -> str:
    """Run a deck; returns what it printed of the elements."""
    (folder / "job.inp").write_text(deck)
    done = subprocess.run([ccx, "-i", "job"], cwd=folder, capture_output=True, text=True, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0 and "Job finished" in done.stdout, done.stdout[-2000:]
    assert "*WARNING" not in done.stdout, done.stdout
    return (folder / "job.dat").read_text()


def stresses(printed: str) -> dict[str, np.ndarray]:
    """By element set, [points, 6] as (xx, yy, zz, xy, xz, yz)."""
    found: dict[str, list[list[float]]] = {}
    name = ""
    for line in printed.splitlines():
        if line.strip().startswith("stresses"):
            name = line.split("set ")[1].split()[0].lower()
        elif name and len(line.split()) == 8:
            found.setdefault(name, []).append([float(word) for word in line.split()[2:]])
    return {name: np.array(rows) for name, rows in found.items()}


def moduli(name: str) -> tuple[float, float]:
    """Lame's first parameter and the modulus of uniaxial strain."""
    young, poisson = ELASTIC[name]
    lame = young * poisson / ((1 + poisson) * (1 - 2 * poisson))
    return lame, lame + young / (1 + poisson)


def expected(strained: int) -> dict[str, np.ndarray]:
    """Stress (xx, yy, zz) of a laminate with normal z, one third layers, whose mean strain is uniaxial.

    Strain along the layers is the same in both phases, stress across them too: the strain across follows per phase
    from the common stress, and adds up to its mean.
    """
    share = {"matrix": 2 / 3, "layer": 1 / 3}
    mean = np.eye(3)[strained] * STRAIN
    compliance = sum(share[name] / moduli(name)[1] for name in PHASES)
    held_back = sum(share[name] * moduli(name)[0] / moduli(name)[1] for name in PHASES) * (mean[0] + mean[1])
    across = (mean[2] + held_back) / compliance
    found = {}
    for name in PHASES:
        lame, uniaxial = moduli(name)
        strain = np.array([mean[0], mean[1], (across - lame * (mean[0] + mean[1])) / uniaxial])
        found[name] = lame * strain.sum() + (uniaxial - lame) * strain
    return found


@pytest.mark.parametrize("strained", [0, 2], ids=["along", "across"])
def test_a_laminate_has_the_stress_of_the_closed_form(ccx: str, tmp_path: Path, strained: int) -> None:
    """Trilinear bricks hold a field that is linear in each layer, so this is exact."""
    labels = laminate(SHAPE, 0, 3, 1) * np.uint8(7)
    [mesh] = export(labels, PHASES, tmp_path, "mesh", "inp", voxel_size_um=SIZE_UM)
    deck = [f"*INCLUDE, INPUT={mesh.name}"]
    for name, (young, poisson) in ELASTIC.items():
        deck += [f"*MATERIAL, NAME=OF_{name}", "*ELASTIC", f"{young}, {poisson}"]
        deck += [f"*SOLID SECTION, ELSET={name}, MATERIAL=OF_{name}"]
    deck += ["*STEP", "*STATIC", "*BOUNDARY"]
    for axis, letter in enumerate("XYZ"):
        moved = STRAIN * SHAPE[2 - axis] * SIZE_UM if axis == strained else 0.0
        deck += [f"{letter}_MIN, {axis + 1}, {axis + 1}, 0.", f"{letter}_MAX, {axis + 1}, {axis + 1}, {moved:.9g}"]
    for name in PHASES:
        deck += [f"*EL PRINT, ELSET={name}", "S"]
    found = stresses(solve(ccx, tmp_path, "\n".join([*deck, "*END STEP", ""])))
    for name, label in PHASES.items():
        assert len(found[name]) == 8 * (labels == label).sum()  # eight points of integration
        want = np.array([*expected(strained)[name], 0, 0, 0])
        np.testing.assert_allclose(found[name], np.broadcast_to(want, found[name].shape), rtol=2e-5, atol=1e-4)


def test_the_example_of_the_page_runs(ccx: str, tmp_path: Path, repository: Path) -> None:
    """A block that may widen freely has the stress E times strain; the page strains 64 voxels of 5.345 µm."""
    [deck] = [text for text in blocks(repository / "docs" / "export.md", "text") if "*STEP" in text]
    name = deck.split("INPUT=")[1].split()[0]
    export(np.ones((64, 2, 2), np.uint8), {"solid": 1}, tmp_path, name.removesuffix(".inp"), "inp", voxel_size_um=5.345)
    found = stresses(solve(ccx, tmp_path, deck))["solid"]
    np.testing.assert_allclose(found[:, 2], -95000 * 1e-3, rtol=1e-3)
    np.testing.assert_allclose(np.delete(found, 2, axis=1), 0, atol=0.05)
