"""The sharp test of the yardstick: sets of one synthetic material pass at the stated rate, others fail."""

import numpy as np
import pytest

from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.two_point import directional_s2
from engine.evaluation.compare import compare
from engine.evaluation.sets import BlockSet
from engine.evaluation.statistics import judge
from engine.micrographs.synthetic.boolean import OverlappingSpheres
from engine.micrographs.synthetic.gaussian import LevelCut

TRIALS, OURS, TRUTH = 300, 40, 60
LEVEL_CUT = LevelCut(fraction=0.3, lengths=(2.5,))


@pytest.fixture(scope="module")
def curves() -> dict[str, np.ndarray]:
    """S2, lineal path and fraction of 300 pairs of sets, [trials, set, R]."""
    count = TRIALS * (OURS + TRUTH)
    # sixteen 16-voxel quarters of a larger image each: cheaper to draw, and windows as real truth is
    images = np.stack([LEVEL_CUT.sample((64, 64), seed) for seed in range(count // 16 + 1)])
    masks = images.reshape(-1, 4, 16, 4, 16).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 16)[:count] == 1
    # neighbours of one image are not independent: deal them out, so that a set has at most one of each
    masks = masks[np.random.default_rng(0).permutation(count)]
    found = {
        "s2": directional_s2(masks, 8, space_dims=2).mean(dim=1).numpy(),
        "lineal_path": lineal_path(masks, 8, space_dims=2).mean(axis=1),
        "fraction": masks.mean(axis=(1, 2))[:, None],
    }
    return {name: values.reshape(TRIALS, OURS + TRUTH, -1) for name, values in found.items()}


@pytest.mark.parametrize("name", ["s2", "lineal_path", "fraction"])
def test_sets_of_one_material_exceed_the_95th_percentile_about_5_times_in_100(curves, name):
    """Within three standard errors of the binomial law; likewise the median half of the time."""
    results = [
        compare(pair[:OURS], pair[OURS:], draws=400, seed=trial, r_max=None) for trial, pair in enumerate(curves[name])
    ]
    for share, quantile in ((0.05, "null_p95"), (0.5, "null_median")):
        beyond = np.mean([result.observed > getattr(result, quantile) for result in results])
        assert abs(beyond - share) <= 3 * np.sqrt(share * (1 - share) / TRIALS), beyond


def block_set(material, count: int, first_seed: int) -> BlockSet:
    blocks = np.stack([material.sample((32, 32), first_seed + seed) for seed in range(count)])
    return BlockSet(blocks=blocks, phases=("a", "b"), files=count)


def test_a_set_of_another_material_of_the_same_fraction_fails():
    truth = block_set(LevelCut(fraction=0.3, lengths=(3.0,)), 60, 0)
    spheres = judge(block_set(OverlappingSpheres(fraction=0.3, radius=3.0), 40, 500), truth)
    beyond = {each.name for each in spheres if not each.comparison.passes}
    assert {"autocovariance[b]", "surface_area[b]", "chord_lengths[b]"} <= beyond
    same = judge(block_set(LevelCut(fraction=0.3, lengths=(3.0,)), 40, 500), truth)
    assert sum(each.comparison.passes for each in same) >= 10  # of 12, which go together


def test_numbers_carry_means_and_spread():
    truth = block_set(LEVEL_CUT, 30, 0)
    found = {each.name: each for each in judge(block_set(LEVEL_CUT, 20, 100), truth)}
    assert list(found)[:2] == ["fraction[a]", "surface_area[a]"] and len(found) == 12
    fraction = found["fraction[b]"]
    assert fraction.truth == pytest.approx((truth.blocks == 1).mean())
    assert 0.4 < fraction.spread.sd_ratio < 2.5
    assert found["s2[a]"].spread is None and found["s2[a]"].ours is None


def test_a_phase_that_the_truth_has_not_is_said():
    blocks = np.zeros((4, 16, 16), np.uint8)
    found = judge(*(BlockSet(blocks=blocks, phases=("a", "b"), files=1) for _ in range(2)))
    absent = [each for each in found if each.name.endswith("[b]")]
    assert all(each.comparison is None and each.remark for each in absent)
