"""What `guidance_grid` asks for: cases by name, each a fixed list of requests that is never pruned.

Natural values come from the true 64-voxel blocks of the whole tomogram (three axes each); the anode has no true volume,
so there they come from volumes of the bundle itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.calibrate import sample_indices
from engine.descriptors.surface import surface_area
from engine.descriptors.triple_phase import tpb_density
from engine.descriptors.two_point import autocovariance, directional_s2
from engine.evaluation.null import blocks
from engine.models.bundle import load_bundle
from engine.models.inference import Inference
from engine.properties.elasticity import homogenize
from engine.properties.materials import Materials, PhaseMaterial
from engine.properties.stiffness import youngs_modulus
from engine.properties.transport import solve
from tests.benchmarks.materials import MATERIALS, Material, crops

SIDE, LAGS = 64, 32
VOID = 1e-3
"""Stiffness of the pore as a share of the active material's."""
CATHODE = Materials(
    name="nmc cathode, pores of a thousandth of its stiffness",
    source="tests.benchmarks.guidance_cases",
    phases={
        "pore": PhaseMaterial(youngs_modulus_gpa=(140.0 * VOID,), poissons_ratio=(0.25,)),
        "nmc": PhaseMaterial(youngs_modulus_gpa=(140.0,), poissons_ratio=(0.25,)),
        "binder": PhaseMaterial(youngs_modulus_gpa=(1.0,), poissons_ratio=(0.35,)),
    },
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One point of a grid."""

    name: str
    bundle: str
    targets: tuple[str, ...]
    materials: Materials | None = None


@dataclass(frozen=True, kw_only=True)
class Natural:
    """A material as it is: what goals are multiples of."""

    name: str
    bundle: str
    """Name or path."""
    data: Path
    volumes: int = 16
    """Of the bundle, where there are no true ones."""
    material: Material = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "material", MATERIALS[self.name])

    @cached_property
    def cubes(self) -> NDArray[np.uint8]:
        """[M, 64, 64, 64] phase indices."""
        training = self.material.training(self.data)
        if training.ndim == 3:
            return np.concatenate([blocks(part, SIDE) for part in (training, self.material.judging(self.data))])
        bundle = load_bundle(self.bundle)
        seeds = range(900_000, 900_000 + self.volumes)
        return np.stack(sample_indices(bundle, Inference(bundle), bundle.calibration.numbers, seeds))

    @cached_property
    def fractions(self) -> NDArray[np.float64]:
        """[M, K]."""
        return np.stack([(self.cubes == k).mean(axis=(1, 2, 3)) for k in range(len(self.material.phases))], axis=1)

    @cached_property
    def held(self) -> NDArray[np.float64]:
        """[K] mean fractions."""
        return self.fractions.mean(axis=0)

    def crop_percentile(self, percent: float) -> NDArray[np.float64]:
        """[K]: of the fraction of each phase in the disjoint training crops."""
        squares = crops(self.material.training(self.data), SIDE)
        shares = [(squares == k).mean(axis=(1, 2)) for k in range(len(self.material.phases))]
        return np.percentile(np.stack(shares, axis=1), percent, axis=0)

    def diffusivity_law(self, phase: str, axes: Sequence[int] = (0, 1, 2)) -> NDArray[np.float64]:
        """Coefficients of log diffusivity in log fraction, through the blocks and axes that percolate."""
        k = self.material.phases.index(phase)
        soft = torch.from_numpy((self.cubes == k).astype(np.float32))
        found = np.stack([solve(soft, axis, tolerance=1e-3).value.numpy() for axis in axes], axis=1)
        keep = found > 0
        x = np.log(np.broadcast_to(self.fractions[:, k, None], found.shape)[keep])
        return np.polyfit(x, np.log(found[keep]), 1)

    def diffusivity(self, phase: str, axes: Sequence[int] = (0, 1, 2)) -> float:
        """Median at the mean fraction, by that law."""
        held = self.held[self.material.phases.index(phase)]
        return float(np.exp(np.polyval(self.diffusivity_law(phase, axes), np.log(held))))

    def tpb(self) -> float:
        return float(np.median(tpb_density(self.cubes)))

    def modulus(self, axis: int) -> float:
        """Median Young's modulus of the cathode's blocks, GPa."""
        table = CATHODE.stiffnesses(self.material.phases)
        values = []
        for cube in self.cubes:
            hot = torch.nn.functional.one_hot(torch.from_numpy(cube).long(), len(table)).movedim(-1, 0)[None].float()
            values.append(youngs_modulus(homogenize(hot, table, tolerance=1e-3).stiffness[0], 2 - axis))
        return float(np.median(values))

    @cached_property
    def surface_law(self) -> NDArray[np.float64]:
        """Coefficients of log surface area in log phi (1 - phi) of the first phase."""
        phi = self.fractions[:, 0]
        return np.polyfit(np.log(phi * (1 - phi)), np.log(surface_area(self.cubes == 0)), 1)

    @cached_property
    def correlation(self) -> NDArray[np.float64]:
        """[R] mean normalised autocovariance of the first phase."""
        return autocovariance(directional_s2(self.cubes == 0, LAGS).mean(dim=-2)).numpy().mean(axis=0)

    def surface(self, fraction: float) -> float:
        """Surface area of a natural volume with this fraction of the first phase."""
        return float(np.exp(np.polyval(self.surface_law, np.log(fraction * (1 - fraction)))))

    def s2(self, fraction: float) -> NDArray[np.float64]:
        """[R] S2 of a natural volume with this fraction of the first phase."""
        return fraction**2 + fraction * (1 - fraction) * self.correlation


def first_light(natural: Natural) -> Iterator[Case]:
    """Fraction and diffusivity together, at fractions on either side of the natural one."""
    pore = natural.material.phases[0]
    law = natural.diffusivity_law(pore)
    for fraction in (0.16, 0.20, 0.24):
        median = float(np.exp(np.polyval(law, np.log(fraction))))
        for factor in (0.7, 1.0, 1.4):
            yield Case(
                name=f"fraction {fraction}, diffusivity × {factor}",
                bundle=natural.bundle,
                targets=(f"fraction[{pore}]={fraction}±0.01", f"diffusivity[{pore},z]={factor * median:.6g}±5%"),
            )


def fractions(natural: Natural) -> Iterator[Case]:
    """Each phase in turn at the 95th percentile of the training crops, the others free or in their proportion."""
    phases = natural.material.phases
    for k, high in enumerate(natural.crop_percentile(95)):
        own = f"fraction[{phases[k]}]={high:.4f}±0.01"
        yield Case(name=f"{phases[k]} at {high:.3f}, others free", bundle=natural.bundle, targets=(own,))
        rest = natural.held * (1 - high) / (1 - natural.held[k])
        fixed = tuple(f"fraction[{phases[j]}]={rest[j]:.4f}±0.01" for j in range(len(phases)) if j != k)
        yield Case(name=f"{phases[k]} at {high:.3f}, others fixed", bundle=natural.bundle, targets=(own, *fixed))


def s2(natural: Natural) -> Iterator[Case]:
    """S2 of every phase to the training curve: to .4 % of two phases, to 2 % of three."""
    phases = natural.material.phases
    percent = 0.4 if len(phases) == 2 else 2
    targets = tuple(f"s2[{phase}]=training±{percent}%" for phase in phases)
    yield Case(name=f"S2 within {percent} %", bundle=natural.bundle, targets=targets)


def diffusivity(natural: Natural) -> Iterator[Case]:
    """Of the pores along z, at multiples of the natural median, the fraction held."""
    pore = natural.material.phases[0]
    median = natural.diffusivity(pore, axes=(0, 1, 2) if natural.material.isotropic else (0,))
    for factor in (0.5, 0.75, 1.0, 1.5, 2.0):
        yield Case(
            name=f"× {factor}",
            bundle=natural.bundle,
            targets=(
                f"fraction[{pore}]={natural.held[0]:.4f}±0.01",
                f"diffusivity[{pore},z]={factor * median:.6g}±2%",
            ),
        )


def together(natural: Natural) -> Iterator[Case]:
    """Diffusivities of two phases along z and the triple-phase boundary at once; nothing is said of the fractions."""
    first, second = natural.material.phases[0], natural.material.phases[1]
    axes = (0, 1, 2) if natural.material.isotropic else (0,)
    medians = natural.diffusivity(first, axes), natural.diffusivity(second, axes), natural.tpb()
    for factors in ((1.0, 1.0, 1.0), (1.25, 1.0, 1.0), (1.0, 1.25, 1.0), (1.0, 1.0, 1.15), (0.8, 1.2, 0.9)):
        goals = [median * factor for median, factor in zip(medians, factors, strict=True)]
        yield Case(
            name=" ".join(f"× {factor}" for factor in factors),
            bundle=natural.bundle,
            targets=(
                f"diffusivity[{first},z]={goals[0]:.6g}±2%",
                f"diffusivity[{second},z]={goals[1]:.6g}±2%",
                f"tpb_density={goals[2]:.6g}±2%",
            ),
        )


def anisotropy(natural: Natural) -> Iterator[Case]:
    """Diffusivity 1.5 times as high along z as along x, of a bundle that knows no directions."""
    pore = natural.material.phases[0]
    median = natural.diffusivity(pore)
    for level in (0.8, 1.0, 1.25):
        goals = level * median * 1.5**0.5, level * median / 1.5**0.5
        yield Case(
            name=f"z/x = 1.5, mean × {level}",
            bundle=natural.bundle,
            targets=(
                f"fraction[{pore}]={natural.held[0]:.4f}±0.01",
                f"diffusivity[{pore},z]={goals[0]:.6g}±2%",
                f"diffusivity[{pore},x]={goals[1]:.6g}±2%",
            ),
        )


def modulus(natural: Natural) -> Iterator[Case]:
    """Young's modulus of the cathode along z, at multiples of the natural median."""
    median = natural.modulus(axis=0)
    for factor in (0.85, 1.0, 1.15):
        yield Case(
            name=f"× {factor}",
            bundle=natural.bundle,
            targets=(f"elastic_modulus_gpa[z]={factor * median:.6g}±2%",),
            materials=CATHODE,
        )


CASES: dict[str, tuple[Callable[[Natural], Iterator[Case]], tuple[str, ...]]] = {
    "first-light": (first_light, ("berea",)),
    "fractions": (fractions, ("sofc-anode", "nmc-cathode")),
    "s2": (s2, ("berea", "sofc-anode", "nmc-cathode")),
    "diffusivity": (diffusivity, ("berea", "nmc-cathode")),
    "together": (together, ("sofc-anode", "nmc-cathode")),
    "anisotropy": (anisotropy, ("berea",)),
    "modulus": (modulus, ("nmc-cathode",)),
}
"""By name: what makes the requests, and of which materials."""
