"""What all pictures share: the colours of phases and lines, figures that need no display, scale bars."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

# Of neighbours in lightness as far apart as possible, so that phases stay apart in grey and for the colour-blind; the
# first two (pore and solid, as a rule) are the darkest and the lightest.
PHASE_COLOURS = ("#2b5c8a", "#e6dcc6", "#c8643c", "#5f9ea0", "#8c6bb1", "#b5b35c", "#7f8c8d", "#f2a7b5")

# Okabe and Ito (2008), told apart with every common colour blindness; the black first is for the reference.
LINE_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def phase_colour(index: int) -> str:
    """Colour of the phase of that index, as `#rrggbb`; repeats after eight."""
    return PHASE_COLOURS[index % len(PHASE_COLOURS)]


def phase_rgb(count: int) -> NDArray[np.float64]:
    """[count, 3] red, green, blue within 0..1 of the first phases."""
    digits = [phase_colour(index) for index in range(count)]
    return np.array([[int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)] for text in digits])


def new_figure(width: float, height: float) -> "Figure":
    """A figure in inches that shows itself in a notebook without pyplot."""
    from io import BytesIO

    from matplotlib.figure import Figure

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            buffer = BytesIO()
            self.savefig(buffer, format="png", dpi=100)
            return buffer.getvalue()

    return Picture(figsize=(width, height), layout="constrained")


def drawn(figure: "FigureBase | None", width: float, height: float) -> "FigureBase":
    """The figure to draw into: the one given, or a new one of that size in inches."""
    return new_figure(width, height) if figure is None else figure


def scale_bar(axes: "Axes", length_px: float, voxel_size_um: float) -> None:
    """A bar of a round length, about a quarter of the picture, below its lower left corner, with the length in text.

    Args:
        axes: with an image whose pixels have unit size.
        length_px: width of the image.
        voxel_size_um: side of a pixel.
    """
    length_um = round_length(length_px * voxel_size_um / 4)
    axes.annotate(
        "",
        xy=(length_um / voxel_size_um / length_px, -0.035),
        xytext=(0.0, -0.035),
        xycoords="axes fraction",
        arrowprops={"arrowstyle": "-", "lw": 2.5, "shrinkA": 0, "shrinkB": 0, "color": "black"},
        annotation_clip=False,
    )
    axes.text(
        length_um / voxel_size_um / length_px + 0.03,
        -0.035,
        length_text(length_um),
        transform=axes.transAxes,
        va="center",
        ha="left",
        fontsize=8,
    )


def round_length(length: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not above `length`."""
    power = 10.0 ** math.floor(math.log10(length))
    return power * max(step for step in (1, 2, 5) if step * power <= length * (1 + 1e-9))


def length_text(length_um: float) -> str:
    """`200 nm`, `50 µm`, `2 mm`."""
    for unit, size in (("mm", 1e3), ("µm", 1.0), ("nm", 1e-3)):
        if length_um >= size:
            return f"{length_um / size:.4g} {unit}"
    return f"{length_um / 1e-3:.4g} nm"


def legend_of_phases(figure: "FigureBase", names: "list[tuple[str, int]]") -> None:
    """A row of coloured squares with names below the picture. `names`: (text, index of the colour)."""
    from matplotlib.patches import Patch

    patches: list[Any] = [
        Patch(facecolor=phase_colour(index), edgecolor="#555555", linewidth=0.5, label=text) for text, index in names
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=9)
