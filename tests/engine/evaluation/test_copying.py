import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.evaluation.copying import Copying, busiest_square, copying, nearest_mismatch, telling
from engine.evaluation.sets import BlockSet
from engine.micrographs.synthetic.gaussian import LevelCut


def level_cuts(count: int, side: int, first_seed: int) -> np.ndarray:
    material = LevelCut(fraction=0.4, lengths=(3.0,))
    return np.stack([material.sample((side, side), first_seed + seed) for seed in range(count)])


def judged(ours: BlockSet, truth: BlockSet, training: BlockSet | None = None) -> Copying:
    found = copying(ours, truth, training)
    assert found is not None
    return found


def block_set(blocks: np.ndarray) -> BlockSet:
    return BlockSet(blocks=blocks, phases=("a", "b"), files=1)


def test_the_nearest_crop_is_that_of_trying_them_all():
    generator = np.random.default_rng(0)
    images, training = (generator.integers(0, 3, size=(n, 10, 12), dtype=np.uint8) for n in (3, 4))
    found = nearest_mismatch(images, training)
    for image, mismatch in zip(images, found, strict=True):
        square, _ = busiest_square(image, 5)
        least = min(
            (crop[y : y + 5, x : x + 5] != np.rot90(each, k)).mean()
            for crop in training
            for y in range(6)
            for x in range(8)
            for each in (square, square.T)
            for k in range(4)
        )
        assert mismatch == pytest.approx(least)


def test_the_busiest_square_holds_most_pairs_of_unlike_neighbours():
    for image in np.random.default_rng(0).integers(0, 3, size=(4, 9, 11), dtype=np.uint8):
        crops = [image[y : y + 4, x : x + 4] for y in range(6) for x in range(8)]
        pairs = [int((crop[1:] != crop[:-1]).sum() + (crop[:, 1:] != crop[:, :-1]).sum()) for crop in crops]
        square, most = busiest_square(image, 4)
        assert most == max(pairs) and np.array_equal(square, crops[int(np.argmax(pairs))])


def test_the_result_does_not_depend_on_the_number_of_threads():
    images, training = level_cuts(3, 24, 0), level_cuts(5, 40, 10)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(nearest_mismatch(images, training))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*found)


def test_progress_is_told_and_an_interrupt_ends_the_search():
    images, training = level_cuts(3, 24, 0), level_cuts(5, 40, 10)
    shares: list[float] = []
    nearest_mismatch(images, training, on_progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) == 3

    def interrupt(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nearest_mismatch(images, training, on_progress=interrupt)


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_crop_that_was_shifted_turned_and_mirrored_is_found(turn, mirrored):
    training = level_cuts(3, 40, 0)
    crop = training[1, 9:33, 4:28]
    copy = np.rot90(crop.T if mirrored else crop, turn)[None]
    assert nearest_mismatch(np.ascontiguousarray(copy), training) == pytest.approx([0])
    assert nearest_mismatch(level_cuts(1, 24, 100), training)[0] > 0.02


def test_a_copied_set_is_found_out_and_an_honest_one_is_not():
    truth, training = block_set(level_cuts(16, 32, 0)), block_set(level_cuts(16, 40, 100))
    honest = judged(block_set(level_cuts(16, 32, 200)), truth, training)
    assert honest.passes and honest.copies == 0
    copied = np.stack([np.rot90(each[5:37, 3:35], 3) for each in training.blocks])
    found = judged(block_set(copied), truth, training)
    assert not found.passes and found.copies == 16 and found.nearest == 0
    one_copy = level_cuts(16, 32, 200)
    one_copy[5] = copied[5]
    assert judged(block_set(one_copy), truth, training).copies == 1


@pytest.mark.parametrize(("fraction", "side"), [(0.1, 32), (0.4, 24)])
def test_honest_sets_are_seldom_blamed(fraction, side):
    """Of 30 sets the p-value alone blames 1 or 2; 6 or more in one of 300 such tests, and the seeds are fixed."""
    material = LevelCut(fraction=fraction, lengths=(3.0,))
    images = np.stack([material.sample((side, side), seed) for seed in range(8 * 61)]).reshape(61, 8, side, side)
    training = block_set(images[60])
    found = [judged(block_set(images[k]), block_set(images[30 + k]), training) for k in range(30)]
    assert sum(not each.passes for each in found) <= 5
    assert sum(each.copies for each in found) <= 1


def test_noise_does_not_hide_a_copied_set():
    """5 % of the pixels flipped: no exact copy, but nearer than the truth is."""
    truth, training = block_set(level_cuts(16, 32, 0)), block_set(level_cuts(16, 32, 100))
    flipped = training.blocks ^ (np.random.default_rng(0).random(training.blocks.shape) < 0.05)
    found = judged(block_set(flipped.astype(np.uint8)), truth, training)
    assert not found.passes and found.p_value < 1e-3


def test_without_training_images_the_truth_is_searched_in_itself_but_not_at_its_own_place():
    truth = block_set(level_cuts(12, 32, 0))
    honest = judged(block_set(level_cuts(12, 32, 100)), truth)
    assert honest.reference_nearest > 0.05 and honest.copies == 0
    assert judged(truth, truth).copies == 12


def test_a_slice_copied_into_a_volume_is_found():
    training = LevelCut(fraction=0.4, lengths=(3.0,)).sample((24, 24, 24), 0)[None]
    stacked = np.repeat(training[0, :, 7, :][None, None], 24, axis=1)
    truth = np.stack([LevelCut(fraction=0.4, lengths=(3.0,)).sample((24, 24, 24), seed) for seed in (1, 2)])
    assert judged(block_set(stacked), block_set(truth), block_set(training)).nearest == 0


def test_training_images_must_hold_the_squares():
    with pytest.raises(InputError, match="smaller than squares of 16"):
        nearest_mismatch(level_cuts(1, 32, 0), level_cuts(1, 16, 1)[:, :12])


def test_images_of_nearly_one_phase_say_nothing():
    """One voxel of another phase is found anywhere."""
    spotted = np.zeros((4, 32, 32), dtype=np.uint8)
    spotted[:, 16, 16] = 1
    mixed = np.concatenate([spotted, level_cuts(4, 32, 0)])
    assert telling(mixed).tolist() == [4, 5, 6, 7]
    assert copying(block_set(spotted), block_set(mixed)) is None
    found = judged(block_set(mixed), block_set(level_cuts(8, 32, 50)), block_set(level_cuts(8, 32, 100)))
    assert found.images == 4 and found.copies == 0
