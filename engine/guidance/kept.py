"""What guidance keeps of the material while it looks for targets: the surface that its phases have.

There are many ways to a fraction and a diffusivity, and the shortest smooths the pores: volumes had their targets at up
to a sixth less surface than natural ones. So the surface of every phase is a term beside the targets, with the interval
in which natural volumes of 64 voxels a side lie. It yields: a volume that has all its targets is delivered also where
its surface could not be kept. Where a target itself speaks of interfaces, none is kept.

Shapes: `K` phases, `D H W` voxels.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from engine.descriptors.surface import natural_surface_area, soft_surface_area
from engine.guidance.moves import Evaluation, Move, centred, scaled, smooth
from engine.guidance.newton import moved
from engine.guidance.targets import Target
from engine.guidance.terms import Term
from engine.metrics import Metric

WITHIN = 0.08  # of the natural surface; among natural volumes of 64^3 and one fraction it scatters by 6 to 9 % (sd)
SMOOTHINGS = 6  # of the direction: interfaces shall undulate over some voxels; after two they only get ragged
SPEAKING = frozenset({"surface_area", "mean_chord", "s2_discrepancy", "lineal_path_discrepancy", "tpb_density"})
"""Metrics that say how much interface there is."""


def kept_terms(
    targets: Sequence[Target],
    phases: Sequence[str],
    training: Mapping[str, Sequence[float]] | None,
    periodic: bool = False,
) -> list[Term]:
    """Terms that keep the surfaces of K phases natural: of both phases one, since it is the same.

    Args:
        targets: asked of the volume.
        phases: K names.
        training: curves of the training data; a phase without its `s2[PHASE]` is not kept.
        periodic: the volume goes on beyond its border.
    """
    terms = []
    for k in range(kept_count(targets, len(phases))):
        curve = (training or {}).get(f"s2[{phases[k]}]")
        if curve is not None and 0 < curve[0] < 1:
            interval = Target(metric=Metric("surface_area_to_natural", phases[k]), low=1 - WITHIN, high=1 + WITHIN)
            terms.append(Term(interval, RelativeSurface(k, curve, periodic=periodic), kept=True))
    return terms


def kept_count(targets: Sequence[Target], phases: int) -> int:
    """Of how many of K phases the surface is kept."""
    if phases < 2 or any(target.metric.name in SPEAKING for target in targets):
        return 0
    return 1 if phases == 2 else phases


class RelativeSurface:
    """Surface of a phase over that of the natural material at the fraction that the volume has."""

    logarithmic = True

    def __init__(self, phase: int, s2: Sequence[float], *, periodic: bool = False) -> None:
        self._phase, self._s2, self._periodic = phase, s2, periodic

    def __call__(self, hard: Tensor, soft: Tensor, miss: Callable[[float], float]) -> Evaluation:
        fraction = float(hard[self._phase].mean())
        if not 0 < fraction < 1:
            return Evaluation(value=math.nan, moves=())  # no interface, and no way to one
        with torch.enable_grad():
            mask = hard[self._phase].detach().clone().requires_grad_(True)
            area = soft_surface_area(mask, periodic=self._periodic)
            [by_mask] = torch.autograd.grad(area, mask)
        natural, slope = natural_surface_area(self._s2, fraction)
        value = float(area.detach()) / natural
        gradient = torch.zeros_like(soft)
        gradient[self._phase] = by_mask / natural - value * slope / (natural * mask.numel())
        calm = torch.stack([smooth(each, self._periodic, SMOOTHINGS) for each in centred(gradient, soft)])
        # At the fractions as they are: the shortest way to less surface is less of the phase.
        direction = scaled(_of_equal_fractions(calm, soft), soft)
        return Evaluation(value=value, moves=(Move(gradient=gradient, direction=direction),))


def _of_equal_fractions(direction: Tensor, soft: Tensor) -> Tensor:
    """Less what is the same at every voxel and changes the fractions as it does, to first order."""
    phases, p = len(soft), soft.flatten(1).double()
    by_constants = torch.diag(p.sum(dim=1)) - p @ p.T
    by_direction = moved(soft, direction).flatten(1).sum(dim=1, dtype=torch.float64)
    constants = torch.linalg.lstsq(by_constants, by_direction.unsqueeze(1), driver="gelsd").solution
    shifted: Tensor = direction - constants.to(direction).view(phases, 1, 1, 1)
    return shifted
