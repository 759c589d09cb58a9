"""What training images say about themselves."""

import numpy as np
import pytest

from engine.micrographs.micrograph import MOST_LISTED, Micrographs, Source, listed


def micrographs(*arrays: np.ndarray) -> Micrographs:
    sources = tuple(Source(name="a", sha256="0" * 64, shape=array.shape, kind="image") for array in arrays)
    return Micrographs(arrays=arrays, phases=("pore", "solid"), labels=(0, 255), sources=sources)


def test_fractions_are_over_all_pixels() -> None:
    one, two = np.zeros((2, 3), np.uint8), np.ones((3, 6), np.uint8)
    assert micrographs(one, two).fractions == pytest.approx((0.25, 0.75))


def test_describe_names_what_is_trained_on() -> None:
    image, wide, volume = (np.zeros(shape, np.uint8) for shape in [(64, 70), (90, 100), (64, 70, 80)])
    assert micrographs(volume).describe() == "trains on the slices of 1 volume 64x70x80 along z, y and x"
    assert micrographs(image).describe() == "trains on 1 image 64x70"
    assert micrographs(wide, image, image).describe() == "trains on 3 images 64x70 to 90x100"
    assert micrographs(volume).is_volume and not micrographs(image).is_volume


def test_images_and_volumes_do_not_mix() -> None:
    with pytest.raises(AssertionError):
        micrographs(np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8))


def test_many_sources_are_listed_together_few_one_by_one() -> None:
    def source(number: int, shape: tuple[int, ...] = (64, 64)) -> Source:
        return Source(name=f"{number}.png", sha256=f"{number:064x}", shape=shape, kind="image")

    few = [source(number) for number in range(MOST_LISTED)]
    assert listed(few) == tuple(few)
    many = [*few, *few[:5], source(999, (80, 80))]
    together, alone = listed(many)
    assert together.name == f"0.png ... 4.png ({MOST_LISTED + 5} files)" and together.shape == (64, 64)
    assert alone == many[-1]
    changed = [source(7_777), *many[1:]]
    assert listed(changed)[0].sha256 != together.sha256
