"""The science: micrographs, models, sampling, guidance, descriptors, properties. Read `engine/design.py` first.

For notebooks:

    import engine

    [structure] = engine.design("berea", ["fraction[pore]=0.20±0.01"], size=64, seed=1)
    structure.values, structure.attained
    engine.plots.slices(structure.labels)

`design`, `reconstruct`, `characterize`, `load_bundle` and `plots` are loaded when they are first used, so that
importing a small part of the engine does not bring torch along.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine import plots as plots
    from engine.models.bundle import load_bundle as load_bundle
    from engine.notebook import characterize as characterize
    from engine.notebook import design as design
    from engine.notebook import reconstruct as reconstruct

__all__ = ["characterize", "design", "load_bundle", "plots", "reconstruct"]


def __getattr__(name: str) -> Any:
    match name:
        case "design" | "plots":  # `engine.design` is a module that can be called, see its end
            return import_module(f"engine.{name}")
        case "characterize" | "reconstruct":
            return getattr(import_module("engine.notebook"), name)
        case "load_bundle":
            return import_module("engine.models.bundle").load_bundle
    raise AttributeError(f"module 'engine' has no attribute '{name}'")
