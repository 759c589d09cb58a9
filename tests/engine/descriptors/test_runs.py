import numpy as np
import pytest

from engine.descriptors.runs import as_items, run_lengths
from engine.errors import InputError


def line(text: str) -> np.ndarray:
    return np.array([letter == "#" for letter in text])


def test_runs_of_one_line():
    runs = run_lengths(line("##.#.###..#.#")[None], 0)
    assert runs.lines == 1
    assert np.flatnonzero(runs.whole[0]).tolist() == [1, 3]
    assert runs.whole[0, [1, 3]].tolist() == [2, 1]
    assert np.flatnonzero(runs.cut[0]).tolist() == [1, 2]


def test_a_run_from_border_to_border_is_one_cut_run():
    runs = run_lengths(line("####")[None], 0)
    assert runs.whole.sum() == 0
    assert runs.cut[0].tolist() == [0, 0, 0, 0, 1]


def test_runs_do_not_go_on_in_the_next_line_or_item():
    masks = np.ones((2, 3, 4), dtype=bool)
    assert run_lengths(masks, 1).cut.tolist() == [[0, 0, 0, 0, 3]] * 2
    assert run_lengths(masks, 0).cut.tolist() == [[0, 0, 0, 4]] * 2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_against_labelled_lines(axis):
    """scipy labels the connected pieces of every line; their sizes are the runs."""
    ndimage = pytest.importorskip("scipy.ndimage")
    masks = np.random.default_rng(0).random((3, 7, 8, 9)) < 0.6
    runs = run_lengths(masks, axis)
    along = np.zeros((3, 3, 3), dtype=int)
    along[tuple(slice(None) if other == axis else 1 for other in range(3))] = 1
    for item, mask in enumerate(masks):
        labels, _ = ndimage.label(mask, structure=along)
        ends = np.unique(np.take(labels, [0, -1], axis=axis))
        sizes = np.bincount(labels.ravel())
        cut = np.isin(np.arange(len(sizes)), ends)
        length = masks.shape[axis + 1] + 1
        for chosen, measured in ((~cut, runs.whole), (cut, runs.cut)):
            expected = np.bincount(sizes[1:][chosen[1:]], minlength=length)
            assert measured[item].tolist() == expected.tolist()


def test_grey_values_are_refused_and_zero_one_accepted():
    items, batch = as_items(np.array([[[[0, 1]]]], dtype=np.uint8), 3)
    assert (items.dtype, items.shape, batch) == (np.bool_, (1, 1, 1, 2), (1,))
    with pytest.raises(InputError, match="only 0 and 1"):
        as_items(np.array([[[0, 2]]]), 3)
    with pytest.raises(InputError, match="at least 3 axes"):
        as_items(np.ones((4, 4), dtype=bool), 3)


def test_runs_of_a_periodic_line_go_on_at_its_other_end():
    runs = run_lengths(line("##.#.###..#.#")[None], 0, periodic=True)
    assert np.flatnonzero(runs.whole[0]).tolist() == [1, 3]
    assert runs.whole[0, [1, 3]].tolist() == [2, 2]  # the last voxel joins the first two
    assert runs.cut.sum() == 0


def test_a_periodic_line_that_is_all_phase_has_no_end():
    runs = run_lengths(line("####")[None], 0, periodic=True)
    assert runs.whole.sum() == 0 and runs.cut[0].tolist() == [0, 0, 0, 0, 1]
