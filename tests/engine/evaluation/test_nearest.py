import numpy as np
import pytest

from engine.evaluation.nearest import nearest_errors
from engine.micrographs.synthetic.gaussian import LevelCut, Plurigaussian


def images(material, count: int, first_seed: int) -> np.ndarray:
    return np.stack([material.sample((32, 32), first_seed + seed) for seed in range(count)])


LEVEL_CUT = LevelCut(fraction=0.4, lengths=(3.0,))


def test_copies_are_at_zero():
    truth = images(LEVEL_CUT, 6, 0)
    found = nearest_errors(truth[:3], truth, 2)
    assert (found.e_s, found.e_g, found.e_px) == (0, 0, 0)
    assert min(found.reference_e_s, found.reference_e_g, found.reference_e_px) > 0


@pytest.mark.parametrize("material", [LEVEL_CUT, Plurigaussian(lengths=(3.0,))])
def test_e_px_is_the_share_of_differing_pixels_in_the_nearest_image(material):
    ours, truth = images(material, 4, 100), images(material, 5, 0)
    by_hand = 100 * np.median([(truth != image).mean(axis=(1, 2)).min() for image in ours])
    found = nearest_errors(ours, truth, len(material.phases), truth)
    assert found.e_px == pytest.approx(by_hand, rel=1e-5)
    assert found.reference_e_px == pytest.approx(0, abs=1e-6)


def test_another_material_is_farther_than_the_truth_is_from_itself():
    found = nearest_errors(images(LevelCut(fraction=0.15, lengths=(3.0,)), 6, 100), images(LEVEL_CUT, 8, 0), 2)
    assert found.e_s > 2 * found.reference_e_s and found.e_g > found.reference_e_g
    assert "random filters" in found.network
