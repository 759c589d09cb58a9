from dataclasses import dataclass

import numpy as np
import pytest

from engine.errors import InputError
from engine.measure import measure
from engine.metrics import Metric, all_metrics, parse_metric
from engine.outcomes import Outcome


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


def test_an_image_has_descriptors_alone() -> None:
    found = measure(slab()[0], PHASES)
    assert found.values[Metric("fraction", "pore")].value == 0.5
    assert not [metric for metric in found.values if metric.name == "diffusivity"]


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
