import numpy as np
import pytest

from engine.errors import InputError
from engine.export.images import write_image
from engine.micrographs.read import read_label_file

IMAGE = (np.arange(12).reshape(3, 4) % 3).astype(np.uint8)


@pytest.mark.parametrize("size_um", [None, 0.25])
def test_an_image_reads_back_with_its_pixel_size(tmp_path, size_um):
    labels, found = read_label_file(write_image(IMAGE, tmp_path / "a.tif", size_um))
    assert np.array_equal(labels, IMAGE)
    assert found == size_um


@pytest.mark.parametrize(
    ("labels", "name", "words"),
    [
        (IMAGE[None], "a.tif", r"image \(y, x\)"),
        (IMAGE.astype(float), "a.tif", "integers"),
        (IMAGE, "a.png", "as TIFF"),
        (IMAGE, "none/a.tif", "does not exist"),
    ],
)
def test_refuses(tmp_path, labels, name, words):
    with pytest.raises(InputError, match=words):
        write_image(labels, tmp_path / name)
    assert not list(tmp_path.iterdir())
