"""The real materials that the benchmarks train and judge on, and which part of each file does which."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@dataclass(frozen=True, kw_only=True)
class Material:
    """A tomogram or micrograph of phase indices; a gap keeps neighbouring grains out of both parts."""

    file: str
    phases: tuple[str, ...]
    axis: int
    """Array axis that is cut."""
    trained_below: int
    judged_from: int
    isotropic: bool

    def training(self, data: Path = DATA) -> NDArray[np.uint8]:
        """The part whose slices train."""
        return self._part(data, slice(self.trained_below))

    def judging(self, data: Path = DATA) -> NDArray[np.uint8]:
        """The part that is never trained on."""
        return self._part(data, slice(self.judged_from, None))

    def whole(self, data: Path = DATA) -> NDArray[np.uint8]:
        """All of it.

        Raises:
            SystemExit: the file is not at hand.
        """
        import tifffile

        path = data / self.file
        if not path.is_file():
            raise SystemExit(f"needs {path}; give the folder of the tomograms with --data")
        whole = tifffile.imread(path)
        labels, indices = np.unique(whole, return_inverse=True)
        assert len(labels) == len(self.phases), f"{path}: labels {labels} for the phases {self.phases}"
        return indices.reshape(whole.shape).astype(np.uint8)

    def _part(self, data: Path, kept: slice) -> NDArray[np.uint8]:
        whole = self.whole(data)
        cut = [slice(None)] * whole.ndim
        cut[self.axis] = kept
        return whole[tuple(cut)]


MATERIALS = {
    "berea": Material(
        file="berea_sandstone_200x400x400.tif",
        phases=("pore", "solid"),
        axis=2,
        trained_below=256,
        judged_from=272,
        isotropic=True,
    ),
    "nmc-cathode": Material(
        file="nmc_cathode_251x301x200.tif",
        phases=("pore", "nmc", "binder"),
        axis=1,
        trained_below=200,
        judged_from=216,
        isotropic=False,
    ),
    "sofc-anode": Material(
        file="sofc_anode_2d_1024x704.tif",
        phases=("a", "b", "c"),
        axis=1,
        trained_below=512,
        judged_from=528,
        isotropic=True,
    ),
}

SEPARATOR = Material(
    file="separator_lr_156x75x75.tif",
    phases=("a", "b"),
    axis=0,
    trained_below=92,
    judged_from=92,
    isotropic=False,
)
"""Trains a bundle, but is too small for a null distribution: its judging part is one block of 64 voxels cubed."""


def crops(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Disjoint squares [M, side, side] of the images [..., y, x]."""
    stack = image.reshape(-1, *image.shape[-2:])
    y, x = (n // side for n in stack.shape[-2:])
    cut = stack[:, : y * side, : x * side].reshape(len(stack), y, side, x, side)
    squares: NDArray[np.uint8] = cut.swapaxes(2, 3).reshape(-1, side, side)
    return squares
