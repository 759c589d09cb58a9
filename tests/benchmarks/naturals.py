"""Volumes of a bundle without targets, at any size, and what guided volumes are held against: their own material."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engine.descriptors.discrepancy import relative_area
from engine.descriptors.surface import surface_area
from engine.descriptors.two_point import autocovariance, directional_s2
from engine.design import generate
from engine.guidance.steering import CONTRAST
from engine.models.bundle import Bundle
from engine.models.inference import Inference
from engine.properties.transport import solve
from engine.request import Request

FIRST_SEED = 900_000  # apart from those of guided volumes


@dataclass(frozen=True, kw_only=True)
class Naturals:
    """What N volumes of a bundle have."""

    phase: str
    """The first that percolates along z in most of them: diffusivity is asked of it."""
    label: int
    fraction: float
    """Median of that phase."""
    diffusivity: float
    """Median along z where it percolates."""
    slice_diffusivity: float
    """Mean along z of the slices that hold z, as `slice_diffusivity` has it."""
    surface: float
    """Mean surface area over phi (1 - phi): what fractions that differ leave comparable."""
    correlation: NDArray[np.float64]
    """[R] mean normalised autocovariance."""

    def surface_ratio(self, mask: NDArray[np.bool_]) -> float:
        """Surface area of a volume over that of a natural one of its fraction."""
        phi = float(mask.mean())
        return float(surface_area(mask)) / (self.surface * phi * (1 - phi)) if 0 < phi < 1 else float("nan")

    def correlation_error(self, mask: NDArray[np.bool_]) -> float:
        """Area between the autocovariance of a volume and the natural one, over the area of that."""
        return float(relative_area(_correlation(mask, len(self.correlation)), self.correlation))


def naturals(bundle: Bundle, inference: Inference, size: int, count: int) -> Naturals:
    """Sample and measure.

    Raises:
        SystemExit: no phase percolates along z in half of the volumes; a larger size may help.
    """
    requests = [
        Request(structure_id=str(i), bundle=bundle.card.name, shape=(size,) * 3, seed=FIRST_SEED + i)
        for i in range(count)
    ]
    labels = np.stack([made.labels for made in generate(requests, bundle, inference=inference)])
    for phase in bundle.card.phases:
        masks = labels == phase.label
        found = solve(torch.from_numpy(masks).float(), 0, tolerance=1e-3).value.numpy()
        if np.mean(found > 0) >= 0.5:
            break
    else:
        raise SystemExit(f"{bundle.card.name}: no phase percolates along z in half of {count} volumes of {size}")
    phi = masks.mean(axis=(1, 2, 3))
    return Naturals(
        phase=phase.name,
        label=phase.label,
        fraction=float(np.median(phi)),
        diffusivity=float(np.median(found[found > 0])),
        slice_diffusivity=float(np.mean([slice_diffusivity(mask) for mask in masks])),
        surface=float(np.mean(surface_area(masks) / (phi * (1 - phi)))),
        correlation=np.mean([_correlation(mask, size // 2) for mask in masks], axis=0),
    )


def slice_diffusivity(mask: NDArray[np.bool_], every: int = 8) -> float:
    """Mean diffusivity along z of some slices across y and x, each a sheet by itself, in an insulator that leaks as the
    published procedure has it: of a sparse phase hardly any slice percolates, and the leak is what is seen."""
    sheets = [*mask.swapaxes(0, 1)[::every], *mask.transpose(2, 0, 1)[::every]]  # [z, x] and [z, y]
    return float(np.mean([_sheet(sheet) for sheet in sheets]))


def _sheet(sheet: NDArray[np.bool_]) -> float:
    conductivity = CONTRAST + (1 - CONTRAST) * torch.from_numpy(sheet.copy()).float()
    return float(solve(conductivity[None, None], 1, tolerance=1e-3).value)


def _correlation(mask: NDArray[np.bool_], lags: int) -> NDArray[np.float64]:
    return autocovariance(directional_s2(mask, lags).mean(dim=0)).numpy()


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{np.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"
