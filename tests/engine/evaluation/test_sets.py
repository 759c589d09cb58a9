import numpy as np
import pytest

from engine.errors import InputError
from engine.evaluation.sets import BlockSet, cut_blocks, read_sets


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for name, shape, labels in (
        ("images/a", (16, 40), [3, 7]),
        ("images/b", (20, 16), [3, 7]),
        ("volume", (18, 32, 16), [3, 7]),
        ("three", (16, 32), [3, 7, 9]),
        ("one", (16, 16), [3, 7]),
    ):
        path = tmp_path / f"{name}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, generator.choice(labels, size=shape).astype(np.uint8))
    return tmp_path


def test_blocks_are_disjoint_and_of_one_side():
    array = np.arange(5 * 7, dtype=np.uint8).reshape(5, 7)
    assert cut_blocks(array, 2).tolist()[:2] == [[[0, 1], [7, 8]], [[2, 3], [9, 10]]]
    assert cut_blocks(array, 2).shape == (6, 2, 2)
    volume = np.arange(4 * 4 * 6, dtype=np.uint8).reshape(4, 4, 6)
    assert np.array_equal(cut_blocks(volume, 2)[4], volume[:2, 2:, 2:4])


def test_files_become_phases_in_blocks_of_the_shortest_side(folder):
    ours, truth, training = read_sets([folder / "images"], [folder / "one.npy", folder / "images/a.npy"])
    assert (ours.side, len(ours), len(truth), training) == (16, 3, 3, None)
    assert ours.phases == ("3", "7") and set(np.unique(ours.blocks)) == {0, 1} and ours.files == 2


def test_volumes_meet_images_in_their_middle_slices(folder):
    ours, truth, _ = read_sets([folder / "volume.npy"], [folder / "images"], phases=["p", "q"])
    volume = np.load(folder / "volume.npy")
    assert ours.dimensions == truth.dimensions == 2 and len(ours) == 6
    assert np.array_equal(ours.blocks[1], (volume[:16, 8, :16] == 7).astype(np.uint8))


def test_dense_slices_know_their_block():
    blocks = np.random.default_rng(0).integers(0, 2, (2, 8, 8, 8), dtype=np.uint8)
    found, owners = BlockSet(blocks=blocks, phases=("a", "b"), files=1).dense_slices(1000)
    assert found.shape == (48, 8, 8) and owners.tolist() == [0] * 24 + [1] * 24
    assert np.array_equal(found[8 + 3], blocks[0, :, 3]) and np.array_equal(found[24 + 16 + 5], blocks[1, :, :, 5])
    assert len(BlockSet(blocks=blocks, phases=("a", "b"), files=1).dense_slices(24)[0]) == 24


@pytest.mark.parametrize(
    ("ours", "truth", "options", "words"),
    [
        ("none", "images", {}, "no such file"),
        ("three.npy", "images", {}, r"three.npy \(16x32\): label 9 is not in --against"),
        ("images", "one.npy", {}, "one.npy.*: holds 1 block of 16"),
        ("images", "images", {"block": 17}, "must lie within 8 .. 16"),
        ("images", "images", {"block": 2}, "must lie within 8 .. 16"),
        ("images", "images", {"phases": ["a"]}, "2 labels .* 1 phases named"),
    ],
)
def test_refuses(folder, ours, truth, options, words):
    with pytest.raises(InputError, match=words):
        read_sets([folder / ours], [folder / truth], **options)
