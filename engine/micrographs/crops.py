"""Random square crops of micrographs, as training batches.

Shapes: `B` batch, `K` phases, `N` crop size.
"""

import numpy as np
import torch
from torch import Tensor

from engine.micrographs.micrograph import Micrographs


class CropSampler:
    """Draws square crops, each slice of each image equally likely, in one of the eight orientations of the square.

    A batch is a function of the generator alone, so training that was interrupted goes on with the batches it
    would have had.
    """

    def __init__(self, micrographs: Micrographs, size: int) -> None:
        self.size = size
        self._planes: list[tuple[np.ndarray, int]] = []  # (array, axis that is sliced; -1 for an image)
        weights: list[float] = []
        for array in micrographs.arrays:
            for axis in (-1,) if array.ndim == 2 else (0, 1, 2):
                plane = [n for a, n in enumerate(array.shape) if a != axis]
                if min(plane) < size:
                    continue  # a thin volume still trains on the planes that hold a crop
                self._planes.append((array, axis))
                weights.append(1.0 if axis < 0 else float(array.shape[axis]))
        assert self._planes, "micrographs smaller than the crop are refused when they are read"
        self._weights = np.asarray(weights) / sum(weights)

    def draw(self, count: int, generator: np.random.Generator) -> Tensor:
        """Phase indices of `count` crops, int64 [B, N, N]."""
        return torch.from_numpy(np.stack([self._crop(generator) for _ in range(count)]).astype(np.int64))

    def _crop(self, generator: np.random.Generator) -> np.ndarray:
        array, axis = self._planes[generator.choice(len(self._planes), p=self._weights)]
        plane = array if axis < 0 else np.take(array, generator.integers(array.shape[axis]), axis=axis)
        y, x = (int(generator.integers(n - self.size + 1)) for n in plane.shape)
        crop = plane[y : y + self.size, x : x + self.size]
        turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))
        return np.rot90(crop.T if mirrored else crop, turns)


def one_hot(indices: Tensor, phases: int) -> Tensor:
    """Phase indices [B, ...] -> float32 one-hot [B, K, ...]."""
    return torch.nn.functional.one_hot(indices.long(), phases).movedim(-1, 1).float()
