import numpy as np
import pytest

from engine.errors import InputError
from engine.evaluation.copying import copying, nearest_mismatch
from engine.evaluation.sets import BlockSet
from engine.micrographs.synthetic.gaussian import LevelCut


def level_cuts(count: int, side: int, first_seed: int) -> np.ndarray:
    material = LevelCut(fraction=0.4, lengths=(3.0,))
    return np.stack([material.sample((side, side), first_seed + seed) for seed in range(count)])


def block_set(blocks: np.ndarray) -> BlockSet:
    return BlockSet(blocks=blocks, phases=("a", "b"), files=1)


def test_the_nearest_crop_is_that_of_trying_them_all():
    generator = np.random.default_rng(0)
    images, training = (generator.integers(0, 3, size=(n, 10, 12), dtype=np.uint8) for n in (3, 4))
    found = nearest_mismatch(images, training)
    for image, mismatch in zip(images, found, strict=True):
        middle = image[2:7, 3:8]
        least = min(
            (crop[y : y + 5, x : x + 5] != np.rot90(each, k)).mean()
            for crop in training
            for y in range(6)
            for x in range(8)
            for each in (middle, middle.T)
            for k in range(4)
        )
        assert mismatch == pytest.approx(least)


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_crop_that_was_shifted_turned_and_mirrored_is_found(turn, mirrored):
    training = level_cuts(3, 40, 0)
    crop = training[1, 9:33, 4:28]
    copy = np.rot90(crop.T if mirrored else crop, turn)[None]
    assert nearest_mismatch(np.ascontiguousarray(copy), training) == pytest.approx([0])
    assert nearest_mismatch(level_cuts(1, 24, 100), training)[0] > 0.02


def test_a_copied_set_is_found_out_and_an_honest_one_is_not():
    truth, training = block_set(level_cuts(16, 32, 0)), block_set(level_cuts(16, 32, 100))
    honest = copying(block_set(level_cuts(16, 32, 200)), truth, training)
    assert honest.passes and honest.copies == 0
    copied = np.stack([np.rot90(np.roll(each, 3, axis=0), 3) for each in training.blocks])
    found = copying(block_set(copied), truth, training)
    assert not found.passes and found.copies == 16 and found.nearest == 0
    one_copy = level_cuts(16, 32, 200)
    one_copy[5] = copied[5]
    assert copying(block_set(one_copy), truth, training).copies == 1


def test_noise_does_not_hide_a_copied_set():
    """5 % of the pixels flipped: no exact copy, but nearer than the truth is."""
    truth, training = block_set(level_cuts(16, 32, 0)), block_set(level_cuts(16, 32, 100))
    flipped = training.blocks ^ (np.random.default_rng(0).random(training.blocks.shape) < 0.05)
    found = copying(block_set(flipped.astype(np.uint8)), truth, training)
    assert not found.passes and found.p_value < 1e-3


def test_without_training_images_the_truth_is_searched_in_itself_but_not_at_its_own_place():
    truth = block_set(level_cuts(12, 32, 0))
    honest = copying(block_set(level_cuts(12, 32, 100)), truth)
    assert honest.reference_nearest > 0.05 and honest.copies == 0
    assert copying(truth, truth).copies == 12


def test_a_slice_copied_into_a_volume_is_found():
    training = LevelCut(fraction=0.4, lengths=(3.0,)).sample((24, 24, 24), 0)[None]
    stacked = np.repeat(training[0, :, 7, :][None, None], 24, axis=1)
    truth = np.stack([LevelCut(fraction=0.4, lengths=(3.0,)).sample((24, 24, 24), seed) for seed in (1, 2)])
    assert copying(block_set(stacked), block_set(truth), block_set(training)).nearest == 0


def test_training_images_must_hold_the_squares():
    with pytest.raises(InputError, match="smaller than squares of 16"):
        nearest_mismatch(level_cuts(1, 32, 0), level_cuts(1, 16, 1)[:, :12])
