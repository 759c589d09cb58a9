import numpy as np
import pytest

from engine.descriptors.three_point import Lag, half_plane, three_point_correlation
from engine.evaluation.nearest import nearest_errors, three_point_lags
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


def test_e_s_takes_every_third_of_the_papers_lags_which_gives_the_same():
    """Dureth et al., eq. 8 with all 1,985 lags below 32."""
    assert len(half_plane(32)) == 1985 and len(three_point_lags(64)) == 221 and len(three_point_lags(256)) == 221
    material = LevelCut(fraction=0.3, lengths=(5.0,))
    ours, truth = (np.stack([material.sample((64, 64), seed + k) for k in range(2)]) for seed in (0, 10))

    def by_hand(lags: list[Lag]) -> float:
        one, two = (three_point_correlation(each == 1, lags, space_dims=2, periodic=True) for each in (ours, truth))
        apart = (one[:, None] - two[None]).square().mean(dim=(2, 3))  # [ours, truth]
        return 100 * float(apart.amin(dim=1).mean())  # two images: the median is the mean

    found = nearest_errors(ours, truth, 2, truth).e_s
    assert found == pytest.approx(by_hand(three_point_lags(64)), rel=1e-4)
    assert found == pytest.approx(by_hand(half_plane(32)), rel=0.03)


def test_another_material_is_farther_than_the_truth_is_from_itself():
    found = nearest_errors(images(LevelCut(fraction=0.05, lengths=(3.0,)), 6, 100), images(LEVEL_CUT, 8, 0), 2)
    assert found.e_s > 1.3 * found.reference_e_s and found.e_g > 1.3 * found.reference_e_g
    assert "random filters" in found.network
