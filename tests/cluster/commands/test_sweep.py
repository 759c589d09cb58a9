import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from studies.reading import recipe_names
from studies.table import read_structures
from tests.bundles import write_untrained_bundle
from tests.cluster.conftest import Call
from tests.conftest import BEREA

ZOO = BEREA.parent

STUDY = """
bundle: {bundle}
size: 32
seed: 1
trials: 9
search:
  fraction[pore]: {{low: 0.5, high: 0.7, tolerance: 0.05}}
objective: {{maximize: "diffusivity[pore,z]"}}
settings: {{guidance_iterations: 3}}
"""


OWN = """
def lower(phases):
    pores = phases[0]
    return pores[: len(pores) // 2].sum() / pores.sum()
"""
"""Share of the pores in the lower half: about a half."""


@pytest.fixture
def study(call: Call, untrained: Path) -> Path:
    """`tiny.yaml` in the folder that commands run in."""
    path = Path("tiny.yaml")
    path.write_text(STUDY.format(bundle=untrained))
    return path


def test_check_prints_the_plan_and_writes_nothing(call: Call, study: Path, tmp_path: Path) -> None:
    called = call("sweep", study, "--trials", 3, "--check")
    assert called.status == 0, called.stderr
    assert "plan: 3 trials of 1 structure (3 volumes of 32x32x32)" in called.stdout
    assert re.search(r"estimate: about .+ with one design actor, \d+ kB of disk .*timed on this machine", called.stdout)
    assert "into runs/tiny (new)" in called.stdout
    assert [path.name for path in (tmp_path / "cwd").iterdir()] == ["tiny.yaml"]


def test_what_is_not_to_be_expected_is_said_once_and_checked_too(call: Call, study: Path) -> None:
    study.write_text(
        study.read_text().replace("objective:", "  diffusivity[pore]: {low: 0.1, high: 0.5, tolerance: 1%}\nobjective:")
    )
    called = call("sweep", study, "--check")
    assert called.status == 0, called.stderr
    [line] = [line for line in called.stderr.splitlines() if line.startswith("warning: ")]
    assert "diffusivity[pore]: asked for is at least 0.495" in line and "Hashin and Shtrikman" in line
    assert line.endswith("(in part of the search, as with fraction[pore] at 0.5, diffusivity[pore] at 0.5)")
    assert "warning" not in called.stdout


def test_a_search_beyond_the_bounds_for_its_materials_is_refused(refused: Call, study: Path) -> None:
    Path("stone.yaml").write_text("phases: {pore: {conductivity: 0}, solid: {conductivity: 2}}")
    searched = "  conductivity[z]: {low: 1.3, high: 2, tolerance: 1%}\nobjective:"
    study.write_text(study.read_text().replace("objective:", searched) + "materials: stone.yaml\n")
    line = refused("sweep", study, "--check")
    assert "tiny.yaml: search: no point of it can be met" in line and "feasible range [0, 1.1]" in line


STAND_INS = {
    "nmc": ("nmc-cathode", ("pore", "nmc", "binder")),
    "sofc": ("sofc-anode", ("a", "b", "c")),
    "separator": ("separator", ("a", "b")),
    "carbonate": ("carbonate", ("solid", "pore")),
    "fibre": ("fibre-composite", ("matrix", "fibre")),
}
"""Of bundles that recipes need and that do not ship: name and phases, by the first word of the recipe."""


@pytest.mark.parametrize("recipe", [name for name in recipe_names() if not name.startswith("berea")])
def test_recipes_check_as_soon_as_their_bundle_is_there(
    call: Call, refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    bundle, phases = STAND_INS[recipe.partition("_")[0]]
    monkeypatch.setenv("MESOFORGE_BUNDLES", str(tmp_path / "bundles"))
    if not (ZOO / bundle).is_dir():
        assert f"'{bundle}'" in refused("sweep", recipe, "--check")
    write_untrained_bundle(tmp_path / "bundles" / bundle, phases)
    monkeypatch.setattr("cluster.plan._probe", lambda config, shape: 1.0)  # stiffness of noise takes its time
    called = call("sweep", recipe, "--check")
    assert called.status == 0, called.stderr
    assert f"into runs/{recipe} (new)" in called.stdout and "estimate: about" in called.stdout


def test_the_schema_needs_no_study(call: Call) -> None:
    schema = json.loads(call("sweep", "--schema").stdout)
    assert {"bundle", "search", "objectives", "map"} <= schema["properties"].keys()


def test_a_study_is_needed_otherwise(refused: Call) -> None:
    assert "give a study file or the name of a recipe" in refused("sweep")


def test_a_sweep(call: Call, study: Path, repository: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole program on a real local Ray, in a process of its own, with a RAY_ADDRESS that leads nowhere; it asks
    for a property of the user's own, whose module only the driver's path knows."""
    Path("own").mkdir()
    Path("own/sweep_models.py").write_text(OWN)
    study.write_text(study.read_text() + 'properties: {lower: sweep_models:lower}\ntargets: ["lower>=0.1"]\n')
    code = "import sys; sys.path.append('own'); from cluster.cli import main; main()"
    command = [sys.executable, "-c", code, "sweep", str(study), "--trials", "2", "--json"]
    environment = os.environ | {"RAY_ADDRESS": f"127.0.0.1:{closed_port}", "PYTHONPATH": str(repository)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["trials_done"], summary["structures"], summary["failed"]) == (2, 2, 0)
    assert {row["status"] for row in summary["best_rows"]} <= {"attained", "missed"}
    measured = read_structures(Path("runs/tiny"))
    assert all(0.4 < value < 0.6 for value in measured["property_lower"].to_pylist())
    assert set(measured["property_lower_outcome"].to_pylist()) == {"measured"}
    assert "sweep: 2 trials" in done.stderr and "structures/s" in done.stderr
    assert summary["warnings"] == []
    assert summary["time"]["busy_s"]["design-0"] > 0 and summary["stopped"] == "budget"
    folder = Path("runs/tiny")
    assert len(list((folder / "volumes").glob("*.parquet"))) == 2
    monkeypatch.syspath_prepend("own")
    plan = call("sweep", study, "--trials", 5, "--check").stdout
    assert "(goes on with the study there)" in plan and "mean of the 2 structures there" in plan


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("trials:", "trails:"), ["tiny.yaml", "trails", "did you mean 'trials'"]),
        (("tolerance: 0.05", "tolerence: 0.05"), ["tolerence", "did you mean 'tolerance'"]),
        (("fraction[pore]", "fraction[por]"), ["por", "did you mean 'pore'"]),
        (("low: 0.5, high: 0.7", "low: 1.3, high: 1.4"), ["[0, 1]"]),
        (("size: 32", "size: 33"), ["33x33x33"]),
        (("trials: 9", "trials: 0"), ["trials"]),
        (
            ("trials: 9", "trials: 9\nproperties: {lower: no_such_module:lower}"),
            ["property lower: no_such_module:lower cannot be imported", "PYTHONPATH"],
        ),
        (("size: 32", "size: ["), ["tiny.yaml"]),
        (
            ("fraction[pore]: {", "tpb_density: {"),
            ["tpb_density", "needs 3 phases"],
        ),
    ],
)
def test_refuses_a_study(refused: Call, study: Path, change: tuple[str, str], words: list[str]) -> None:
    text = study.read_text()
    assert change[0] in text
    study.write_text(text.replace(*change))
    line = refused("sweep", study)
    assert all(word in line for word in words), line


def test_refuses_a_study_that_does_not_exist(refused: Call) -> None:
    assert "did you mean 'berea_transport'" in refused("sweep", "berea_transprot")


def test_refuses_no_trials(refused: Call, study: Path) -> None:
    assert "--trials 0" in refused("sweep", study, "--trials", 0)


def test_refuses_a_folder_that_holds_something_else(refused: Call, study: Path) -> None:
    Path("out").mkdir()
    Path("out/thesis.txt").write_text("the only copy")
    line = refused("sweep", study, "--out", "out")
    assert "out" in line and "thesis.txt" in line


def test_refuses_an_address_that_nothing_answers_at(refused: Call, study: Path, closed_port: int) -> None:
    address = f"ray://127.0.0.1:{closed_port}"
    line = refused("sweep", study, "--address", address)
    assert address in line and "nothing answers" in line


def test_refuses_what_listens_but_is_no_ray(refused: Call, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.connect.PROTOCOL_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        line = refused("sweep", study, "--address", f"ray://127.0.0.1:{listener.getsockname()[1]}")
    assert "cannot be used as a Ray cluster" in line


def test_refuses_a_bundle_with_changed_weights(refused: Call, study: Path, untrained: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(untrained, damaged)
    weights = damaged / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    study.write_text(STUDY.format(bundle=damaged))
    line = refused("sweep", study)
    assert str(weights) in line and "sha256" in line
