import numpy as np
import pytest

from engine.descriptors.chords import mean_chord
from engine.descriptors.describe import DESCRIPTORS, describe
from engine.descriptors.two_point import directional_s2
from engine.errors import InputError
from engine.metrics import Metric, all_metrics, parse_metric
from engine.outcomes import Measured, Outcome
from tests import structures

PHASES = {"pore": 0, "ni": 4, "ysz": 9}


def three_phases(seed: int = 0) -> np.ndarray:
    """(18, 20, 22) of labels 0, 4, 9 in blobs."""
    first, second = (structures.level_cut((18, 20, 22), 0.5, 1.5, seed + i) for i in range(2))
    return np.array([0, 4, 9], dtype=np.uint8)[first + first * second]


def test_a_volume_has_every_descriptor_and_its_curves() -> None:
    labels = three_phases()
    found = describe(labels, PHASES)
    assert list(found.values) == [metric for metric in all_metrics(list(PHASES)) if metric.name in DESCRIPTORS]
    assert set(DESCRIPTORS) >= {"fraction", "surface_area", "mean_pore_size", "tpb_density", "percolating_tpb_density"}
    assert found.values[Metric("mean_chord", "ni", "y")].value == pytest.approx(mean_chord(labels == 4)[1])
    curves = ("s2", "lineal_path", "chord_length", "pore_size")
    assert set(found.curves) == {f"{name}[{phase}]" for name in curves for phase in PHASES}
    s2 = directional_s2(labels == 9, 18).mean(dim=0).numpy()
    assert found.curves["s2[ysz]"] == pytest.approx(s2, rel=1e-6)  # as many lags as the shortest side has
    assert all(curve.dtype == np.float32 and len(curve) == 18 for curve in found.curves.values())


def test_an_image_has_no_metric_along_z() -> None:
    found = describe(three_phases()[0], PHASES)
    assert {metric.axis for metric in found.values} == {None, "y", "x"}
    assert found.values[Metric("tpb_density")].value > 0


@pytest.mark.parametrize("labels", [three_phases(), three_phases()[:, :, 0]])
def test_relabelling_changes_nothing(labels: np.ndarray) -> None:
    renamed = np.zeros(256, dtype=np.uint8)
    renamed[list(PHASES.values())] = (200, 7, 0)
    assert (
        describe(renamed[labels], dict(zip(PHASES, (200, 7, 0), strict=True))).values == describe(labels, PHASES).values
    )


def test_only_what_is_asked_for_is_measured() -> None:
    wanted = [parse_metric("surface_area[pore]"), parse_metric("diffusivity[pore,z]"), parse_metric("tpb_density")]
    notes: list[str] = []
    found = describe(three_phases(), PHASES, metrics=wanted, note=notes.append)
    assert list(found.values) == [wanted[0], wanted[2]]  # a diffusivity is no descriptor
    assert "surface_area of pore" in notes and not [note for note in notes if "pore_size" in note]
    assert not [name for name in found.curves if name.startswith("pore_size")]


def test_periodic_volumes() -> None:
    labels = three_phases()
    moved = np.roll(labels, (3, 5, 7), axis=(0, 1, 2))
    before, after = (describe(each, PHASES, periodic=True) for each in (labels, moved))
    for name in ("surface_area[pore]", "euler_number_density[ni]", "mean_pore_size[ysz]", "tpb_density"):
        metric = parse_metric(name)
        assert after.values[metric].value == pytest.approx(before.values[metric].value)
    assert after.curves["lineal_path[pore]"] == pytest.approx(before.curves["lineal_path[pore]"])


def test_an_absent_phase_has_an_outcome() -> None:
    found = describe(np.full((6, 6, 6), 4), {"pore": 0, "ni": 4}).values
    absent = [measured for metric, measured in found.items() if metric.phase == "pore"]
    assert {measured.outcome for measured in absent} == {Outcome.ABSENT}
    assert found[Metric("fraction", "pore")].value == 0.0
    assert found[Metric("mean_pore_size", "pore")].value is None


def test_a_phase_that_fills_the_volume_has_no_length() -> None:
    found = describe(np.full((6, 6, 6), 4), {"pore": 0, "ni": 4}).values
    unbounded = Measured(value=None, outcome=Outcome.UNBOUNDED)
    for name in ("mean_chord[ni,z]", "mean_pore_size[ni]", "mean_grain_size[ni]"):
        assert found[parse_metric(name)] == unbounded
    assert found[parse_metric("connected_fraction[ni,x]")] == Measured(value=1.0, outcome=Outcome.MEASURED)


def test_what_does_not_percolate_says_so() -> None:
    labels = structures.dead_ends((8, 8, 8), 1)
    found = describe(labels, {"wall": 0, "open": 1}).values
    blocked = Measured(value=0.0, outcome=Outcome.DOES_NOT_PERCOLATE)
    assert found[parse_metric("connected_fraction[open,y]")] == blocked
    assert found[parse_metric("connected_fraction[open,z]")].value == 1.0
    labels[0] = 2
    found = describe(labels, {"wall": 0, "open": 1, "lid": 2}).values
    assert found[parse_metric("tpb_density")].value > 0
    assert found[parse_metric("percolating_tpb_density[z]")] == blocked


def test_grains_at_the_border_are_no_mean() -> None:
    """A piece inside beside one from border to border: a splinter is not the size of the grains."""
    labels = np.zeros((20, 20), dtype=np.uint8)
    labels[:8] = labels[12:14, 10:12] = 1
    assert describe(labels, {"a": 0, "b": 1}).values[parse_metric("mean_grain_size[b]")].outcome is Outcome.UNBOUNDED
    labels[:8] = 0
    assert describe(labels, {"a": 0, "b": 1}).values[parse_metric("mean_grain_size[b]")].value == pytest.approx(
        (4 * 4 / np.pi) ** 0.5
    )


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.array([[[0, 4], [9, 7]], [[0, 7], [4, 4]]]), r"7 \(2 voxels\) belong to no phase; declared are pore = 0"),
        (np.zeros((4, 1, 4), dtype=np.uint8), "single layer of voxels along y"),
        (np.zeros((1, 4), dtype=np.uint8), "single layer of voxels along y"),
        (np.full((4, 4, 4), np.nan), "64 values that are NaN"),
        (np.zeros((4, 4, 4)), "values of type float64"),
        (np.zeros(4, dtype=np.uint8), "not of 1 axes"),
    ],
)
def test_bad_labels_are_named(labels: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        describe(labels, PHASES)
