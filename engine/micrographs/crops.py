"""Random square crops of micrographs, as training batches.

Shapes: `B` batch, `K` phases, `N` crop size.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.micrographs.micrograph import Micrographs


class CropSampler:
    """Draws square crops: each slice equally likely, in one of the eight orientations of the square.

    Where planes are told apart, each plane is equally likely, and its crops are mirrored but never turned.

    A batch is a function of the generator alone, so training that was interrupted goes on with the batches it
    would have had.
    """

    def __init__(self, micrographs: Micrographs, size: int) -> None:
        self.size, self.anisotropic = size, micrographs.is_anisotropic
        self._slicings = [
            (array, axis, plane)
            for array, axis, plane in micrographs.slicings()
            # A thin volume still trains on the planes that hold a crop.
            if min(n for a, n in enumerate(array.shape) if a != axis) >= size
        ]
        assert self._slicings, "micrographs smaller than the crop are refused when they are read"
        slices = np.array([1 if axis < 0 else array.shape[axis] for array, axis, _ in self._slicings], dtype=float)
        planes = np.array([plane for _, _, plane in self._slicings])
        for plane in set(planes):
            slices[planes == plane] /= slices[planes == plane].sum()
        self._weights = slices / slices.sum()

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Phase indices of `count` crops, int64 [B, N, N], and the plane of each, int64 [B]; -1 for none."""
        crops, planes = zip(*(self._crop(generator) for _ in range(count)), strict=True)
        return torch.from_numpy(np.stack(crops).astype(np.int64)), torch.tensor(planes)

    def _crop(self, generator: np.random.Generator) -> tuple[NDArray[np.uint8], int]:
        array, axis, kind = self._slicings[generator.choice(len(self._slicings), p=self._weights)]
        plane = array if axis < 0 else np.take(array, generator.integers(array.shape[axis]), axis=axis)
        y, x = (int(generator.integers(n - self.size + 1)) for n in plane.shape)
        crop = plane[y : y + self.size, x : x + self.size]
        if self.anisotropic:
            flips = [a for a in (0, 1) if generator.integers(2)]
            return np.flip(crop, tuple(flips)), kind
        turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))
        return np.rot90(crop.T if mirrored else crop, turns), kind


def one_hot(indices: Tensor, phases: int) -> Tensor:
    """Phase indices [B, ...] -> float32 one-hot [B, K, ...]."""
    return torch.nn.functional.one_hot(indices.long(), phases).movedim(-1, 1).float()
