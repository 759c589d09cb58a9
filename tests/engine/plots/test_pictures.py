"""Slices and whole volumes: what is drawn is what the labels say."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from engine import plots
from engine.errors import InputError
from engine.plots.style import length_text, phase_rgb, round_length

LABELS = np.random.default_rng(0).choice([0, 5, 9], (6, 7, 8)).astype(np.uint8)


def test_slices_show_the_voxels_of_the_planes_asked_for() -> None:
    figure = plots.slices(LABELS, ("a", "b", "c"), at=(1, 2, 3))
    assert len(figure.axes) == 3
    indices = np.searchsorted([0, 5, 9], LABELS)
    for axis, panel in enumerate(figure.axes):
        image = np.asarray(panel.images[0].get_array())
        np.testing.assert_array_equal(image, phase_rgb(3)[indices.take((1, 2, 3)[axis], axis=axis)])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]


def test_an_image_is_one_slice_and_labels_name_themselves() -> None:
    figure = plots.slices(LABELS[0])
    assert len(figure.axes) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["0", "5", "9"]


def test_a_scale_bar_has_the_length_it_says() -> None:
    figure = plots.slices(LABELS, voxel_size_um=10.0)
    panel = figure.axes[0]  # 8 voxels of 10 um along x: a quarter is 20 um, two voxels
    [bar, text] = panel.texts
    assert text.get_text() == "20 µm" and bar.xy[0] == pytest.approx(2 / 8)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("length", "rounded"), [(0.99, 0.5), (1.0, 1.0), (4.9, 2.0), (5.0, 5.0), (99.0, 50.0)])
def test_round_lengths(length: float, rounded: float) -> None:
    assert round_length(length) == pytest.approx(rounded)


def test_length_units() -> None:
    assert [length_text(value) for value in (0.2, 50.0, 1500.0)] == ["200 nm", "50 µm", "1.5 mm"]


def test_a_volume_without_one_phase() -> None:
    figure = plots.volume(LABELS, ("a", "b", "c"), hide=["a"], voxel_size_um=2.0, title="one", pixels=60)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["b", "c"]
    assert figure.axes[0].texts[0].get_text() == "12 µm × 14 µm × 16 µm (z, y, x)"
    assert figure.get_suptitle() == "one"


def test_pictures_save_show_themselves_and_compose() -> None:
    """Bytes of a real PNG of which a good part is not white; and a page of two pictures."""
    figure = plots.volume(LABELS, pixels=60)
    assert isinstance(figure, Figure)
    picture = np.asarray(Image.open(io.BytesIO(figure._repr_png_())).convert("L"))  # type: ignore[attr-defined]
    assert (picture < 250).mean() > 0.2
    page = Figure(figsize=(8, 4), layout="constrained")
    left, right = page.subfigures(1, 2)
    plots.slices(LABELS, figure=left)
    plots.curves({"a": [1.0, 0.5]}, figure=right)
    buffer = io.BytesIO()
    page.savefig(buffer, format="png")
    assert buffer.tell() > 5000


def test_pyplot_stays_out() -> None:
    """Figures of pyplot stay in memory until they are closed; ten thousand thumbnails would not fit."""
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    plots.slices(LABELS)
    plots.volume(LABELS, pixels=20)
    assert plt.get_fignums() == before


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plots.slices(np.zeros((4, 4, 4))), "float64"),
        (lambda: plots.slices(LABELS, ("a", "b")), "2 names for 3 labels"),
        (lambda: plots.slices(LABELS, at=(0, 0, 8)), "at: must hold an index"),
        (lambda: plots.volume(LABELS[0]), "use slices"),
        (lambda: plots.volume(LABELS, ("aa", "bb", "cc"), hide=["bbb"]), "did you mean 'bb'"),
        (lambda: plots.volume(LABELS, ("a", "b", "c"), hide=["a", "b", "c"]), "hides every phase"),
        (lambda: plots.slices(np.arange(1000).reshape(10, 10, 10)), "no phases"),
    ],
)
def test_refuses(call: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()  # type: ignore[operator]
