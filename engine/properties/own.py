"""Properties of a user's own: one differentiable function of the phases, by name.

The protocol is one function:

    def stiffness(phases: torch.Tensor) -> torch.Tensor:
        "phases: [K, D, H, W] float32 indicators of the bundle's phases along z, y, x; returns one number."

It is called with ones and zeros, with and without gradients wanted, on the device that generates and, to measure, on
the CPU (a network moves itself to `phases.device`). It shall give the same number whenever it is given the same volume,
and a gradient by the indicators. Guidance follows that gradient, and the same function has the last word on the
finished volume.

By import path, `my_stiffness=my_models:stiffness`, the function is code of the user's own that is imported from
Python's path and run, wherever structures are generated and measured (`sources` says what has to be there). So a path
is taken from a command line, a notebook or a study's file, as any program is; it is never taken from a table of results
(`actors.rows.request_of_row`).
"""

import importlib
import importlib.util
import math
import re
import site
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError, WorkError
from engine.metrics import KINDS, Metric
from engine.outcomes import Measured, Outcome

if TYPE_CHECKING:  # a study that names a function is read without torch
    from torch import Tensor

PropertyFunction = Callable[["Tensor"], "Tensor"]
PROBE = 32  # voxels on a side of the volume that a function is tried on: the smallest that is generated
_NAME = re.compile(r"^[a-z][a-z0-9_]*$")
_PATH = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


@dataclass(frozen=True, kw_only=True)
class OwnProperty:
    """A function of the user's own, by its import path or itself."""

    name: str
    """The metric is `property[name]`; targets may say `name` alone."""
    path: str = ""
    """`module:function`, imported where it is first called."""
    function: PropertyFunction | None = None
    """Itself, in a notebook; such a request cannot be sent to another process."""

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or self.name in KINDS:
            taken = "is a metric of the engine" if self.name in KINDS else "must be lower-case letters, digits and _"
            raise InputError(f"property '{self.name}': its name {taken}; choose another, such as my_stiffness")
        if self.function is None and not _PATH.match(self.path):
            raise InputError(
                f"property {self.name}: '{self.path}' is no import path; give module:function, such as "
                "my_models:stiffness"
            )

    def __str__(self) -> str:
        if self.path:
            return f"{self.name}={self.path}"
        assert self.function is not None
        return f"{self.name}=<{getattr(self.function, '__qualname__', type(self.function).__qualname__)}>"

    @property
    def metric(self) -> Metric:
        return Metric("property", self.name)

    def load(self) -> PropertyFunction:
        """The function.

        Raises:
            InputError: the path leads to no function.
        """
        return self.function if self.function is not None else _imported(self.name, self.path)

    def __call__(self, phases: "Tensor") -> "Tensor":
        """The number of [K, D, H, W], a tensor of no dimension.

        Raises:
            WorkError: the function failed, or returned something else than one number.
        """
        from torch import Tensor

        function = self.load()
        try:
            found = function(phases)
        except Exception as error:
            raise WorkError(f"property {self.name}: its function failed ({type(error).__name__}: {error})") from error
        if not isinstance(found, Tensor) or found.numel() != 1:
            what = f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise WorkError(f"property {self.name}: its function must return one number as a tensor, not {what}")
        return found.reshape(())

    def measured(self, phases: "Tensor") -> Measured:
        """Of a finished volume, [K, D, H, W] one-hot."""
        from torch import no_grad

        with no_grad():
            value = float(self(phases))
        if not math.isfinite(value):
            return Measured(value=None, outcome=Outcome.NOT_FINITE)
        return Measured(value=value, outcome=Outcome.MEASURED)


def parse_property(text: str) -> OwnProperty:
    """Read `name=module:function`."""
    name, equals, path = text.partition("=")
    if not equals:
        raise InputError(f"property '{text}': must be NAME=MODULE:FUNCTION, such as my_stiffness=my_models:stiffness")
    return OwnProperty(name=name.strip(), path=path.strip())


def named(properties: Mapping[str, PropertyFunction | str]) -> tuple[OwnProperty, ...]:
    """Of functions, or import paths, by name."""
    return tuple(
        OwnProperty(name=name, path=given) if isinstance(given, str) else OwnProperty(name=name, function=given)
        for name, given in properties.items()
    )


def spelled(text: str, properties: Sequence[OwnProperty]) -> str:
    """A target or metric with `name` spelled as the metric `property[name]`."""
    for own in properties:
        text = re.sub(rf"^(\s*(?:(?:maximize|minimize)\s+)?){own.name}\b(?!\s*\[)", rf"\1property[{own.name}]", text)
    return text


def sources(properties: Sequence[OwnProperty]) -> list[Path]:
    """Files, and folders of packages, that the import paths lead into, each once. Not what is installed beside the
    engine, or a part of it: that is expected wherever the engine is, as are the packages that the user's code imports.
    """
    installed = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed += [Path(site.getusersitepackages()), Path(__file__).parents[1]]
    found: dict[Path, None] = {}
    for own in properties:
        try:
            spec = importlib.util.find_spec(own.path.partition(":")[0].partition(".")[0]) if own.path else None
        except (ImportError, ValueError):
            spec = None  # `load` says what is wrong
        if spec is None:
            continue
        folders = spec.submodule_search_locations
        places = [Path(folder) for folder in folders] if folders else [Path(spec.origin or "")]
        found |= {place: None for place in places if place.exists() and place != Path()}
    return [place for place in found if not any(place.is_relative_to(folder) for folder in installed)]


def check_properties(properties: Sequence[OwnProperty], asked: Sequence[Metric], phases: int) -> None:
    """Try every function once on a small volume.

    Raises:
        InputError: two of one name, a function that is not there or does not work, or one that is asked for and has
            no gradient.
    """
    names = [own.name for own in properties]
    for own in properties:
        if names.count(own.name) > 1:
            raise InputError(f"property {own.name}: is given twice; choose two names")
        _try(own, own.metric in asked, phases)


@lru_cache(maxsize=32)
def _try(own: OwnProperty, steered: bool, phases: int) -> None:
    import torch

    own.load()
    generator = torch.Generator().manual_seed(0)
    volume = torch.randint(phases, (PROBE, PROBE, PROBE), generator=generator)
    hot = torch.nn.functional.one_hot(volume, phases).movedim(-1, 0).float()
    try:
        with torch.enable_grad():
            leaf = hot.requires_grad_(steered)
            value = own(leaf)
            if steered and not value.requires_grad:
                raise InputError(
                    f"property {own.name}: its number does not depend on the phases in a way that torch can "
                    "differentiate; compute it from them with torch alone"
                )
            slope = torch.autograd.grad(value, leaf)[0] if steered else None
    except (WorkError, RuntimeError) as error:
        raise InputError(f"{error}; tried on random phases [{phases}, {PROBE}, {PROBE}, {PROBE}]") from error
    if slope is not None and not bool(slope.isfinite().all()):
        raise InputError(f"property {own.name}: its gradient is not finite on random phases; mend the function")


@lru_cache(maxsize=32)
def _imported(name: str, path: str) -> PropertyFunction:
    module, _, function = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever the user's module does
        raise InputError(
            f"property {name}: {path} cannot be imported ({type(error).__name__}: {error}); put the folder of "
            f"{module.partition('.')[0]} on PYTHONPATH"
        ) from error
    if not callable(found):
        raise InputError(f"property {name}: {path} is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]
