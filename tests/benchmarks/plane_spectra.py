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

from engine.micrographs.files import read_array
from engine.sampling.spectra import along_axes, separable_spectrum, stretched_spectrum, volume_spectrum
from tests.benchmarks.common import machine, table


@dataclass(frozen=True, kw_only=True)
class Case:
    """A material and how it is read."""

    name: str
    file: str
    label: int
    region: tuple[slice, slice, slice]
    factor: int


WHOLE = slice(None)
CASES = (
    *(
        Case(
            name=f"nmc-cathode, {phase}, latents of factor 4",
            file="nmc_cathode_251x301x200.tif",
            label=label,
            region=(WHOLE, slice(0, 200), WHOLE),
            factor=4,
        )
        for label, phase in enumerate(("pore", "nmc", "binder"))
    ),
    Case(
        name="separator, latents of factor 2",
        file="separator_lr_156x75x75.tif",
        label=0,
        region=(slice(0, 92), WHOLE, WHOLE),
        factor=2,
    ),
    Case(
        name="separator, pixels",
        file="separator_lr_156x75x75.tif",
        label=0,
        region=(slice(0, 92), WHOLE, WHOLE),
        factor=1,
    ),
)


def read_off(mask: NDArray[np.bool_], factor: int) -> NDArray[np.float64]:
    """Local fractions at every `factor`-th voxel, or the phase itself."""
    if factor == 1:
        return mask.astype(np.float64)
    at = slice(factor // 2, None, factor)
    return np.asarray(gaussian_filter(mask.astype(np.float64), factor / 2)[at, at, at])


def covariance(field: NDArray[np.float64], lags: int) -> Tensor:
    """Normalised, mirrored and tapered autocovariance [n, n, n] in the order of the FFT, n = 2 lags + 4."""
    n = 2 * lags + 4
    wide = [side + lags for side in field.shape]
    centred = torch.from_numpy(field - field.mean())
    sums = torch.fft.irfftn(torch.fft.rfftn(centred, s=wide).abs().square(), s=wide)
    window = torch.fft.rfftn(torch.ones(field.shape, dtype=torch.float64), s=wide)
    mean = sums / torch.fft.irfftn(window.abs().square(), s=wide).round().clamp(min=1)
    for axis in range(3):  # mirrored lags are one, as in the planes
        mean = (mean + mean.flip(axis).roll(1, axis)) / 2
    quarter = mean[:lags, :lags, :lags] / mean[0, 0, 0]
    lag = torch.arange(lags, dtype=torch.float64)
    distance = (lag[:, None, None].square() + lag[:, None].square() + lag.square()).sqrt()
    quarter = quarter * torch.where(distance < lags, 0.5 * (1 + torch.cos(torch.pi * distance / lags)), 0.0)
    padded = torch.zeros(n // 2 + 1, n // 2 + 1, n // 2 + 1, dtype=torch.float64)
    padded[:lags, :lags, :lags] = quarter
    index = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64).abs().long()
    return padded[index][:, index][:, :, index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    rows = []
    for case in CASES:
        mask = read_array(arguments.data / case.file).array[case.region] == case.label
        lags = 26 if case.factor == 1 else 13
        whole = covariance(read_off(mask, case.factor), lags)
        n = whole.shape[0]
        true = torch.fft.fftn(whole).real.clamp(min=0)
        planes = torch.stack([whole.select(axis, 0)[:lags, :lags] for axis in range(3)])[None]
        along = along_axes(planes)[0]
        fitted = volume_spectrum(planes, (n, n, n))[0]
        guesses = [guess(along, (n, n, n)) for guess in (stretched_spectrum, separable_spectrum)]
        rows.append([case.name, *(f"{float((s - true).abs().sum() / true.sum()):.1%}" for s in (*guesses, fitted))])
    print(machine())
    print(table(["material", "stretched", "separable", "fitted to the planes"], rows))


if __name__ == "__main__":
    main()
