"""What the phases are made of: a YAML file of conductivities, stiffnesses and expansions, checked before use.

    name: glass in epoxy
    source: where the numbers come from
    phases:
      matrix:
        conductivity: 0.2                # any unit, the same for all phases; results come in it
        youngs_modulus_gpa: 3.5
        poissons_ratio: 0.35
        thermal_expansion_per_k: 60e-6
      fibre:                             # orthotropic: one number per material axis 1, 2, 3
        conductivity: [1.2, 1.0, 1.0]
        youngs_modulus_gpa: [72, 70, 70]
        poissons_ratio: [0.2, 0.2, 0.25]         # 12, 13, 23
        shear_modulus_gpa: [30, 30, 28]          # 12, 13, 23
        thermal_expansion_per_k: [5e-6, 6e-6, 6e-6]
        axes: [z, x]                     # directions of material axes 1 and 2: x, y, z or vectors [x, y, z]
      pore:
        conductivity: 0
        youngs_modulus_gpa: 0            # a void

A property may be left out of every phase. `doubtful` under a phase maps one of its keys to the reason why the number is
not to be trusted; it is kept and shown, and changes nothing.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics import nearest
from engine.properties.stiffness import PAIRS, isotropic, orthotropic, rotated

DIRECTIONS = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
Numbers = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class PhaseMaterial:
    """One phase. One number for an isotropic property, three (material axes 1, 2, 3) for an orthotropic one; empty
    where the property is not given."""

    conductivity: Numbers = ()
    youngs_modulus_gpa: Numbers = ()
    poissons_ratio: Numbers = ()
    """One, or 12, 13, 23."""
    shear_modulus_gpa: Numbers = ()
    """12, 13, 23; of an orthotropic phase only."""
    thermal_expansion_per_k: Numbers = ()
    axes: tuple[tuple[float, float, float], tuple[float, float, float]] = (DIRECTIONS["x"], DIRECTIONS["y"])
    """Directions (x, y, z) of material axes 1 and 2; made unit vectors, the second made perpendicular to the first."""
    doubtful: Mapping[str, str] = field(default_factory=dict)
    """Key -> why its number is doubtful."""

    def __post_init__(self) -> None:
        for name in ("conductivity", "youngs_modulus_gpa", "thermal_expansion_per_k"):
            _one_or_three(name, getattr(self, name), least=None if name == "thermal_expansion_per_k" else 0.0)
        for key in self.doubtful:
            if key not in PROPERTIES:
                raise InputError(f"doubtful: no property is called '{key}'{nearest(key, PROPERTIES)}")
        self.directions()
        if self.youngs_modulus_gpa:
            self.stiffness()
        elif self.poissons_ratio or self.shear_modulus_gpa:
            raise InputError("youngs_modulus_gpa: must be given with poissons_ratio and shear_modulus_gpa")

    @property
    def void(self) -> bool:
        return self.youngs_modulus_gpa == (0.0,)

    def constants(self) -> dict[str, Any]:
        """The properties that are given, and the axes where they are turned."""
        given = {name: list(values) for name in PROPERTIES if (values := getattr(self, name))}
        turned = {} if self.axes == PhaseMaterial.axes else {"axes": [list(axis) for axis in self.axes]}
        return given | turned

    def document(self) -> dict[str, Any]:
        """In the form of a materials file."""
        return self.constants() | ({"doubtful": dict(self.doubtful)} if self.doubtful else {})

    def directions(self) -> Tensor:
        """[3, 3] float64: row a is the direction of material axis a in x, y, z."""
        first, second = (torch.tensor(axis, dtype=torch.float64) for axis in self.axes)
        length = torch.linalg.vector_norm(first)
        second = second - (second @ first) / length.square().clamp(min=1e-300) * first
        if float(length) == 0 or float(torch.linalg.vector_norm(second)) < 1e-9:
            raise InputError(f"axes: material axes 1 and 2 must be two directions, not {list(self.axes)}")
        first, second = first / length, second / torch.linalg.vector_norm(second)
        return torch.stack([first, second, torch.linalg.cross(first, second)])

    def stiffness(self) -> Tensor:
        """[6, 6] float64 in GPa, in the axes of the volume."""
        moduli, ratios, shear = self.youngs_modulus_gpa, self.poissons_ratio, self.shear_modulus_gpa
        if len(moduli) == 3:
            return rotated(orthotropic(moduli, ratios, shear), self.directions())
        if shear:
            raise InputError(f"shear_modulus_gpa: follows from the others in an isotropic phase; found {list(shear)}")
        if self.void:
            return isotropic(0.0, 0.0)
        if len(ratios) != 1:
            raise InputError(f"poissons_ratio: an isotropic phase has one, not {list(ratios)}")
        return isotropic(moduli[0], ratios[0])

    def expansion(self) -> Tensor:
        """[6] float64 strain per kelvin, in the axes of the volume; 0 in a void."""
        values = self.thermal_expansion_per_k or (0.0,)
        tensor = _turned(values, self.directions())
        return torch.stack([tensor[a, b] * (1 if a == b else 2) for a, b in PAIRS])

    def conductivities(self) -> Tensor:
        """[3] float64 along z, y, x.

        Raises:
            InputError: material axes that are not those of the volume: voxels pass fluxes along those only.
        """
        tensor = _turned(self.conductivity, self.directions())
        if float((tensor - torch.diag(tensor.diagonal())).abs().max()) > 1e-9 * float(tensor.abs().max()):
            raise InputError("conductivity: an anisotropic one needs material axes along x, y and z")
        return tensor.diagonal().flip(0)


PROPERTIES = tuple(each.name for each in fields(PhaseMaterial) if each.name not in ("axes", "doubtful"))


@dataclass(frozen=True, kw_only=True)
class Materials:
    """The phases of a material by name."""

    name: str
    source: str = ""
    phases: Mapping[str, PhaseMaterial]

    def conductivities(self, phases: Sequence[str]) -> Tensor:
        """[K, 3] float64 along z, y, x of the phases named.

        Raises:
            InputError: a phase that the file does not describe, or describes without a conductivity.
        """
        return self._table(phases, "conductivity", lambda phase: phase.conductivities())

    def stiffnesses(self, phases: Sequence[str]) -> Tensor:
        """[K, 6, 6] float64, GPa. Raises as `conductivities`."""
        return self._table(phases, "youngs_modulus_gpa", lambda phase: phase.stiffness())

    def expansions(self, phases: Sequence[str]) -> Tensor:
        """[K, 6] float64 strain per kelvin; a void needs none. Raises as `conductivities`."""
        return self._table(phases, "thermal_expansion_per_k", lambda phase: phase.expansion())

    def gives(self, phases: Sequence[str], name: str) -> bool:
        """Whether every phase named has the property."""
        return all(phase in self.phases and _has(self.phases[phase], name) for phase in phases)

    def document(self) -> dict[str, Any]:
        """In the form of a materials file; `parse_materials` reads it back."""
        return {"name": self.name, "source": self.source, "phases": {n: p.document() for n, p in self.phases.items()}}

    @property
    def hash(self) -> str:
        """sha256 of the constants alone: names, sources and doubts change no value."""
        constants = {name: phase.constants() for name, phase in self.phases.items()}
        return hashlib.sha256(json.dumps(constants, sort_keys=True).encode()).hexdigest()

    def _table(self, phases: Sequence[str], name: str, value: Callable[[PhaseMaterial], Tensor]) -> Tensor:
        for phase in phases:
            if phase not in self.phases:
                raise InputError(f"materials '{self.name}': no phase is called '{phase}'{nearest(phase, self.phases)}")
            if not _has(self.phases[phase], name):
                raise InputError(f"materials '{self.name}': phase '{phase}' has no {name}; add it to the file")
        return torch.stack([value(self.phases[phase]) for phase in phases])


def load_materials(source: str | Path) -> Materials:
    """Read a materials file, or one that ships (by its name without suffix, such as `carbon_fibre_composite`).

    Raises:
        InputError: no such file, no YAML, an unknown key, or a value that no material has; the phase is named.
    """
    import yaml

    shipped = {Path(each.name).stem: each for each in files("engine.properties").joinpath("library").iterdir()}
    found = shipped.get(str(source), Path(source))
    try:
        document = yaml.safe_load(found.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(sorted(shipped))
        raise InputError(f"materials {source}: cannot be read ({error}); give a YAML file or one of: {names}") from None
    except yaml.YAMLError as error:
        raise InputError(f"materials {source}: is no valid YAML ({' '.join(str(error).split())})") from None
    return parse_materials(document, source)


def parse_materials(document: Any, source: str | Path) -> Materials:
    """The content of a materials file, or `Materials.document()`; `source` stands in errors. Raises InputError."""
    if not isinstance(document, dict) or not isinstance(document.get("phases"), dict) or not document["phases"]:
        raise InputError(f"materials {source}: must be a mapping with 'phases', one entry per phase")
    _known(document, ("name", "source", "phases"), f"materials {source}")
    phases = {}
    for name, entry in document["phases"].items():
        where = f"materials {source}, phase '{name}'"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: must be a mapping of properties, not {entry!r}")
        _known(entry, (*PROPERTIES, "axes", "doubtful"), where)
        try:
            phases[str(name)] = PhaseMaterial(**{key: _read(key, value) for key, value in entry.items()})
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    return Materials(
        name=str(document.get("name", Path(source).stem)), source=str(document.get("source", "")), phases=phases
    )


def _read(key: str, value: Any) -> Any:
    if key == "doubtful":
        if not isinstance(value, dict):
            raise InputError(f"doubtful: must map keys to reasons, not {value!r}")
        return {str(name): str(reason) for name, reason in value.items()}
    if key == "axes":
        if not isinstance(value, list) or len(value) != 2:
            raise InputError(f"axes: must be the directions of material axes 1 and 2, not {value!r}")
        return tuple(DIRECTIONS[v] if isinstance(v, str) and v in DIRECTIONS else _numbers(key, v, 3) for v in value)
    return _numbers(key, value, None)


def _numbers(key: str, value: Any, count: int | None) -> Numbers:
    listed = value if isinstance(value, list) else [value]
    try:  # YAML takes 6e-5, written without a point, for text
        numbers = tuple(float(each) for each in listed if not isinstance(each, bool))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != len(listed) or not numbers or (count is not None and len(numbers) != count):
        raise InputError(f"{key}: must be {'numbers' if count is None else f'{count} numbers'}, not {value!r}")
    if not all(math.isfinite(number) for number in numbers):
        raise InputError(f"{key}: must be finite, not {value!r}")
    return numbers


def _known(entry: Mapping[Any, Any], keys: Sequence[str], where: str) -> None:
    for key in entry:
        if key not in keys:
            raise InputError(f"{where}: no key is called '{key}'{nearest(str(key), keys)}")


def _one_or_three(name: str, values: Numbers, least: float | None) -> None:
    if len(values) not in (0, 1, 3):
        raise InputError(f"{name}: must be one number or three (material axes 1, 2, 3), not {list(values)}")
    if not all(math.isfinite(value) for value in values) or (least is not None and any(v < least for v in values)):
        bound = "" if least is None else f" and at least {least:g}"
        raise InputError(f"{name}: must be finite{bound}, not {list(values)}")


def _turned(values: Numbers, directions: Tensor) -> Tensor:
    """[3, 3] in x, y, z of a tensor that is diagonal in the material's axes."""
    own = torch.tensor(values if len(values) == 3 else values * 3, dtype=torch.float64)
    return directions.T @ torch.diag(own) @ directions


def _has(phase: PhaseMaterial, name: str) -> bool:
    return bool(getattr(phase, name)) or (name == "thermal_expansion_per_k" and phase.void)
