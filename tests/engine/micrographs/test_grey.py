"""Grey-level training images: their range, segmented classes beside them, and what is refused."""

import numpy as np
import pytest

from engine.errors import InputError
from engine.micrographs.grey import level_of, nearest_label, read_grey

NUMBERS = np.random.default_rng(0)
GREY = NUMBERS.integers(0, 256, (64, 70), dtype=np.uint8)
LABELS = NUMBERS.choice(np.array([2, 5, 9], np.uint8), (64, 64))


@pytest.fixture
def save(tmp_path):
    def write(name, array):
        np.save(tmp_path / name, array)
        return tmp_path / name

    return write


def test_eight_bits_stay_as_they_are(save):
    found = read_grey([save("a.npy", GREY // 2)], voxel_size_um=0.5)
    assert np.array_equal(found.arrays[0], GREY // 2) and found.grey == (0, 255) and found.voxel_size_um == 0.5
    assert found.phases == () and found.fractions == () and found.classes == () and found.class_labels == ()


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_others_are_scaled_over_one_range(save, kind):
    """The brightest pixel of the darker image stays darker than that of the brighter one."""
    dark, bright = GREY.astype(kind) + 100, 2 * GREY.astype(kind) + 100
    found = read_grey([save("a.npy", dark), save("b.npy", bright)])
    low, high = 100 + float(GREY.min()), 100 + 2 * float(GREY.max())
    assert found.grey == (low, high)
    for array, values in zip(found.arrays, (dark, bright), strict=True):
        assert array.dtype == np.uint8
        assert np.abs(low + array * (high - low) / 255 - values).max() <= (high - low) / 510 + 1e-6


def test_a_segmented_class_becomes_levels_and_comes_back(save):
    first = np.where(LABELS == 9, 2, LABELS)  # an image without the third label
    classes = {"cut": [save("a.npy", first), save("b.npy", LABELS)], "grey": [save("c.npy", GREY)]}
    found = read_grey(classes=classes)
    assert found.class_labels == ((2, 5, 9), ()) and found.classes == ("cut", "grey")
    assert level_of((2, 5, 9)).tolist() == [0, 128, 255]
    assert np.array_equal(nearest_label(found.arrays[1] / 255, (2, 5, 9)), LABELS)
    assert np.array_equal(nearest_label(found.arrays[0] / 255, (2, 5, 9)), first)
    assert nearest_label(np.array([-0.3, 0.24, 0.26, 1.4]), (2, 5, 9)).tolist() == [2, 2, 5, 9]


def test_images_without_grey_levels_are_refused(save):
    with pytest.raises(InputError, match="every pixel has the value 7; leave the image out"):
        read_grey([save("a.npy", GREY), save("b.npy", np.full((64, 64), 7, np.uint8))])
    with pytest.raises(InputError, match=r"holds 3 values only, which are labels.*--phases in place of --grey"):
        read_grey([save("a.npy", GREY), save("b.npy", LABELS)])
    with pytest.raises(InputError, match=r"class c: .*b.npy holds labels and .*a.npy grey values"):
        read_grey(classes={"c": [save("a.npy", GREY), save("b.npy", LABELS)], "d": [save("c.npy", GREY)]})
    with pytest.raises(InputError, match="class c: holds the values 2, neither"):
        read_grey(classes={"c": [save("a.npy", np.full((64, 64), 2, np.uint8))], "d": [save("c.npy", GREY)]})


def test_bits_are_not_mixed(save):
    with pytest.raises(InputError, match=r"b.npy: has values of type uint16, while .*a.npy has 8 bits"):
        read_grey([save("a.npy", GREY), save("b.npy", GREY.astype(np.uint16) * 256)])


def test_what_any_training_refuses(save, tmp_path):
    with pytest.raises(InputError, match="smaller than the training crop"):
        read_grey([save("a.npy", GREY[:32])])
    with pytest.raises(InputError, match="voxel size: must be a positive length"):
        read_grey([save("a.npy", GREY)], voxel_size_um=-1)
    with pytest.raises(InputError, match=r"holds 2D data|holds 3D data"):
        read_grey([save("a.npy", GREY), save("v.npy", np.stack([GREY] * 64))])
    from PIL import Image

    Image.fromarray(np.stack([GREY, GREY.T[:64, :64].repeat(2, 1)[:, :70], GREY], axis=-1)).save(tmp_path / "c.png")
    with pytest.raises(InputError, match="is in colour"):
        read_grey([tmp_path / "c.png"])
