from io import BytesIO

import numpy as np
import pytest

from engine.errors import InputError
from engine.plots.page import page
from tests import structures

LABELS = structures.level_cut((12, 14, 16), 0.4, 1.5, 0)
CURVES = {f"{name}[{phase}]": np.linspace(0.5, 0.2, 9) for name in ("s2", "lineal_path") for phase in ("a", "b")}


def texts(figure) -> str:
    from matplotlib.text import Text

    return " | ".join(text.get_text() for text in figure.findobj(Text))


def lines(figure) -> int:
    return sum(len(axes.get_lines()) for part in figure.subfigs for axes in part.axes)


def test_a_volume_with_reference_and_field() -> None:
    reference = {key: np.stack([curve, curve + 0.1, curve - 0.1]) for key, curve in CURVES.items()}
    figure = page(
        LABELS,
        ("a", "b"),
        CURVES,
        reference=reference,
        field=np.full((12, 16), np.nan),
        field_title="potential in a",
        voxel_size_um=0.5,
        title="volume.tif",
    )
    written = texts(figure)
    for text in ("volume.tif", "potential in a", "reference (mean of 3, band 5 to 95 %)", "distance r (µm)", "this"):
        assert text in written
    assert lines(figure) == 8  # two curves of two phases, each with its reference
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_an_image_alone() -> None:
    figure = page(LABELS[0], ("a", "b"), CURVES)
    assert lines(figure) == 4 and "distance r (voxels)" in texts(figure)
    assert "reference" not in texts(figure)


def test_without_curves_there_is_no_page() -> None:
    with pytest.raises(InputError, match=r"needs s2\[a\]"):
        page(LABELS, ("a", "b"), {})
