"""The synthetic materials by name, with their parameters as text: `spheres`, `fibres` with `alignment=3`."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import InputError
from engine.metrics import nearest
from engine.micrographs.files import sha256_of
from engine.micrographs.read import read_label_file
from engine.micrographs.synthetic.adsorption import Disks, Fibres
from engine.micrographs.synthetic.boolean import OverlappingSpheres
from engine.micrographs.synthetic.gaussian import LevelCut, Plurigaussian
from engine.micrographs.synthetic.grains import SizedGrains, VoronoiGrains
from engine.micrographs.synthetic.grid import Material
from engine.micrographs.synthetic.matched import DescriptorMatched
from engine.micrographs.synthetic.microscope import Polycrystal

MATERIALS: dict[str, tuple[type, dict[str, Any], str]] = {
    "spheres": (OverlappingSpheres, {}, "overlapping spheres (disks in 2D), the Boolean model"),
    "disks": (Disks, {}, "disks that do not overlap; in 3D continuous fibres along x"),
    "fibres": (Fibres, {}, "short fibres that do not overlap, directions about x"),
    "voronoi": (VoronoiGrains, {}, "boundaries of Poisson-Voronoi grains"),
    "grains": (SizedGrains, {}, "boundaries of grains of five size classes (the alloy of Lee and Yun)"),
    "levelcut": (LevelCut, {}, "Gaussian field above one threshold"),
    "sheets": (LevelCut, {"cuts": 2}, "Gaussian field between two thresholds"),
    "anisotropic": (LevelCut, {"anisotropic": True}, "Gaussian field above one threshold, longest along x"),
    "spinodal": (
        LevelCut,
        {"fraction": 0.5, "lengths": (6.0,), "covariance": "wave"},
        "wavy Gaussian field above one threshold, as after spinodal decomposition",
    ),
    "plurigaussian": (Plurigaussian, {}, "three phases from two Gaussian fields, all in contact"),
    "polycrystal": (Polycrystal, {}, "grey values, no labels: grains in orientation contrast, blurred and noisy"),
}
"""Name: class, parameters that differ from its defaults, one line for the user."""

ANISOTROPIC_LENGTHS = {2: (4.0, 10.0), 3: (4.0, 6.0, 12.0)}
"""Correlation lengths of `anisotropic` by number of dimensions, array order."""


def make_material(name: str, settings: Sequence[str] = (), *, dimensions: int = 3) -> Material:
    """A material by name.

    Args:
        name: one of MATERIALS.
        settings: `parameter=value`; several numbers are separated by commas.
        dimensions: 2 or 3, for defaults that differ.

    Raises:
        InputError: no such material or parameter, or a value that cannot be.
    """
    if name not in MATERIALS:
        raise InputError(f"material '{name}': there is none of this name{nearest(name, [*MATERIALS, 'matched'])}")
    kind, preset, _ = MATERIALS[name]
    values = dict(preset)
    if values.pop("anisotropic", False):
        values["lengths"] = ANISOTROPIC_LENGTHS[dimensions]
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for text in settings:
        match = re.fullmatch(r"\s*(\w+)\s*=\s*(.*?)\s*", text)
        if match is None:
            raise InputError(f"setting '{text}': expected PARAMETER=VALUE, such as {next(iter(fields))}=...")
        parameter, value = match.groups()
        if parameter not in fields:
            raise InputError(f"setting '{text}': {name} has no parameter '{parameter}'{nearest(parameter, fields)}")
        values[parameter] = _parse(text, value, fields[parameter].default)
    made: Material = kind(**values)
    return made


def make_matched(image: Path, settings: Sequence[str] = ()) -> tuple[DescriptorMatched, str]:
    """The material of `matched` for a labelled image, and its recipe with the image's hash.

    Args:
        image: TIFF, PNG or NPY, labels (y, x); phases are called by their labels, `phase_0`.
        settings: `descriptors=s2,lineal_path,gram`, `lags=16`, `iterations=200`.

    Raises:
        InputError: an image that cannot be used, no such parameter, or a value that cannot be.
    """
    labels, _ = read_label_file(image)
    if labels.ndim != 2:
        raise InputError(f"{image}: must be a labelled image (y, x); cut a slice from the volume")
    found, indices = np.unique(labels, return_inverse=True)
    values: dict[str, Any] = {"descriptors": ("s2", "lineal_path"), "lags": 16, "iterations": 200}
    for text in settings:
        parameter, _, value = (part.strip() for part in text.partition("="))
        if parameter not in values:
            raise InputError(f"setting '{text}': matched has no parameter '{parameter}'{nearest(parameter, values)}")
        is_list = parameter == "descriptors"
        values[parameter] = tuple(value.split(",")) if is_list else _parse(text, value, values[parameter])
    made = DescriptorMatched(
        target=indices.reshape(labels.shape).astype(np.uint8),
        phases=tuple(f"phase_{label}" for label in found),
        **values,
    )
    chosen = "+".join(made.descriptors)
    recipe = f"matched({sha256_of(image)[:16]}, descriptors={chosen}, lags={made.lags}, iterations={made.iterations})"
    return made, recipe


def describe(name: str, material: Material) -> str:
    """`name(parameter=value, ...)`: everything that decides a sample but for its shape and seed."""
    parts = []
    for field in dataclasses.fields(material):  # type: ignore[arg-type]
        value = getattr(material, field.name)
        text = ",".join(f"{each:g}" for each in value) if isinstance(value, tuple) else str(value)
        parts.append(f"{field.name}={text}")
    return f"{name}({', '.join(parts)})"


def _parse(text: str, value: str, default: object) -> object:
    """The value in the type of the parameter's default."""
    try:
        if isinstance(default, tuple):
            return tuple(float(part) for part in value.split(","))
        if isinstance(default, float):
            return float(value)
        if isinstance(default, int):
            return int(value)
    except ValueError:
        kind = "numbers separated by commas" if isinstance(default, tuple) else "a number"
        raise InputError(f"setting '{text}': '{value}' must be {kind}") from None
    return value
