from dataclasses import dataclass

import numpy as np
import pytest

from engine.errors import InputError
from engine.measure import measure
from engine.metrics import Metric, all_metrics, parse_metric
from engine.outcomes import Outcome
from tests import structures


@dataclass(frozen=True)
class Named:
    """A phase as `measure` takes it."""

    name: str
    label: int


PHASES = (Named("pore", 3), Named("solid", 7))


def slab() -> np.ndarray:
    """Half of the volume, open along z and x."""
    labels = np.full((16, 16, 16), 7, dtype=np.uint8)
    labels[:, 4:12, :] = 3
    return labels


@pytest.mark.parametrize("certify", [True, False])
def test_a_volume_has_descriptors_and_properties(certify: bool) -> None:
    notes: list[str] = []
    found = measure(slab(), PHASES, certify=certify, note=notes.append)
    assert list(found.values) == [metric for metric in all_metrics(["pore", "solid"]) if not metric.kind.needs]
    assert found.values[Metric("fraction", "pore")].value == 0.5
    for axis, value, outcome in (("z", 0.5, Outcome.CONVERGED), ("y", 0.0, Outcome.DOES_NOT_PERCOLATE)):
        measured = found.values[Metric("diffusivity", "pore", axis)]
        assert measured.value == pytest.approx(value, abs=2e-3) and measured.outcome is outcome
    assert found.values[Metric("mean_pore_size", "pore")].value == 8
    assert found.curves["s2[pore]"][0] == 0.5
    assert found.wall_time_s > 0
    assert {"diffusivity of pore", "mean_pore_size of solid"} <= set(notes)


def test_a_mean_of_the_axes_is_measured_where_it_is_asked_for() -> None:
    mean, moved = Metric("diffusivity", "pore"), Metric("mean_chord", "pore")
    found = measure(slab(), PHASES, certify=False, also=[mean, moved])
    values = {axis: found.values[Metric("diffusivity", "pore", axis)].value for axis in "zyx"}
    assert found.values[mean].value == pytest.approx(sum(values.values()) / 3) == pytest.approx(1 / 3, abs=2e-3)
    assert found.values[mean].outcome is Outcome.DOES_NOT_PERCOLATE  # along y
    assert found.values[moved].value is None and found.values[moved].outcome is Outcome.UNBOUNDED
    assert list(measure(slab(), PHASES, certify=False, metrics=[mean]).values) == [
        *(Metric("diffusivity", "pore", axis) for axis in "zyx"),
        mean,
    ]
    image = measure(slab()[:, :, 0], PHASES, certify=False, metrics=[mean]).values
    assert image[mean].value == pytest.approx(0.25, abs=2e-3) and len(image) == 3


def test_curves_are_compared_with_those_of_the_training() -> None:
    curves = measure(slab(), PHASES, metrics=[]).curves
    training = {
        "s2[pore]": (2 * curves["s2[pore]"]).tolist(),
        "lineal_path[solid]": curves["lineal_path[solid]"].tolist(),
    }
    found = measure(slab(), PHASES, certify=False, training=training).values
    assert found[Metric("s2_discrepancy", "pore")].value == pytest.approx(0.5)
    assert found[Metric("lineal_path_discrepancy", "solid")].value == 0
    assert Metric("s2_discrepancy", "solid") not in found


def test_both_solvers_values_are_kept() -> None:
    labels = np.where(structures.level_cut((14, 14, 14), 0.6, 1.2, seed=3), 3, 7).astype(np.uint8)
    both = measure(labels, PHASES).values
    own = measure(labels, PHASES, certify=False).values
    for axis in "zyx":
        certified, ours = both[Metric("diffusivity", "pore", axis)], both[Metric("multigrid_diffusivity", "pore", axis)]
        assert certified.outcome is ours.outcome is Outcome.CONVERGED
        assert certified.value != ours.value and certified.value == pytest.approx(ours.value, rel=5e-3)
        assert own[Metric("diffusivity", "pore", axis)] == own[Metric("multigrid_diffusivity", "pore", axis)] == ours


def test_an_image_is_a_body_of_this_section() -> None:
    image = np.where(structures.level_cut((1, 18, 16), 0.75, 1.5, seed=2)[0], 3, 7).astype(np.uint8)
    found, body = measure(image, PHASES), measure(image[None].repeat(4, 0), PHASES, certify=False)
    assert found.values[Metric("fraction", "pore")].value == np.mean(image == 3)
    assert not [metric for metric in found.values if metric.axis == "z"]
    values = [found.values[Metric("diffusivity", "pore", axis)] for axis in "yx"]
    assert all(0 < each.value < 0.75 and each.outcome is Outcome.CONVERGED for each in values)
    for axis, each in zip("yx", values, strict=True):
        assert each.value == pytest.approx(body.values[Metric("diffusivity", "pore", axis)].value, rel=5e-3)


@pytest.mark.parametrize("certify", [True, False])
def test_a_periodic_structure_goes_on_beyond_its_border(certify: bool) -> None:
    labels = np.roll(slab(), (3, 7), (0, 1))  # now the pore lies on both sides along y
    sealed, periodic = (measure(labels, PHASES, certify=certify, periodic=each).values for each in (False, True))
    chord = Metric("mean_chord", "pore", "y")
    assert periodic[chord].value == 8 > sealed[chord].value
    winding = np.full((8, 8, 8), 7, np.uint8)
    winding[:5, 0], winding[3:, 7] = 3, 3
    metric = Metric("diffusivity", "pore", "z")
    found = [measure(winding, PHASES, certify=certify, periodic=each).values[metric] for each in (False, True)]
    assert found[0].outcome is Outcome.DOES_NOT_PERCOLATE
    assert found[1].outcome is Outcome.CONVERGED and 0.05 < found[1].value < 0.25


@pytest.mark.parametrize("axis", range(3))
def test_a_single_layer_of_voxels_is_named(axis: int) -> None:
    with pytest.raises(InputError, match=f"single layer of voxels along {'zyx'[axis]}"):
        measure(slab().take([0], axis), PHASES)


def test_only_what_is_asked_for() -> None:
    wanted = [parse_metric("diffusivity[pore,x]"), parse_metric("fraction[solid]")]
    found = measure(slab(), PHASES, metrics=wanted, certify=False)
    assert set(found.values) == set(wanted)
    assert not measure(slab(), PHASES, metrics=[]).values


def test_an_absent_phase_has_an_outcome() -> None:
    found = measure(np.full((8, 8, 8), 7, dtype=np.uint8), PHASES)
    assert found.values[Metric("fraction", "pore")].outcome is Outcome.ABSENT
    assert found.values[Metric("diffusivity", "pore", "z")].value == 0.0


def test_a_label_of_no_phase_is_refused() -> None:
    labels = slab()
    labels[0, 0, 0] = 1
    with pytest.raises(InputError, match=r"1 \(1 voxels\) belong to no phase"):
        measure(labels, PHASES)
