"""Guidance of a volume that somebody else moves too, such as a sampler.

Shapes: `K` phases, `D H W` voxels.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.guidance.member import Member
from engine.guidance.moves import Evaluation
from engine.guidance.newton import logits
from engine.guidance.targets import Target
from engine.guidance.terms import MARGIN, asked_terms

if TYPE_CHECKING:
    from engine.properties.materials import Materials
    from engine.properties.own import OwnProperty


class Walk:
    """Gauss-Newton steps of one volume.

    Args:
        targets: at least one.
        phases, material, training, periodic, properties: as for `guide`.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        phases: Sequence[str],
        material: "Materials | None" = None,
        training: Mapping[str, Sequence[float]] | None = None,
        periodic: bool = False,
        properties: "Sequence[OwnProperty]" = (),
    ) -> None:
        terms = asked_terms(targets, phases, material, training, periodic, properties)
        self._member = Member(torch.empty(0), terms)

    @property
    def trace(self) -> tuple[dict[str, float], ...]:
        """One entry per evaluation: its number and every target's value."""
        return tuple(self._member.trace)

    def step(self, probabilities: Tensor) -> Tensor:
        """Towards the targets by one step, from [K, D, H, W]; as they are where all targets hold."""
        found = self._look(probabilities)
        if self._member.worst([each.value for each in found], kept=False) <= MARGIN:
            return probabilities
        change = self._member.step(found)
        return (self._member.logits + change).softmax(dim=0) if bool(change.isfinite().all()) else probabilities

    def attained(self, probabilities: Tensor) -> bool:
        """Whether every target holds on the hard volume."""
        found = self._look(probabilities)
        return all(term.target.holds(each.value) for term, each in zip(self._member.terms, found, strict=True))

    def _look(self, probabilities: Tensor) -> list[Evaluation]:
        self._member.logits = logits(probabilities)
        return self._member.look(len(self._member.trace))
