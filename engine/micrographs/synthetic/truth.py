"""What is known of a synthetic material without measuring a sample, as rows for the user.

The formulas are methods of the materials; the curves they give are sampled at a few lags here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from engine.micrographs.synthetic.adsorption import Disks, Fibres
from engine.micrographs.synthetic.boolean import OverlappingSpheres
from engine.micrographs.synthetic.gaussian import LevelCut, Plurigaussian
from engine.micrographs.synthetic.grains import SizedGrains, VoronoiGrains
from engine.micrographs.synthetic.grid import Material
from engine.micrographs.synthetic.matched import DescriptorMatched
from engine.micrographs.synthetic.microscope import Polycrystal

LAGS = (2, 4, 8, 16)
"""Voxels, at which S2 is given."""
AXES = "zyx"


@dataclass(frozen=True, kw_only=True)
class Known:
    """One known quantity: the expected value over samples, and of fractions by bodies or pixels that of each one."""

    quantity: str
    value: float
    unit: str
    """`-`, `voxel`, `1/voxel` ..."""


def known_truth(material: Material, shape: tuple[int, ...]) -> list[Known]:
    """Everything that is known in closed form of samples of a shape, (y, x) or (z, y, x).

    Interface per volume is that of the continuous material (in 2D length per area); S2 is along x.
    """
    return [
        Known(quantity=quantity, value=float(value), unit=unit) for quantity, value, unit in _known(material, shape)
    ]


Rows = Iterator[tuple[str, float, str]]


@singledispatch
def _known(material: object, shape: tuple[int, ...]) -> Rows:
    raise TypeError(f"nothing is known of {type(material).__name__}")


def _interface(shape: tuple[int, ...]) -> str:
    return "interface per volume" if len(shape) == 3 else "interface length per area"


@_known.register
def _(material: OverlappingSpheres, shape: tuple[int, ...]) -> Rows:
    dimensions = len(shape)
    yield "fraction[spheres]", material.fraction, "-"
    yield _interface(shape), material.surface_area(dimensions), "1/voxel"
    for lag, value in zip(LAGS, material.s2(np.array(LAGS), dimensions), strict=True):
        yield f"s2[spheres] at {lag}", value, "-"
    lengths = np.array(LAGS, dtype=float)
    for lag, value in zip(LAGS, material.matrix_lineal_path(lengths, dimensions, spacing=1), strict=True):
        yield f"lineal_path[matrix] at {lag}", value, "-"


@_known.register
def _(material: Disks, shape: tuple[int, ...]) -> Rows:
    section = shape[:2] if len(shape) == 3 else shape
    yield "fraction[fibre]", material.exact_fraction(section), "-"
    yield "number of disks", material.count(section), "-"
    yield _interface(shape), material.surface_area(section), "1/voxel"
    for lag, value in zip(LAGS, material.lineal_path(np.array(LAGS), section), strict=True):
        yield f"lineal_path[fibre] at {lag} in the section", value, "-"


@_known.register
def _(material: Fibres, shape: tuple[int, ...]) -> Rows:
    yield "fraction[fibre]", material.exact_fraction(shape), "-"
    yield "number of fibres", material.count(shape), "-"
    yield _interface(shape), material.surface_area(shape), "1/voxel"
    tensor = np.diag(material.orientation_tensor(len(shape)))
    for axis, value in zip(AXES[-len(shape) :], tensor, strict=True):
        yield f"orientation tensor a_{axis}{axis}", value, "-"


@_known.register
def _(material: VoronoiGrains, shape: tuple[int, ...]) -> Rows:
    cell = 1 / material.density(len(shape))
    yield "mean grain " + ("volume" if len(shape) == 3 else "area"), cell, f"voxel^{len(shape)}"
    kind = "area per volume" if len(shape) == 3 else "length per area"
    yield f"boundary {kind}", material.boundary_density(len(shape)), "1/voxel"


@_known.register
def _(material: Polycrystal, shape: tuple[int, ...]) -> Rows:
    yield from _known(material.grains(), shape)
    yield "mean grey value within the grains", (material.darkest + material.brightest) / 2, "of white"


@_known.register
def _(material: SizedGrains, shape: tuple[int, ...]) -> Rows:
    dimensions = len(shape)
    size = material.class_volumes(dimensions)
    diameters = np.sqrt(4 * size / math.pi) if dimensions == 2 else np.cbrt(6 * size / math.pi)
    for place, (diameter, share) in enumerate(zip(diameters, material.shares, strict=True), start=1):
        yield f"diameter of grains of class {place}", diameter, "voxel"
        yield f"their share of the {'volume' if dimensions == 3 else 'area'}", share, "-"


@_known.register
def _(material: LevelCut, shape: tuple[int, ...]) -> Rows:
    dimensions = len(shape)
    yield "fraction[phase]", material.fraction, "-"
    if material.covariance != "exponential":  # whose interface is infinite
        for axis in range(dimensions):
            name = AXES[axis - dimensions]
            yield f"interface crossings per voxel along {name}", material.crossings(axis, dimensions), "1/voxel"
    for lag, value in zip(LAGS, material.s2(np.array(LAGS), dimensions - 1, dimensions), strict=True):
        yield f"s2[phase] at {lag} along x", value, "-"


@_known.register
def _(material: Plurigaussian, shape: tuple[int, ...]) -> Rows:
    dimensions = len(shape)
    for place, name in enumerate(material.phases):
        yield f"fraction[{name}]", material.fractions[place], "-"
        for lag, value in zip(LAGS, material.s2(np.array(LAGS), place, dimensions - 1, dimensions), strict=True):
            yield f"s2[{name}] at {lag} along x", value, "-"


@_known.register
def _(material: DescriptorMatched, shape: tuple[int, ...]) -> Rows:
    pixels = math.prod(shape)
    for name, fraction in zip(material.phases, material.fractions, strict=True):
        yield f"fraction[{name}]", round(fraction * pixels) / pixels, "-"
