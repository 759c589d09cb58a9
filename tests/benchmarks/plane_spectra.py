"""The spectrum of a volume from those of its planes, against that of the tomogram itself.

    python -m tests.benchmarks.plane_spectra --data FOLDER

Local fractions (Gaussian windows, as latents are) and pixels of the training parts; the true spectrum is the transform
of the tomogram's own autocovariance over all lags below 13 (latents) or 26 (pixels), tapered like the planes'. Misfit:
area between two spectra over that of the true one. `stretched` and `separable` are the first guesses.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from engine.sampling.spectra import (
    along_axes,
    covariance_by_lag,
    distances,
    mirrored_spectrum,
    raised_cosine,
    separable_spectrum,
    stretched_spectrum,
    volume_spectrum,
)
from tests.benchmarks.common import machine, table
from tests.benchmarks.materials import DATA, MATERIALS, SEPARATOR, Material


@dataclass(frozen=True, kw_only=True)
class Case:
    """A phase of a material, and how it is read."""

    material: Material
    phase: int
    factor: int

    def __str__(self) -> str:
        kind = f"latents of factor {self.factor}" if self.factor > 1 else "pixels"
        return f"{Path(self.material.file).stem}, {self.material.phases[self.phase]}, {kind}"


CATHODE = MATERIALS["nmc-cathode"]
CASES = [Case(material=CATHODE, phase=phase, factor=4) for phase in range(len(CATHODE.phases))]
CASES += [Case(material=SEPARATOR, phase=0, factor=factor) for factor in (2, 1)]


def read_off(mask: NDArray[np.bool_], factor: int) -> NDArray[np.float64]:
    """Local fractions at every `factor`-th voxel, or the phase itself."""
    if factor == 1:
        return mask.astype(np.float64)
    at = slice(factor // 2, None, factor)
    return np.asarray(gaussian_filter(mask.astype(np.float64), factor / 2)[at, at, at])


def covariance(field: NDArray[np.float64], lags: int) -> Tensor:
    """Normalised and tapered autocovariance [lags, lags, lags]; mirrored lags are one, as in the planes."""
    mean, _ = covariance_by_lag(torch.from_numpy(field - field.mean())[None, None])
    found = mean[0]
    for axis in range(3):
        found = (found + found.flip(axis).roll(1, axis)) / 2
    octant = found[:lags, :lags, :lags] / found[0, 0, 0]
    return octant * raised_cosine(distances((2 * lags,) * 3)[:lags, :lags, :lags], lags)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    rows = []
    for case in CASES:
        mask = case.material.training(arguments.data) == case.phase
        lags = 26 if case.factor == 1 else 13
        octant = covariance(read_off(mask, case.factor), lags)
        grid = (2 * lags + 4,) * 3
        true = mirrored_spectrum(octant, grid).clamp(min=0)
        planes = torch.stack([octant.select(axis, 0) for axis in range(3)])[None]
        along = along_axes(planes)[0]
        found = [stretched_spectrum(along, grid), separable_spectrum(along, grid), volume_spectrum(planes, grid)[0]]
        rows.append([str(case), *(f"{float((each - true).abs().sum() / true.sum()):.1%}" for each in found)])
    print(machine())
    print(table(["material", "stretched", "separable", "fitted to the planes"], rows))


if __name__ == "__main__":
    main()
