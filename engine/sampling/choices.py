"""What a request may choose about sampling; without torch, so that a study is read and checked quickly."""

from dataclasses import dataclass
from typing import Literal, get_args

from engine.errors import InputError

SolverName = Literal["ddim", "ddpm", "dpm++"]
SOLVERS: tuple[SolverName, ...] = get_args(SolverName)
Route = Literal["guided", "conditioned", "sampler", "conditioned+guided", "auto"]
ROUTES: tuple[Route, ...] = get_args(Route)

Refinement = Literal["sdedit", "rounds"]
"""What each pass after the interpolated decode does to the planes of all three axes: SDEdit at full depth, or encoding
and decoding alone (MicroLad). No pass leaves the decode as it is."""
REFINEMENTS: tuple[Refinement, ...] = get_args(Refinement)


@dataclass(frozen=True, kw_only=True)
class Harmonizing:
    """Modified harmonized sampling (anisotropic paper, eqs. 16-17): each step is noised again and repeated."""

    passes: int = 4
    """n_h; each is one more network call for every plane."""
    blend: float = 0.5
    """gamma: share of the re-noised volume in the input of the repeated step; the rest is the volume as it came."""

    def __post_init__(self) -> None:
        if self.passes < 0:
            raise InputError(f"harmonizing passes: must be at least 0, not {self.passes}")
        if not 0 < self.blend <= 1:
            raise InputError(f"harmonizing blend: must lie within (0, 1], not {self.blend}")
