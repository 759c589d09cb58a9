"""Makes the pictures of the page on synthetic materials: a sample of each, in 2D and in 3D.

python docs/pictures_synthetic.py
"""

from typing import Any

import numpy as np
from pictures import save

from engine.micrographs.synthetic.matched import DescriptorMatched
from engine.micrographs.synthetic.materials import MATERIALS, make_material
from engine.plots.style import phase_rgb
from engine.plots.view import view_from_corner

SIDES = {2: (96, 96), 3: (64, 64, 64)}
COLUMNS = 6


def sheet(dimensions: int) -> Any:
    """One sample of every material; in 3D the first phase is see-through where the second says more without it, of
    grey values a slice."""
    from matplotlib.figure import Figure

    rows = -(-len(MATERIALS) // COLUMNS)
    figure = Figure(figsize=(9.0, 1.95 * rows if dimensions == 2 else 2.2 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS).flat
    for name, panel in zip(MATERIALS, panels, strict=False):
        material = make_material(name, dimensions=dimensions)
        labels, colours = material.sample(SIDES[dimensions], seed=1), phase_rgb(max(2, len(material.phases)))
        if len(material.phases) == 2:
            colours = colours[::-1]  # the matrix light, as a background is
        if not material.phases:
            panel.imshow(labels[0] if dimensions == 3 else labels, cmap="gray", vmin=0, vmax=255)
        elif dimensions == 2:
            panel.imshow(colours[labels], interpolation="nearest")
        else:
            shown = np.ones(len(material.phases), dtype=bool)
            shown[0] = name not in ("spheres", "fibres", "disks")
            panel.imshow(view_from_corner(labels, colours, shown, pixels=260))
        panel.set_title(name, fontsize=9)
        panel.set_axis_off()
    for panel in panels:
        panel.set_axis_off()
    return figure


def matched() -> Any:
    """Two targets, and images with their descriptors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 1.75), layout="constrained")
    panels = iter(figure.subplots(1, 6))
    for name in ("sheets", "grains"):
        target = make_material(name, dimensions=2)
        image, colours = target.sample((192, 192), seed=1), phase_rgb(2)[::-1]
        shown = {name: image[:96, :96]}
        for title, more in (("S₂, lineal path", ()), ("and Gram", ("gram",))):
            alike = DescriptorMatched(
                target=image, phases=target.phases, descriptors=("s2", "lineal_path", *more), iterations=300
            )
            shown[title] = alike.sample((96, 96), seed=1)
        for (title, labels), panel in zip(shown.items(), panels, strict=False):
            panel.imshow(colours[labels], interpolation="nearest")
            panel.set_title(title, fontsize=9)
            panel.set_axis_off()
    return figure


if __name__ == "__main__":
    save(matched(), "synthetic_matched")
    for dimensions in SIDES:
        save(sheet(dimensions), f"synthetic_{dimensions}d")
