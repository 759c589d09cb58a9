from dataclasses import replace

import numpy as np
import pytest

from engine.errors import InputError
from engine.metrics import Metric, all_metrics, parse_metric
from engine.outcomes import Measured, Outcome
from engine.properties.materials import Materials, PhaseMaterial
from engine.properties.measured import PROPERTIES, measure_properties
from tests import structures

PHASES = {"pore": 9, "solid": 4}
MATERIALS = Materials(
    name="test",
    phases={
        "pore": PhaseMaterial(conductivity=(0.0,), youngs_modulus_gpa=(0.0,)),
        "solid": PhaseMaterial(
            conductivity=(2.0, 3.0, 5.0),  # along x, y, z
            youngs_modulus_gpa=(10.0,),
            poissons_ratio=(0.3,),
            thermal_expansion_per_k=(7e-6,),
        ),
    },
)


def plates() -> np.ndarray:
    """Half solid (label 4), half pore (9), stacked along z."""
    return np.where(structures.laminate((4, 4, 4), normal=0, period=4, thickness=2), 4, 9).astype(np.uint8)


def test_plates_have_their_properties_along_the_right_axes() -> None:
    found = measure_properties(plates(), PHASES, MATERIALS)
    assert list(found) == [metric for metric in all_metrics(["pore", "solid"]) if metric in found]
    by_name = {str(metric): (measured.value, measured.outcome) for metric, measured in found.items()}
    assert by_name["conductivity[x]"] == (pytest.approx(1.0), Outcome.CONVERGED)
    assert by_name["conductivity[y]"] == (pytest.approx(1.5), Outcome.CONVERGED)
    assert by_name["conductivity[z]"] == (0, Outcome.DOES_NOT_PERCOLATE)
    assert by_name["elastic_modulus_gpa[x]"] == (pytest.approx(5, rel=1e-3), Outcome.CONVERGED)
    assert by_name["elastic_modulus_gpa[z]"] == (0, Outcome.DOES_NOT_PERCOLATE)
    assert by_name["shear_modulus_gpa[xy]"] == (pytest.approx(0.5 * 10 / 2.6, rel=1e-3), Outcome.CONVERGED)
    assert by_name["shear_modulus_gpa[xz]"] == (0, Outcome.DOES_NOT_PERCOLATE)
    assert by_name["poissons_ratio[xy]"] == (pytest.approx(0.3, rel=1e-3), Outcome.CONVERGED)
    for pair in ("xz", "zx"):  # the pores may be as wide as they like
        assert by_name[f"poissons_ratio[{pair}]"] == (None, Outcome.DOES_NOT_PERCOLATE)
    assert by_name["thermal_expansion[x]"] == (None, Outcome.DOES_NOT_PERCOLATE)
    assert by_name["diffusivity[solid,y]"] == (pytest.approx(0.5, rel=2e-3), Outcome.CONVERGED)
    assert by_name["multigrid_diffusivity[pore,z]"] == (0, Outcome.DOES_NOT_PERCOLATE)
    assert len(found) == 18 + 12


def test_a_solid_cell_expands_and_permeability_comes_on_request_alone() -> None:
    pores = structures.channel((4, 6, 6), 0, 2)
    labels = np.where(pores, 9, 4).astype(np.uint8)
    wanted = [Metric("permeability", "pore", "z"), Metric("thermal_expansion", None, "y"), Metric("fraction", "pore")]
    found = measure_properties(labels, PHASES, MATERIALS, wanted)
    assert set(found) == set(wanted[:2])
    assert found[wanted[0]].value > 0 and found[wanted[0]].outcome is Outcome.CONVERGED
    assert found[wanted[1]].value == pytest.approx(7e-6, rel=1e-4)
    assert not measure_properties(labels, PHASES, None, [])


def test_an_image_has_the_properties_of_the_body_that_it_cuts() -> None:
    """Bars of this section, endless along z: stress along x is plane but for z, which nothing holds."""
    image = np.where(structures.laminate((1, 6, 4), normal=1, period=6, thickness=3)[0], 4, 9).astype(np.uint8)
    materials = Materials(
        name="two solids",
        phases={
            "pore": PhaseMaterial(conductivity=(1.0,), youngs_modulus_gpa=(2.0,), poissons_ratio=(0.3,)),
            "solid": PhaseMaterial(conductivity=(3.0,), youngs_modulus_gpa=(8.0,), poissons_ratio=(0.3,)),
        },
    )
    found = measure_properties(image, PHASES, materials, certify=False)
    assert {metric.axis for metric in found} == {"y", "x", "xy", "yx"}
    body = measure_properties(image[None].repeat(3, 0), PHASES, materials, certify=False)
    for metric, measured in found.items():
        assert measured.outcome is body[metric].outcome
        assert measured.value == pytest.approx(body[metric].value, rel=1e-3)
    assert found[Metric("conductivity", None, "x")].value == pytest.approx(2, rel=1e-4)
    assert found[Metric("conductivity", None, "y")].value == pytest.approx(1.5, rel=1e-4)
    assert found[Metric("elastic_modulus_gpa", None, "x")].value == pytest.approx(5, rel=1e-4)  # the same ratio
    asked = Metric("permeability", "pore", "x")
    slit = measure_properties(image, PHASES, None, [asked, Metric("permeability", "pore", "z")])
    # sides are mirrors: the slit of 3 is half of one of 6, (6^2 + 2) / 12 over half of the section
    assert slit == {asked: Measured(value=pytest.approx(38 / 24, rel=1e-3), outcome=Outcome.CONVERGED)}


def test_periodic_sides_reach_the_conductivity_and_are_refused_for_the_flow() -> None:
    labels = np.full((6, 6, 6), 9, np.uint8)
    labels[:4, 0], labels[3:, 5] = 4, 4
    metric = Metric("conductivity", None, "z")
    found = [measure_properties(labels, PHASES, MATERIALS, [metric], periodic=each)[metric] for each in (False, True)]
    assert [each.outcome for each in found] == [Outcome.DOES_NOT_PERCOLATE, Outcome.CONVERGED]
    with pytest.raises(InputError, match=r"permeability\[pore,z\].*mirrors"):
        measure_properties(labels, PHASES, None, [Metric("permeability", "pore", "z")], periodic=True)


def everything(labels: np.ndarray, phases: dict[str, int]) -> dict[str, float | None]:
    """All properties of a cell of three phases, by metric."""
    materials = Materials(
        name="three",
        phases={
            name: PhaseMaterial(
                conductivity=(c,), youngs_modulus_gpa=(e,), poissons_ratio=(nu,), thermal_expansion_per_k=(a,)
            )
            for name, c, e, nu, a in (("pore", 0.1, 1, 0.4, 5e-5), ("a", 1, 10, 0.3, 1e-5), ("b", 5, 30, 0.2, 1e-6))
        },
    )
    wanted = [metric for metric in all_metrics(list(phases)) if metric.name in PROPERTIES]
    found = measure_properties(labels, phases, materials, wanted, certify=False)
    assert set(found) == set(wanted)
    return {str(metric): measured.value for metric, measured in found.items()}


def test_other_labels_and_orders_of_the_phases_change_nothing() -> None:
    labels = 1 + structures.level_cut((7, 6, 8), 0.6, 0.8, seed=1) + structures.level_cut((7, 6, 8), 0.5, 0.8, seed=2)
    one = everything(labels, {"pore": 3, "a": 1, "b": 2})
    renamed = np.array([0, 40, 200, 5], np.uint8)[labels]
    other = everything(renamed, {"b": 200, "pore": 5, "a": 40})
    assert other == {name: pytest.approx(value, rel=1e-4) for name, value in one.items()}


def test_turning_the_volume_turns_its_properties() -> None:
    labels = 1 + structures.level_cut((7, 6, 8), 0.6, 0.8, seed=1) + structures.level_cut((7, 6, 8), 0.5, 0.8, seed=2)
    phases = {"pore": 3, "a": 1, "b": 2}
    one = everything(labels, phases)
    new = {"y": "z", "x": "y", "z": "x"}
    turned = everything(np.ascontiguousarray(np.flip(labels.transpose(1, 2, 0), 1)), phases)  # old y, x, z
    for name, value in one.items():
        metric = parse_metric(name)
        axes = "".join(new[axis] for axis in metric.axis)
        same = parse_metric(str(replace(metric, axis=axes)))  # the letters of a plane in their order
        assert turned[str(same)] == pytest.approx(value, rel=1e-3)


def test_phases_that_all_insulate_and_carry_nothing() -> None:
    nothing = PhaseMaterial(conductivity=(0.0,), youngs_modulus_gpa=(0.0,))
    materials = Materials(name="nothing", phases={"pore": nothing, "solid": nothing})
    found = measure_properties(plates(), PHASES, materials, certify=False)
    for metric in found:
        if metric.kind.needs:
            expected = None if metric.name in ("thermal_expansion", "poissons_ratio") else 0
            assert found[metric] == Measured(value=expected, outcome=Outcome.DOES_NOT_PERCOLATE)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    labels = np.where(structures.channel((4, 6, 6), 0, 2), 9, 4).astype(np.uint8)
    wanted = [metric for metric in all_metrics(list(PHASES)) if metric.name in PROPERTIES]
    assert len(measure_properties(labels, PHASES, MATERIALS, wanted)) == len(wanted)
    assert capfd.readouterr() == ("", "")


def test_an_absent_phase_conducts_nothing() -> None:
    labels = np.full((4, 4, 4), 4, np.uint8)
    for certify in (True, False):
        found = measure_properties(labels, PHASES, MATERIALS, certify=certify)
        for name in ("diffusivity", "multigrid_diffusivity"):
            assert found[Metric(name, "pore", "z")] == Measured(value=0.0, outcome=Outcome.ABSENT)
            assert found[Metric(name, "solid", "z")].value == pytest.approx(1, abs=1e-3)
        assert found[Metric("conductivity", None, "z")].value == pytest.approx(5, rel=1e-4)


def test_what_is_lacking_is_named() -> None:
    with pytest.raises(InputError, match="--materials"):
        measure_properties(plates(), PHASES, None, [parse_metric("conductivity[z]")])
    bare = Materials(name="bare", phases={"pore": PhaseMaterial(), "solid": PhaseMaterial(conductivity=(1.0,))})
    assert not [metric for metric in measure_properties(plates(), PHASES, bare) if metric.kind.needs]
    with pytest.raises(InputError, match="'pore' has no conductivity"):
        measure_properties(plates(), PHASES, bare, [parse_metric("conductivity[z]")])
    with pytest.raises(InputError, match="label 9"):
        measure_properties(plates(), {"solid": 4}, MATERIALS, [parse_metric("conductivity[z]")])
