import numpy as np
import pytest

from engine.errors import InputError
from engine.metrics import Metric, parse_metric
from engine.outcomes import Outcome
from engine.properties.materials import Materials, PhaseMaterial
from engine.properties.measured import measure_properties
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
    by_name = {str(metric): (measured.value, measured.outcome) for metric, measured in found.items()}
    assert by_name["conductivity[x]"] == (pytest.approx(1.0), Outcome.CONVERGED)
    assert by_name["conductivity[y]"] == (pytest.approx(1.5), Outcome.CONVERGED)
    assert by_name["conductivity[z]"] == (0, Outcome.DOES_NOT_PERCOLATE)
    assert by_name["elastic_modulus_gpa[x]"] == (pytest.approx(5, rel=1e-3), Outcome.CONVERGED)
    assert by_name["elastic_modulus_gpa[z]"] == (0, Outcome.DOES_NOT_PERCOLATE)
    assert by_name["thermal_expansion[x]"] == (None, Outcome.DOES_NOT_PERCOLATE)
    assert len(found) == 9


def test_a_solid_cell_expands_and_permeability_comes_on_request_alone() -> None:
    pores = structures.channel((4, 6, 6), 0, 2)
    labels = np.where(pores, 9, 4).astype(np.uint8)
    wanted = [Metric("permeability", "pore", "z"), Metric("thermal_expansion", None, "y"), Metric("fraction", "pore")]
    found = measure_properties(labels, PHASES, MATERIALS, wanted)
    assert set(found) == set(wanted[:2])
    assert found[wanted[0]].value > 0 and found[wanted[0]].outcome is Outcome.CONVERGED
    assert found[wanted[1]].value == pytest.approx(7e-6, rel=1e-4)
    assert not measure_properties(labels, PHASES, None)


def test_what_is_lacking_is_named() -> None:
    with pytest.raises(InputError, match="--materials"):
        measure_properties(plates(), PHASES, None, [parse_metric("conductivity[z]")])
    bare = Materials(name="bare", phases={"pore": PhaseMaterial(), "solid": PhaseMaterial(conductivity=(1.0,))})
    assert not measure_properties(plates(), PHASES, bare)
    with pytest.raises(InputError, match="'pore' has no conductivity"):
        measure_properties(plates(), PHASES, bare, [parse_metric("conductivity[z]")])
    with pytest.raises(InputError, match="label 9"):
        measure_properties(plates(), {"solid": 4}, MATERIALS, [parse_metric("conductivity[z]")])
