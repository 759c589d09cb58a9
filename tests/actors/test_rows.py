from dataclasses import fields, replace

import numpy as np
import pytest

from actors.messages import Failure
from actors.rows import make_failed_row, make_row, request_columns, request_of_row
from engine.design import Generated, Measurement, judge
from engine.errors import InputError
from engine.guidance.targets import Target, parse_target
from engine.metrics import Metric
from engine.outcomes import DesignOutcome, Measured, Outcome
from engine.properties.materials import Materials, PhaseMaterial
from engine.properties.own import parse_property
from engine.request import Request, Settings
from tests.actors.fakes import FakeCard

CARD = FakeCard(name="berea")
HEAD = ["structure_id", "seed", "shape_z", "shape_y", "shape_x", "periodic", "bundle", "bundle_hash", "voxel_size_um"]
HEAD += ["code_version", "sampler", "solver", "steps", "eta", "harmonizing_passes", "harmonizing_blend"]
HEAD += ["refinement", "refine_passes", "guidance", "route", "guidance_weight", "candidates", "guidance_iterations"]
HEAD += ["slice_numbers", "targets", "properties"]
HEAD += ["materials", "materials_hash", "materials_constants"]
TAIL = ["device", "status", "reason", "generate_wall_time_s", "measure_wall_time_s", "volume_sha256"]
VOID = PhaseMaterial(conductivity=(0.0,), youngs_modulus_gpa=(0.0,))
ROCK = PhaseMaterial(conductivity=(3.0,), youngs_modulus_gpa=(60.0,), poissons_ratio=(0.2,))
MEASUREMENT = Measurement(
    values={
        Metric("fraction", "pore"): Measured(value=0.25, outcome=Outcome.MEASURED),
        Metric("surface_area", "pore"): Measured(value=0.125, outcome=Outcome.MEASURED),
        Metric("diffusivity", "pore", "x"): Measured(value=0.0, outcome=Outcome.DOES_NOT_PERCOLATE),
        Metric("diffusivity", "solid", "x"): Measured(value=None, outcome=Outcome.ABSENT),
    },
    curves={},
    wall_time_s=0.75,
)


def row(*targets: Target) -> dict[str, object]:
    request = Request(
        structure_id="a", bundle="berea", shape=(3, 4, 5), seed=7, targets=targets, settings=Settings(steps=9)
    )
    generated = Generated(
        request=request,
        labels=np.ones((3, 4, 5), np.uint8),
        outcome=DesignOutcome.UNGUIDED,
        trace=(),
        wall_time_s=0.5,
    )
    return make_row(
        generated,
        MEASUREMENT,
        CARD,
        outcome=judge(targets, MEASUREMENT),
        device="cpu",
        code_version="1.2",
        volume_sha256="ab",
    )


def test_a_row_holds_who_made_it_how_and_what_was_found() -> None:
    expected = {
        "structure_id": "a",
        "seed": 7,
        "shape_z": 3,
        "shape_y": 4,
        "shape_x": 5,
        "periodic": False,
        "bundle": "berea",
        "bundle_hash": "c0ffee",
        "voxel_size_um": 2.25,
        "code_version": "1.2",
        "sampler": "spectral",
        "solver": None,
        "steps": 9,
        "eta": None,
        "harmonizing_passes": 4,
        "harmonizing_blend": 0.5,
        "refinement": None,
        "refine_passes": None,
        "guidance": "volume",
        "route": "guided",
        "guidance_weight": 1.0,
        "candidates": 8,
        "guidance_iterations": 80,
        "slice_numbers": None,
        "targets": [],
        "properties": [],
        "materials": None,
        "materials_hash": None,
        "materials_constants": None,
        "device": "cpu",
        "status": "unguided",
        "reason": "",
        "generate_wall_time_s": 0.5,
        "measure_wall_time_s": 0.75,
        "volume_sha256": "ab",
        "fraction_pore": 0.25,
        "fraction_pore_outcome": "measured",
        "surface_area_pore_per_voxel": 0.125,
        "surface_area_pore_per_voxel_outcome": "measured",
        "diffusivity_pore_x": 0.0,
        "diffusivity_pore_x_outcome": "does_not_percolate",
        "diffusivity_solid_x": None,
        "diffusivity_solid_x_outcome": "absent",
    }
    assert row() == expected
    assert set(list(row())[: len(HEAD) + len(TAIL)]) == {*HEAD, *TAIL}
    assert all(
        type(value) in (str, int, float, bool, list, type(None)) for value in row().values()
    )  # no enum, no numpy


def test_a_row_that_holds_its_targets_needs_no_reason() -> None:
    made = row(parse_target("fraction[pore]=0.25±0.01"))
    assert (made["status"], made["reason"], made["targets"]) == ("attained", "", ["fraction[pore]=[0.24,0.26]"])


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("fraction[pore]>=0.3", "wanted fraction[pore]>=0.3, got 0.25"),
        ("diffusivity[pore,x]>=0.1", "wanted diffusivity[pore,x]>=0.1, got 0 (does_not_percolate: the phase is"),
        ("diffusivity[solid,x]>=0.1", "wanted diffusivity[solid,x]>=0.1, got no value (absent: "),
        ("diffusivity[pore,z]>=0.1", "wanted diffusivity[pore,z]>=0.1, which was not measured"),
    ],
)
def test_a_missed_target_is_the_reason(target: str, reason: str) -> None:
    made = row(parse_target("surface_area[pore]<=1"), parse_target(target))
    assert made["status"] == "missed"
    assert str(made["reason"]).startswith(reason)
    assert "surface_area" not in str(made["reason"])


def test_a_structure_that_could_not_be_made_has_a_row_too() -> None:
    request = Request(structure_id="a", bundle="berea", shape=(3, 4, 5), seed=7)
    failure = Failure("a", "RuntimeError", "no luck", "trace", 3, 1.0)
    made = make_failed_row(request, failure, code_version="1.2", card=CARD)
    assert set(made) == {*HEAD, *TAIL}
    assert (made["status"], made["reason"]) == ("failed", "RuntimeError: no luck (attempt 3)")
    assert made["bundle_hash"] == "c0ffee"
    assert make_failed_row(request, failure, code_version="1.2")["bundle_hash"] is None


def test_a_row_gives_its_request_back() -> None:
    request = Request(
        structure_id="a",
        bundle="berea",
        shape=(3, 4, 5),
        seed=2**62 + 1,
        targets=(parse_target("fraction[pore]=[0.19,0.21]"), parse_target("diffusivity[pore,z]>=0.05")),
        settings=Settings(
            sampler="harmonized",
            solver="ddpm",
            harmonizing_passes=3,
            harmonizing_blend=0.25,
            steps=9,
            eta=0.0,
            refinement="rounds",
            refine_passes=2,
            guidance="sds-slices",
            route="conditioned+guided",
            guidance_weight=1.5,
            guidance_iterations=3,
            slice_numbers="steps=7",
        ),
        periodic=True,
    )
    assert request_of_row(request_columns(request), "berea") == request


def test_a_row_gives_its_materials_and_what_was_asked_for_back() -> None:
    request = Request(
        structure_id="a",
        bundle="berea",
        shape=(3, 4, 5),
        seed=1,
        materials=Materials(name="stone", phases={"pore": VOID, "solid": ROCK}),
        metrics=(Metric("permeability", "pore", "z"),),
    )
    measured: dict[str, object] = {"fraction_pore": 0.2, "fraction_pore_outcome": "measured"}
    measured |= {"permeability_pore_z_voxel2": None, "permeability_pore_z_voxel2_outcome": "out_of_iterations"}
    stored = request_columns(request) | measured
    assert request_of_row(stored, "berea") == request
    other = replace(request, materials=Materials(name="stone", phases={"pore": VOID, "solid": VOID}))
    assert request_columns(other)["materials_hash"] != stored["materials_hash"]


def test_everything_that_decides_the_voxels_has_a_column() -> None:
    """Whoever adds a field to a request or its settings stores it too."""
    request = Request(structure_id="a", bundle="berea", shape=(3, 4, 5), seed=1)
    columns = set(request_columns(request))
    named = {field.name for field in fields(Request)} - {"bundle", "shape", "settings", "metrics"}  # these have values
    assert named | {field.name for field in fields(Settings)} <= columns
    assert {"shape_z", "shape_y", "shape_x"} <= columns


def test_a_row_from_before_there_were_several_ways_to_guide_was_made_by_the_first() -> None:
    request = Request(structure_id="a", bundle="berea", shape=(3, 4, 5), seed=7)
    stored = request_columns(request)
    assert (
        request_of_row(stored | {"guidance": None, "route": None, "guidance_weight": None}, "berea") == request
    )  # of a newer table with older files
    for name in ("guidance", "slice_numbers", "route", "guidance_weight"):
        del stored[name]
    assert request_of_row(stored, "berea") == request


def test_a_row_of_an_older_version_is_refused() -> None:
    old = row()
    del old["eta"]
    with pytest.raises(InputError, match="its row does not say how it was made"):
        request_of_row(old, "berea")
    later = row()
    del later["refinement"], later["periodic"]
    assert not request_of_row(later, "berea").periodic and request_of_row(later, "berea").settings.refinement is None
    with pytest.raises(InputError, match="guidance_iterations missing"):
        request_of_row(row() | {"guidance_iterations": None}, "berea")


def test_a_table_never_says_which_code_is_run() -> None:
    """The row names the functions; who makes the structure again gives them."""
    own = parse_property("mine=some_models:mine")
    target = parse_target("property[mine]=1±0.1")
    request = Request(structure_id="a", bundle="berea", shape=(3, 4, 5), seed=7, targets=(target,), properties=(own,))
    stored = request_columns(request)
    assert stored["properties"] == ["mine=some_models:mine"]
    with pytest.raises(InputError, match="mine=some_models:mine; it is not run because a table names it"):
        request_of_row(stored, "berea")
    assert request_of_row(stored, "berea", [own]) == request
    other = parse_property("other=some_models:other")
    assert request_of_row(stored, "berea", [own, other]).properties == (own,)
