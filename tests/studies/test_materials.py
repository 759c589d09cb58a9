"""studies.materials: what the phases are made of, from the study file to measured rows."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution

from actors.engines import BundleEngine
from actors.local_pool import LocalPool
from actors.rows import request_columns, request_of_row
from engine.errors import InputError
from engine.properties.materials import load_materials
from studies.config import StudyConfig
from studies.folder import check_folder, freeze
from studies.loop import run_study
from studies.mapping import Coverage
from studies.reading import load_study, parse_study
from studies.space import Points, distributions, infeasible, requests_of
from studies.storage import read_trials
from studies.table import read_structures
from tests.bundles import write_untrained_bundle
from tests.studies.fakes import STUDY, facts

STONE = """
name: stone
phases:
  pore: {conductivity: 0.6, youngs_modulus_gpa: 0}
  solid: {conductivity: 7.7, youngs_modulus_gpa: 95, poissons_ratio: 0.07}
"""
HEAT = "{name: heat, phases: {pore: {conductivity: 0.6}, solid: {conductivity: 3}}}"
POINT = {"fraction[pore]": 0.2, "diffusivity[pore,z]": 0.04}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two files of materials; the second gives no stiffness."""
    texts = {"stone": STONE, "heat": HEAT}
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return {name: tmp_path / f"{name}.yaml" for name in texts}


def read(text: str) -> StudyConfig:
    return parse_study(text, "toy.yaml", default_name="toy", facts=facts)


def with_materials(*paths: Path, more: str = "") -> StudyConfig:
    return read(f"{STUDY}materials: {json.dumps([str(path) for path in paths])}\n{more}")


def test_requests_carry_the_constants_and_what_is_measured_on_request(files: dict[str, Path]) -> None:
    text = STUDY.replace('["fraction[pore]<=0.2"]', '["fraction[pore]<=0.2", "permeability[pore,z]>=0.1"]')
    config = read(f"{text}materials: {files['stone']}\n")
    request = requests_of(config, 0, POINT)[0]
    assert request.materials == load_materials(files["stone"])
    assert [str(metric) for metric in request.metrics] == ["permeability[pore,z]"]
    plain = requests_of(read(text), 0, POINT)[0]
    assert plain.materials is None and plain.structure_id == request.structure_id
    assert request_columns(plain) != request_columns(request)


def test_of_several_the_choice_is_searched(files: dict[str, Path]) -> None:
    config = with_materials(files["stone"], files["heat"])
    names = tuple(str(files[name]) for name in ("stone", "heat"))
    assert distributions(config, 0)["materials"] == CategoricalDistribution(names)
    chosen = [requests_of(config, 0, POINT | {"materials": name})[0].materials for name in names]
    assert [each.name for each in chosen if each] == ["stone", "heat"]
    assert read(config.text()) == config


def test_other_constants_are_another_study(files: dict[str, Path], tmp_path: Path) -> None:
    config = with_materials(files["stone"])
    freeze(config, tmp_path / "out")
    frozen = (tmp_path / "out" / "study.yaml").read_text()
    assert read(frozen) == config
    files["stone"].write_text("# a comment changes nothing\n" + STONE)
    assert check_folder(with_materials(files["stone"]), tmp_path / "out")
    files["stone"].write_text(STONE.replace("7.7", "7.8"))
    with pytest.raises(InputError, match="holds a different study: materials_hash is"):
        check_folder(with_materials(files["stone"]), tmp_path / "out")
    with pytest.raises(InputError, match="are not those this study was made with"):
        read(frozen)


@pytest.mark.parametrize(
    ("materials", "objective", "message"),
    [
        ("", "conductivity[z]", "materials: are missing, and conductivity.z. needs them"),
        ("heat", "elastic_modulus_gpa[x]", "gives no youngs_modulus_gpa for some phase"),
        ("stone", "thermal_expansion[x]", "gives no thermal_expansion_per_k for some phase"),
        ("nowhere", "conductivity[z]", "cannot be read"),
        ("stone, stone", "conductivity[z]", "must differ"),
    ],
)
def test_what_could_never_be_measured_is_refused(
    files: dict[str, Path], materials: str, objective: str, message: str
) -> None:
    text = STUDY.replace('diffusivity[pore,z]"}', f'{objective}"}}')
    if materials:
        text += f"materials: [{', '.join(str(files.get(name, name)) for name in materials.split(', '))}]\n"
    with pytest.raises(InputError, match=message):
        read(text)


def test_a_phase_that_the_materials_lack_is_refused(files: dict[str, Path]) -> None:
    files["stone"].write_text(STONE.replace("solid", "rock"))
    with pytest.raises(InputError, match="does not describe phase 'solid'"):
        with_materials(files["stone"])


STIFF = STUDY.replace("diffusivity[pore,z]: {low: 0.02, high: 0.06", "elastic_modulus_gpa[z]: {low: 60, high: 85")
"""Of the stone, with empty pores, none has more than 81.7: at the least fraction that a point can ask for, 0.14."""


def test_points_beyond_the_bounds_for_the_materials_are_left_out(files: dict[str, Path]) -> None:
    config = read(f"{STIFF}materials: {files['stone']}\n".replace("tpe", "qmc"))
    assert "Voigt and Reuss" in infeasible(config, {"fraction[pore]": 0.2, "elastic_modulus_gpa[z]": 85.0})
    points = Points(config)
    found = [points[index] for index in range(16)]
    assert not any(infeasible(config, point) for point in found)
    assert max(point["elastic_modulus_gpa[z]"] for point in found) > 70


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("low: 60, high: 85", "low: 90, high: 95"),
            r"search: no point .* no structure has it; .* feasible range \[0, ",
        ),
        (("objective:", 'targets: ["conductivity[x]>=7.7"]\nobjective:'), r"conductivity.x.>=7.7: .* feasible range"),
        (
            ('["fraction[pore]<=0.2"]', '["poissons_ratio>=-9", "conductivity<=0.5"]'),
            "constraints: .*conductivity<=0.5",
        ),
    ],
)
def test_what_no_structure_of_the_materials_has_is_refused(
    files: dict[str, Path], change: tuple[str, str], words: str
) -> None:
    text = f"{STIFF}materials: {files['stone']}\n"
    read(text)
    with pytest.raises(InputError, match=words):
        read(text.replace(*change))


def test_one_of_several_materials_that_allows_the_targets_is_enough(files: dict[str, Path]) -> None:
    text = STUDY.replace("objective:", 'targets: ["conductivity[x]>=5"]\nobjective:')
    config = read(f"{text}materials: {json.dumps([str(files[name]) for name in ('heat', 'stone')])}\n")
    assert "no structure has it" in infeasible(config, POINT | {"materials": str(files["heat"])})
    assert not infeasible(config, POINT | {"materials": str(files["stone"])})
    with pytest.raises(InputError, match="no point of it can be met"):
        read(f"{text}materials: {files['heat']}\n")


def test_cells_of_a_map_beyond_the_bounds_are_not_counted(files: dict[str, Path]) -> None:
    box = "map:\n  fraction[pore]: {low: 0.1, high: 0.3, cells: 2}\n  conductivity[z]: {low: 0, high: 10, cells: 2}\n"
    text = f"name: toy\nbundle: toy_bundle\nsize: 8\ntrials: 4\n{box}materials: {files['stone']}\n"
    assert Coverage(read(text)).cells == 4
    text = text.replace("low: 0, high: 10", "low: 0, high: 20")  # conducts 7 at most
    assert Coverage(read(text)).cells == 2


def test_a_sweep_measures_them_into_its_rows(files: dict[str, Path], tmp_path: Path) -> None:
    """The real engine: structures of the same voxels differ in what their materials make of them."""
    write_untrained_bundle(tmp_path / "noise")
    study = tmp_path / "grid.yaml"
    study.write_text(f"""
bundle: {tmp_path / "noise"}
size: 32
sampler: grid
materials: [{files["stone"]}, {files["heat"]}]
search:
  settings.steps: {{values: [1]}}
objective: {{maximize: "conductivity[z]"}}
settings: {{refine_passes: 0}}
""")
    config = load_study(study)
    out = tmp_path / "out"
    with LocalPool(BundleEngine, out, batch_size=2, code_version="1") as pool:
        summary = run_study(config, out, pool)
    assert (summary.trials_done, summary.failed) == (2, 0)
    rows = {row["materials"]: row for row in read_structures(out).to_pylist()}
    pore, solid = rows["stone"]["fraction_pore"], rows["stone"]["fraction_solid"]
    assert 1 / (pore / 0.6 + solid / 7.7) < rows["stone"]["conductivity_z"] < pore * 0.6 + solid * 7.7  # Wiener 1912
    assert rows["stone"]["elastic_modulus_gpa_x_outcome"] and rows["heat"]["elastic_modulus_gpa_x_outcome"] is None
    assert rows["heat"]["conductivity_z"] < rows["stone"]["conductivity_z"]
    assert [trial.params["materials"] for trial in read_trials(out)] and summary.best
    for row in rows.values():
        again = request_of_row(row, config.bundles[0].name)
        assert again.materials is not None and again.materials.hash == row["materials_hash"]
        assert replace(again, structure_id="", seed=0) in [
            replace(request, structure_id="", seed=0)
            for trial in read_trials(out)
            for request in requests_of(config, trial.number, trial.params)
        ]
