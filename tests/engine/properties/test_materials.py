import json
from pathlib import Path

import pytest
import torch

from engine.errors import InputError
from engine.properties.materials import Materials, PhaseMaterial, load_materials, parse_materials
from engine.properties.stiffness import engineering_constants

TEXT = """
name: glass in epoxy
source: a handbook
phases:
  matrix: {conductivity: 0.2, youngs_modulus_gpa: 3.5, poissons_ratio: 0.35, thermal_expansion_per_k: 60e-6}
  fibre:
    conductivity: [1.2, 1.0, 1.0]
    youngs_modulus_gpa: [72, 70, 70]
    poissons_ratio: [0.2, 0.2, 0.25]
    shear_modulus_gpa: [30, 30, 28]
    thermal_expansion_per_k: [5.0e-6, 6.0e-6, 6.0e-6]
    axes: [z, x]
    doubtful: {conductivity: measured once}
  pore: {conductivity: 0, youngs_modulus_gpa: 0}
"""


def read(tmp_path: Path, text: str) -> Materials:
    path = tmp_path / "materials.yaml"
    path.write_text(text)
    return load_materials(path)


def test_a_file_becomes_tables_in_the_axes_of_the_volume(tmp_path: Path) -> None:
    materials = read(tmp_path, TEXT)
    phases = ["pore", "fibre", "matrix"]
    assert materials.conductivities(phases).tolist() == [[0, 0, 0], [1.2, 1, 1], [0.2] * 3]  # z, y, x
    constants = engineering_constants(materials.stiffnesses(phases)[1])
    assert constants is not None and constants.youngs_modulus_gpa == pytest.approx({"x": 70, "y": 70, "z": 72})
    assert constants.shear_modulus_gpa == pytest.approx({"xz": 30, "yz": 30, "xy": 28})
    assert materials.expansions(phases)[1, :3].tolist() == pytest.approx([6e-6, 6e-6, 5e-6])
    assert (materials.stiffnesses(phases)[0] == 0).all() and materials.phases["pore"].void
    assert materials.phases["fibre"].doubtful == {"conductivity": "measured once"}
    assert materials.gives(phases, "conductivity") and not materials.gives(["resin"], "conductivity")


def test_a_turned_phase_turns_its_expansion() -> None:
    phase = PhaseMaterial(thermal_expansion_per_k=(3e-6, 1e-6, 1e-6), axes=((1.0, 1.0, 0.0), (0.0, 0.0, 2.0)))
    assert phase.expansion().tolist() == pytest.approx([2e-6, 2e-6, 1e-6, 0, 0, 2e-6])
    torch.testing.assert_close(phase.directions() @ phase.directions().T, torch.eye(3, dtype=torch.float64))


def test_a_document_reads_back_and_the_hash_is_that_of_the_constants(tmp_path: Path) -> None:
    materials = read(tmp_path, TEXT)
    again = parse_materials(json.loads(json.dumps(materials.document())), "again")
    assert again == materials and again.hash == materials.hash
    words = TEXT.replace("a handbook", "another one").replace("measured once", "guessed").replace("glass in", "E in")
    assert read(tmp_path, words).hash == materials.hash
    for old, new in (("0.2,", "0.3,"), ("[z, x]", "[x, z]"), ("pore:", "void:")):
        assert read(tmp_path, TEXT.replace(old, new, 1)).hash != materials.hash


def test_the_shipped_table_is_stable_and_marks_its_doubts() -> None:
    materials = load_materials("carbon_fibre_composite")
    assert (torch.linalg.eigvalsh(materials.stiffnesses(["matrix", "fibre"])) > 0).all()
    constants = engineering_constants(materials.stiffnesses(["fibre"])[0])
    assert constants is not None and constants.youngs_modulus_gpa["z"] == pytest.approx(230)
    assert set(materials.phases["fibre"].doubtful) == {"shear_modulus_gpa", "thermal_expansion_per_k"}
    assert "youngs_modulus_gpa" in materials.phases["matrix"].doubtful


def test_the_shipped_fibres_are_stiff_along_x_and_alike_across() -> None:
    [stiffness] = load_materials("t300_epoxy").stiffnesses(["fibre"])
    constants = engineering_constants(stiffness)
    assert constants is not None
    young = constants.youngs_modulus_gpa
    assert [young[axis] for axis in "xyz"] == pytest.approx([230, 15, 15])
    assert stiffness[3, 3] == pytest.approx(7) and stiffness[1, 1] - stiffness[1, 2] == pytest.approx(14, rel=1e-3)


def test_the_shipped_cathode_has_empty_pores_and_stiff_particles() -> None:
    materials = load_materials("nmc_cathode")
    pore, nmc, binder = materials.stiffnesses(["pore", "nmc", "binder"])
    assert not pore.any() and (nmc[0, 0] > 100 * binder[0, 0]) and torch.linalg.eigvalsh(binder).min() > 0
    assert set(materials.phases["nmc"].doubtful) == {"youngs_modulus_gpa", "poissons_ratio"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("conductivity: 0.2", "conductivity: -0.2", "'matrix'.*at least 0"),
        ("conductivity: 0.2", "conductivity: .nan", "'matrix'.*finite"),
        ("conductivity: 0.2", "conductivity: high", "'matrix'.*numbers"),
        ("conductivity: 0.2", "conductivity: true", "'matrix'.*numbers"),
        ("conductivity: 0.2", "conductivity: [1, 2]", "'matrix'.*one number or three"),
        ("conductivity: 0.2", "conductivty: 0.2", "did you mean 'conductivity'"),
        ("poissons_ratio: 0.35,", "", "'matrix'.*poissons_ratio"),
        ("[0.2, 0.2, 0.25]", "[0.2, 0.2, 1.25]", "'fibre'.*positive definite"),
        ("axes: [z, x]", "axes: [z, z]", "'fibre'.*two directions"),
        ("axes: [z, x]", "axes: [z, w]", "'fibre'.*axes"),
        ("axes: [z, x]", "axes: [[1, 1, 0], z]", None),
        ("phases:", "phase:", "phases"),
        ("name: glass", "name: [glass", "YAML"),
        ("{conductivity: measured once}", "{colour: red}", "colour"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str | None) -> None:
    assert old in TEXT
    text = TEXT.replace(old, new)
    if message is None:  # a tilted fibre is fine for stiffness, not for the conductivity of voxels
        with pytest.raises(InputError, match="axes along x, y and z"):
            read(tmp_path, text).conductivities(["fibre"])
        return
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    materials = read(tmp_path, TEXT.replace("conductivity: 0.2, ", ""))
    with pytest.raises(InputError, match="'matrix' has no conductivity"):
        materials.conductivities(["matrix"])
    with pytest.raises(InputError, match="did you mean 'matrix'"):
        materials.stiffnesses(["matrx"])
    with pytest.raises(InputError, match="carbon_fibre_composite"):
        load_materials(tmp_path / "nothing.yaml")
