"""Makes the pictures of these pages from a finished `mesoforge sweep berea_transport`.

python docs/pictures.py runs/berea_transport
"""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

import studies
from engine import plots
from engine.export.surfaces import smooth_surface, voxel_surface
from engine.plots.style import phase_colour
from studies.query import best_rows

IMAGES = Path(__file__).parent / "images"
PHASES = ("pore", "solid")
MOST_BYTES = 200_000


def main(folder: Path) -> None:
    from matplotlib.figure import Figure

    IMAGES.mkdir(exist_ok=True)
    results = studies.open(folder)
    frame = results.structures()
    best = best_rows(folder, 1).to_pylist()[0]["structure_id"]
    labels, size = results.volume(best), float(frame["voxel_size_um"].iloc[0])

    pair = Figure(figsize=(8.0, 4.4), layout="constrained")
    left, right = pair.subfigures(1, 2)
    plots.volume(labels, PHASES, voxel_size_um=size, figure=left)
    plots.volume(labels, PHASES, hide=["solid"], voxel_size_um=size, figure=right)
    save(pair, "volume")
    save(plots.slices(labels, PHASES, voxel_size_um=size), "slices")
    save(plots.map(frame, "fraction_pore", "diffusivity_pore_z", "surface_area_pore_per_voxel"), "map")

    curves = results.curves()
    s2 = np.stack(curves[(curves["curve"] == "s2") & (curves["phase"] == "pore")]["value"].to_list())
    lineal = np.stack(curves[(curves["curve"] == "lineal_path") & (curves["phase"] == "pore")]["value"].to_list())
    page = Figure(figsize=(8.0, 3.2), layout="constrained")
    left, right = page.subfigures(1, 2)
    plots.curves({"structures": s2}, quantity="S₂ (pore)", voxel_size_um=size, figure=left)
    plots.curves({"structures": lineal}, quantity="lineal path (pore)", voxel_size_um=size, figure=right)
    save(page, "curves")
    save(surfaces(labels[:24, :24, :24] == 0), "surfaces")
    save(images(), "images")


def surfaces(mask: "np.ndarray[Any, Any]") -> Any:
    """The same pores along their voxels and smoothed."""
    from matplotlib.figure import Figure
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    figure = Figure(figsize=(8.0, 4.0), layout="constrained")
    for place, (make, title) in enumerate(((voxel_surface, "--surface voxel"), (smooth_surface, "--surface smooth"))):
        vertices, triangles = make(mask)
        corners = vertices[triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
        light = 0.55 + 0.45 * np.clip(normals @ np.array([0.5, -0.3, 0.8]), -0.6, 1)
        red_green_blue = np.array([int(phase_colour(0)[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        panel: Any = figure.add_subplot(1, 2, place + 1, projection="3d")
        panel.add_collection3d(
            Poly3DCollection(corners, facecolors=np.clip(1.5 * light[:, None] * red_green_blue, 0, 1), linewidths=0)
        )
        panel.set(xlim=(0, 24), ylim=(0, 24), zlim=(0, 24), title=title)
        panel.set_box_aspect((1, 1, 1))
        panel.set_axis_off()
    return figure


def images() -> Any:
    """What the doctor tells apart, on random fields."""
    from matplotlib.figure import Figure

    from tests.structures import level_cut

    good = level_cut((1, 256, 256), 0.35, 4.0, 0)[0]
    shown = {
        "good": good,
        "too coarse": level_cut((1, 256, 256), 0.35, 0.9, 1)[0],
        "too few features": level_cut((1, 256, 256), 0.35, 24.0, 2)[0],
        "anisotropic": np.repeat(level_cut((1, 256, 128), 0.35, 3.0, 3)[0], 2, axis=1),
        "speckled": np.where(np.random.default_rng(0).random(good.shape) < 0.02, 1 - good, good).astype(np.uint8),
    }
    figure = Figure(figsize=(8.0, 2.0), layout="constrained")
    for panel, (title, image) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        panel.imshow(np.where(image == 1, 0, 1), cmap="gray", vmin=-0.2, vmax=1.1, interpolation="nearest")
        panel.set_title(title, fontsize=9)
        panel.set_axis_off()
    return figure


def save(figure: Any, name: str) -> None:
    """As PNG with a palette, which halves its size; refuses to grow beyond what a repository should hold."""
    from PIL import Image

    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    picture = Image.open(buffer).convert("RGB").quantize(128)
    picture.save(IMAGES / f"{name}.png", optimize=True)
    size = (IMAGES / f"{name}.png").stat().st_size
    assert size < MOST_BYTES, f"{name}: {size} bytes"
    print(f"{name}: {size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
