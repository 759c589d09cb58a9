"""Volume fractions of the phases, on hard labels and (differentiable) on soft phases.

Legend: B batch, K phases, D H W space (array axes z, y, x).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import InputError


def volume_fractions(labels: NDArray[Any], phase_labels: Sequence[int], *, space_dims: int = 3) -> NDArray[np.float64]:
    """Fraction of the voxels that carry each label.

    Args:
        labels: integer array [..., *space]; the last `space_dims` axes are space, the others a batch.
        phase_labels: the K labels to count, in the order wanted.
        space_dims: 3 for volumes, 2 for micrographs.

    Returns:
        fractions [..., K], dimensionless. They sum to 1 where every voxel carries one of the labels.

    Raises:
        InputError: fewer axes than `space_dims`, no voxel, or labels that are no integers.
    """
    labels = np.asarray(labels)
    if labels.ndim < space_dims or labels.size == 0:
        raise InputError(f"labels: need at least {space_dims} axes and one voxel, got shape {labels.shape}")
    if labels.dtype.kind not in "bui":
        raise InputError(f"labels: must be integers, one per phase, not {labels.dtype}")
    space = tuple(range(labels.ndim - space_dims, labels.ndim))
    return np.stack([np.mean(labels == label, axis=space, dtype=np.float64) for label in phase_labels], axis=-1)


def soft_fractions(phases: Tensor) -> Tensor:
    """Fraction of every phase of a soft volume: the mean over space, so its gradient is 1/(number of voxels).

    Args:
        phases: [B, K, D, H, W] (or [B, K, H, W]), each voxel's phases summing to 1.

    Returns:
        fractions [B, K].
    """
    return phases.flatten(2).mean(dim=2)
