"""Random square crops of micrographs, as training batches.

Shapes: `B` batch, `K` phases, `N` crop size.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.micrographs.micrograph import Micrographs


class Crops(NamedTuple):
    """A batch."""

    indices: Tensor
    """Phase indices (or grey values 0..255), int64 [B, N, N]."""
    planes: Tensor
    """Axis across the plane of each, int64 [B]; -1 for none."""
    labels: Tensor
    """Class of each, int64 [B]; -1 for none."""


class CropSampler:
    """Draws square crops: each slice equally likely, in one of the eight orientations of the square.

    Where planes are told apart, each plane is equally likely, and its crops are mirrored but never turned. Where there
    are classes, each class is.

    A batch is a function of the generator alone, so training that was interrupted goes on with the batches it
    would have had.
    """

    def __init__(self, micrographs: Micrographs, size: int) -> None:
        self.size, self.anisotropic, self.classes = size, micrographs.is_anisotropic, len(micrographs.classes)
        # A thin volume still trains on the planes that hold a crop.
        self._slicings = [slicing for slicing in micrographs.slicings() if min(slicing.sides) >= size]
        assert self._slicings, "micrographs smaller than the crop are refused when they are read"
        images = np.array([slicing.images for slicing in self._slicings], dtype=float)
        kinds = [(slicing.plane, slicing.label) for slicing in self._slicings]
        for kind in set(kinds):
            same = np.array([other == kind for other in kinds])
            images[same] /= images[same].sum()
        self._weights = images / images.sum()

    def draw(self, count: int, generator: np.random.Generator) -> Crops:
        """A batch of `count`."""
        crops, planes, labels = zip(*(self._crop(generator) for _ in range(count)), strict=True)
        return Crops(torch.from_numpy(np.stack(crops).astype(np.int64)), torch.tensor(planes), torch.tensor(labels))

    def _crop(self, generator: np.random.Generator) -> tuple[NDArray[np.uint8], int, int]:
        slicing = self._slicings[generator.choice(len(self._slicings), p=self._weights)]
        image = slicing.image(int(generator.integers(slicing.images)) if slicing.axis >= 0 else 0)
        y, x = (int(generator.integers(n - self.size + 1)) for n in image.shape)
        crop = image[y : y + self.size, x : x + self.size]
        if self.anisotropic:
            flips = [a for a in (0, 1) if generator.integers(2)]
            return np.flip(crop, tuple(flips)), slicing.plane, slicing.label
        turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))
        return np.rot90(crop.T if mirrored else crop, turns), slicing.plane, slicing.label


def one_hot(indices: Tensor, phases: int) -> Tensor:
    """Phase indices [B, ...] -> float32 one-hot [B, K, ...]."""
    return torch.nn.functional.one_hot(indices.long(), phases).movedim(-1, 1).float()


def grey_field(values: Tensor) -> Tensor:
    """Grey values 0..255 [B, ...] -> one channel of float32 0..1 [B, 1, ...]."""
    return (values.float() / 255)[:, None]
