"""From phases to the fields that solvers take, and gradients back to phases.

Legend: `B` members, `K` phases, `D H W` space (z, y, x), `P` entries of a phase's property (1 isotropic, 3 axes).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.errors import InputError


def phase_indices(labels: Tensor, declared: Sequence[int]) -> Tensor:
    """Position in `declared` of every voxel's label, int64 in the shape of `labels`.

    Raises:
        InputError: a label twice, or a voxel whose label is not declared (named with its number of voxels).
    """
    if len(set(declared)) != len(declared) or not declared:
        raise InputError(f"phases: every label must be declared once, not {list(declared)}")
    found, inverse = torch.unique(labels, return_inverse=True)
    position = {label: i for i, label in enumerate(declared)}
    foreign = [int(label) for label in found if int(label) not in position]
    if foreign:
        count = int((labels == foreign[0]).sum())
        raise InputError(
            f"labels: {count} voxels have the label {foreign[0]}, which no phase declares; "
            f"declared: {', '.join(map(str, declared))}"
        )
    order = torch.tensor([position[int(label)] for label in found], device=labels.device)
    return order[inverse]


def mixed(indicators: Tensor, values: Tensor) -> Tensor:
    """A property field by the rule of mixtures in every voxel: sum over phases of indicator times value.

    Args:
        indicators: [B, K, D, H, W], one-hot or soft.
        values: [K] isotropic, or [K, 3] along z, y, x.

    Returns: [B, D, H, W] or [B, 3, D, H, W].
    """
    if len(values) != indicators.shape[1]:
        raise InputError(f"values: {indicators.shape[1]} phases need as many values, not {len(values)}")
    return torch.einsum("bk...,kp->bp...", indicators, values.view(len(values), -1)).squeeze(1)


def by_indicators(gradient: Tensor, values: Tensor) -> Tensor:
    """Chain rule of `mixed`: the derivative by the field becomes the derivative by the phase indicators.

    Args:
        gradient: [B, D, H, W] or [B, 3, D, H, W], derivative of a number by the field.
        values: as given to `mixed`.

    Returns: [B, K, D, H, W].
    """
    table = values.view(len(values), -1)
    if gradient.ndim == 4:
        gradient = gradient.unsqueeze(1)
    return torch.einsum("bp...,kp->bk...", gradient, table)
