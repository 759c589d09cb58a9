"""Steps of the phases' logits that change numbers of a volume to first order.

Shapes: `K` phases, `D H W` voxels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.guidance.moves import Move

INDISTINCT = 1e-3  # of the largest: combinations of moves with less effect are left alone, as of lags that move as one


def solved(p: Tensor, moves: Sequence[Move], missing: Sequence[float]) -> Tensor:
    """The combination of the directions [K, D, H, W] that brings each number what it lacks, to first order."""
    if not moves:
        return torch.zeros_like(p)
    changes = [moved(p, move.direction) for move in moves]  # of the probabilities
    system = torch.zeros(len(moves), len(moves), dtype=torch.float64)
    for row, move in enumerate(moves):
        for column, change_of in enumerate(changes):
            system[row, column] = float((move.gradient * change_of).sum(dtype=torch.float64))
    change = torch.zeros_like(p)
    if not bool(system.isfinite().all()):
        return change * torch.nan
    goal = torch.tensor(missing, dtype=torch.float64)
    size = system.abs().amax(dim=1, keepdim=True).clamp(min=1e-30)
    scaled = system / size, (goal / size[:, 0]).unsqueeze(1)
    weights = torch.linalg.lstsq(*scaled, rcond=INDISTINCT, driver="gelsd").solution[:, 0]
    for weight, move in zip(weights.tolist(), moves, strict=True):
        change += weight * move.direction
    return change


def brought(p: Tensor, move: Move, change: Tensor) -> float:
    """What a change of the logits brings a number, to first order."""
    return float((move.gradient * moved(p, change)).sum(dtype=torch.float64))


def share(p: Tensor, change: Tensor) -> float:
    """Share of the volume that a change of the logits moves to other phases, to first order."""
    return 0.5 * float(moved(p, change).abs().sum(dim=0).mean())


def moved(p: Tensor, change: Tensor) -> Tensor:
    """First-order change of probabilities [K, D, H, W] by a change of their logits: the Jacobian of the softmax."""
    return p * (change - (p * change).sum(dim=0, keepdim=True))


def logits(probabilities: Tensor) -> Tensor:
    """Log-probabilities, kept finite. Probabilities below 1e-4 all mean: certainly not this phase."""
    return probabilities.clamp(min=1e-4).log()


def one_hot(indices: Tensor, phases: int) -> Tensor:
    """Phase indices [D, H, W] as indicators [K, D, H, W], float32."""
    return torch.zeros(phases, *indices.shape, device=indices.device).scatter_(0, indices.unsqueeze(0), 1.0)
