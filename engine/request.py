"""A request: everything that decides the voxels of one structure and what is measured of it, and nothing else.

The same request gives the same voxels on the same kind of device, whatever the batch, the actor or the order.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from engine.errors import InputError
from engine.guidance.choices import Guidance, SliceNumbers, parse_slice_numbers
from engine.guidance.targets import Target
from engine.metrics import Metric
from engine.sampling.choices import (
    REFINEMENTS,
    ROUTES,
    SOLVERS,
    Harmonizing,
    Refinement,
    Route,
    SolverName,
)

if TYPE_CHECKING:
    from engine.properties.materials import Materials
    from engine.properties.own import OwnProperty

Sampler = Literal["spectral", "mpdd", "harmonized"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to sample. None takes the bundle's calibrated value."""

    sampler: Sampler = "spectral"
    """`spectral` (ours, default), `mpdd` (as published) or `harmonized` (as published, with re-noising)."""
    solver: SolverName | None = None
    """`ddim`, `ddpm` or `dpm++`. `spectral` is calibrated for its bundle's own."""
    steps: int | None = None
    """Denoising steps."""
    eta: float | None = None
    """Stochasticity: 0 deterministic, 1 ancestral."""
    harmonizing_passes: int = Harmonizing.passes
    """n_h of `harmonized`: how often each step is noised again and repeated."""
    harmonizing_blend: float = Harmonizing.blend
    """gamma of `harmonized`: share of the re-noised volume in what is denoised again."""
    refinement: Refinement | None = None
    """`sdedit` or `rounds`: what a pass after decoding does."""
    refine_passes: int | None = None
    """So many of them; 0 leaves the interpolated decode."""
    guidance: Guidance = "volume"
    """How targets are brought about: `volume` (Gauss-Newton on the volume, default), `volume-sds` (score distillation
    on the latent volume) or `sds-slices` (as published, slice by slice)."""
    route: Route = "guided"
    """How targets are reached: `guided`, `conditioned`, `sampler`, `conditioned+guided` or `auto` (`engine.routes`)."""
    guidance_weight: float = 1.0
    """omega of classifier-free guidance: weighs all that the network is told, planes included, against nothing."""
    candidates: int = 8
    """At most so many volumes are generated for a structure with targets that no gradient leads to
    (`engine.selection`)."""
    guidance_iterations: int = 80
    """At most so many guidance iterations for a structure with targets; `sds-slices` counts its own steps."""
    slice_numbers: str | None = None
    """Numbers of `sds-slices` other than the published: `steps=200,rate=0.01` (`engine.guidance.choices`)."""

    def __post_init__(self) -> None:
        if self.sampler not in get_args(Sampler):
            raise InputError(f"sampler: must be one of {', '.join(get_args(Sampler))}, not '{self.sampler}'")
        if self.solver is not None and self.solver not in SOLVERS:
            raise InputError(f"solver: must be one of {', '.join(SOLVERS)}, not '{self.solver}'")
        if self.refinement is not None and self.refinement not in REFINEMENTS:
            raise InputError(f"refinement: must be one of {', '.join(REFINEMENTS)}, not '{self.refinement}'")
        Harmonizing(passes=self.harmonizing_passes, blend=self.harmonizing_blend)  # raises
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps: must be at least 1, not {self.steps}")
        if self.eta is not None and not 0 <= self.eta <= 1:
            raise InputError(f"eta: must lie within [0, 1], not {self.eta}")
        if self.refine_passes is not None and self.refine_passes < 0:
            raise InputError(f"refine_passes: must be at least 0, not {self.refine_passes}")
        if self.guidance not in get_args(Guidance):
            raise InputError(f"guidance: must be one of {', '.join(get_args(Guidance))}, not '{self.guidance}'")
        parse_slice_numbers(self.slice_numbers or "")  # raises
        if self.route not in ROUTES:
            raise InputError(f"route: must be one of {', '.join(ROUTES)}, not '{self.route}'")
        if not 0 <= self.guidance_weight <= 100:
            raise InputError(f"guidance_weight: must lie within [0, 100], not {self.guidance_weight:g}")
        if self.candidates < 1:
            raise InputError(f"candidates: must be at least 1, not {self.candidates}")
        if self.guidance_iterations < 1:
            raise InputError(f"guidance_iterations: must be at least 1, not {self.guidance_iterations}")

    @property
    def of_slices(self) -> SliceNumbers:
        """Numbers of `sds-slices`."""
        return parse_slice_numbers(self.slice_numbers or "")

    @property
    def harmonizing(self) -> Harmonizing | None:
        """What `harmonized` repeats; None for the other samplers."""
        if self.sampler != "harmonized":
            return None
        return Harmonizing(passes=self.harmonizing_passes, blend=self.harmonizing_blend)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One structure to generate."""

    structure_id: str
    """Unique name; also the key that makes writing a result twice harmless."""
    bundle: str
    """Bundle name (looked up in MESOFORGE_BUNDLES, then the packaged zoo) or path."""
    shape: tuple[int, int, int]
    """Voxels along (z, y, x)."""
    seed: int
    """Non-negative, below 2**63: the only source of randomness."""
    targets: tuple[Target, ...] = ()
    settings: Settings = Settings()
    periodic: bool = False
    """Opposite faces join as neighbouring planes inside do; it is guided and measured as a periodic volume too."""
    materials: "Materials | None" = None
    """What the phases are made of; decides what is measured of the structure, not its voxels."""
    properties: "tuple[OwnProperty, ...]" = ()
    """Functions of the user's own, for targets on them; each is measured too."""
    metrics: tuple[Metric, ...] = ()
    """To be measured although nothing measures them unasked (`MetricKind.needs`)."""

    @property
    def asked(self) -> tuple[Metric, ...]:
        """All that is to be measured although nothing measures it unasked, for a target or for itself."""
        wanted = [target.metric for target in self.targets]
        needed = [metric for metric in wanted if metric.is_mean or metric.kind.needs == "request"]
        return tuple(dict.fromkeys((*self.metrics, *needed)))

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InputError(f"shape: must be three positive sizes (z, y, x), not {self.shape}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed: must lie within [0, 2**63), not {self.seed}")


def structure_id(study: str, trial: int, sample: int) -> str:
    """Name of a structure as a function of where it stands: 16 hexadecimal digits."""
    return _digest(f"{study}/{trial}/{sample}")[:16]


def structure_seed(study: str, study_seed: int, trial: int, sample: int) -> int:
    """Seed of a structure, below 2**63, as a function of where it stands."""
    return int(_digest(f"seed/{study}/{study_seed}/{trial}/{sample}")[:16], 16) >> 1


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
