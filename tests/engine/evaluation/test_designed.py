"""engine.evaluation.designed: attainment, error bars, surfaces and copies of sets whose answers are known."""

import math

import numpy as np
import pytest

from engine.descriptors.surface import natural_surface_area
from engine.errors import InputError
from engine.evaluation.designed import TrainingImages, beside, reached, standard_errors
from engine.evaluation.proportions import wilson_interval
from engine.evaluation.sets import cut_blocks
from engine.guidance.targets import parse_target
from engine.metrics import Metric
from engine.models.bundle import Phase
from tests import structures

PHASES = [Phase(name="pore", label=3, fraction=0.5), Phase(name="solid", label=7, fraction=0.5)]
FRACTION, AREA = Metric("fraction", "pore"), Metric("surface_area", "pore")


def test_each_target_is_counted_with_its_interval_and_spread():
    targets = [parse_target("fraction[pore]=0.2±0.01"), parse_target("maximize diffusivity[pore,z]")]
    values = [{FRACTION: value} for value in (0.195, 0.205, 0.25)] + [{FRACTION: None}]
    first, second = reached(targets, values, {FRACTION: 0.01})
    assert (first.held, first.count, first.interval) == (2, 4, wilson_interval(2, 4))
    assert first.mean == pytest.approx(np.mean([0.195, 0.205, 0.25]))
    assert first.sd == pytest.approx(np.std([0.195, 0.205, 0.25], ddof=1)) and first.error == 0.01
    assert (second.held, second.mean, second.sd, second.error) == (0, None, None, None)


def test_the_error_of_independent_voxels_is_that_of_their_number():
    """Volumes of coin tosses: the standard error of a fraction is sqrt(f (1 - f) / voxels)."""
    generator = np.random.default_rng(0)
    volumes = [np.where(generator.random((32, 32, 32)) < 0.3, 3, 7).astype(np.uint8) for _ in range(4)]
    errors = standard_errors(volumes, PHASES, [FRACTION])
    assert errors[FRACTION] == pytest.approx(math.sqrt(0.3 * 0.7 / 32**3), rel=0.35)  # 28 degrees of freedom


def test_the_error_tells_what_other_volumes_of_the_material_have():
    """Of a correlated field the scatter among volumes is foretold by that within one."""
    large = [
        np.where(structures.level_cut((96, 96, 96), 0.4, 1.5, seed=seed), 3, 7).astype(np.uint8) for seed in (0, 1)
    ]
    volumes = [block for volume in large for block in cut_blocks(volume, 48)]
    metric = Metric("surface_area", "pore")
    errors = standard_errors(volumes, PHASES, [FRACTION, metric])
    scatter = np.std([np.mean(volume == 3) for volume in volumes], ddof=1)
    assert errors[FRACTION] == pytest.approx(scatter, rel=0.5) and 0 < errors[metric] < 0.02


def test_small_volumes_and_costly_metrics_have_no_error():
    small = np.where(structures.level_cut((24, 24, 24), 0.4, 1.5, seed=0), 3, 7).astype(np.uint8)
    assert standard_errors([small], PHASES, [FRACTION]) == {}
    large = np.tile(small, (2, 2, 2))
    assert standard_errors([large], PHASES, [Metric("permeability", "pore", "z")]) == {}


def test_the_expected_surface_is_that_of_the_training_at_the_fraction_reached():
    s2 = [0.2, 0.17]
    row = {FRACTION: 0.2, AREA: 0.13, Metric("s2_discrepancy", "pore"): 0.05}
    [same] = beside([row, row], ["pore"], {"s2[pore]": s2})
    assert same.expected_surface_area == pytest.approx(4 * 0.03) and same.s2_discrepancy == pytest.approx(0.05)
    [more] = beside([{FRACTION: 0.5, AREA: 0.2}], ["pore"], {"s2[pore]": s2})
    assert more.expected_surface_area == pytest.approx(natural_surface_area(s2, 0.5)[0])
    assert more.s2_discrepancy is None
    assert beside([{FRACTION: 0.0, AREA: 0.0}], ["pore"], {"s2[pore]": s2})[0].expected_surface_area is None
    assert beside([{FRACTION: 0.5, AREA: 0.2}], ["pore"], {})[0].expected_surface_area is None


@pytest.fixture
def trained_on(tmp_path):
    images = [np.where(structures.level_cut((48, 48, 48), 0.4, 1.5, seed=seed)[0], 3, 7) for seed in range(6)]
    for number, image in enumerate(images):
        np.save(tmp_path / f"{number}.npy", image.astype(np.uint8))
    return tmp_path, images


def test_copies_of_the_training_images_are_found(trained_on):
    folder, images = trained_on
    images_of = TrainingImages(str(folder), PHASES)
    fresh = np.where(structures.level_cut((48, 48, 48), 0.4, 1.5, seed=99), 3, 7).astype(np.uint8)
    found = images_of.nearest([fresh])
    assert found is not None and found.copies == 0 and found.nearest > 0.1
    copied = np.broadcast_to(images[2].astype(np.uint8), (48, 48, 48)).copy()
    found = images_of.nearest([copied])
    assert found is not None and found.copies >= 1 and found.nearest == 0 and not found.passes


def test_images_with_other_labels_are_refused(trained_on):
    folder, _ = trained_on
    with pytest.raises(InputError, match="label 7 is none of the bundle's"):
        TrainingImages(str(folder), PHASES[:1])
