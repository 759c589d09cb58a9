"""What a denoiser is told about the plane before it: which plane of the volume, which class, which descriptors.

Each piece becomes a token. The tokens' sum is added to the embedding of the time (the light form), and the U-Net can
read them by cross-attention too (anisotropic paper). What is not known has a token of its own: a network that was
trained with some conditions dropped can be asked without any, as classifier-free guidance does (Ho & Salimans 2022).

Shapes: `B` batch, `D` descriptors, `T` tokens, `E` embedding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

PLANES = 3
UNKNOWN = -1


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What is known about each member of a batch; None where nothing is."""

    plane: Tensor | None = None
    """[B] int64: the axis 0, 1, 2 (z, y, x) that the plane is across; -1 not known."""
    label: Tensor | None = None
    """[B] int64: class; -1 not known."""
    descriptors: Tensor | None = None
    """[B, D], normalised; NaN not known."""

    def without(self, dropped: Tensor) -> "Condition":
        """Forgotten for some members; dropped [B] bool."""
        return Condition(
            plane=None if self.plane is None else self.plane.masked_fill(dropped, UNKNOWN),
            label=None if self.label is None else self.label.masked_fill(dropped, UNKNOWN),
            descriptors=None if self.descriptors is None else self.descriptors.masked_fill(dropped[:, None], torch.nan),
        )

    def repeated(self, count: int) -> "Condition":
        """The condition of one member, [1] each, for `count` of them; of descriptors for several nothing."""
        return Condition(
            plane=None if self.plane is None else self.plane.expand(count),
            label=None if self.label is None else self.label.expand(count),
            descriptors=None
            if self.descriptors is None or len(self.descriptors) != 1
            else self.descriptors.expand(count, -1),
        )


NOTHING = Condition()


class ConditionEmbedding(nn.Module):
    """Tokens of a condition: one for the plane, one for the class, one for each descriptor.

    Tokens start at zero, so that a fresh network does as if it knew nothing.
    """

    def __init__(self, *, planes: bool, classes: int, descriptors: int, embedding: int) -> None:
        super().__init__()
        self.planes = _table(PLANES, embedding) if planes else None
        self.classes = _table(classes, embedding) if classes else None
        self.values = nn.ModuleList(
            nn.Sequential(nn.Linear(1, embedding), nn.SiLU(), _silent(nn.Linear(embedding, embedding)))
            for _ in range(descriptors)
        )
        self.unknown = nn.Parameter(torch.zeros(descriptors, embedding)) if descriptors else None

    @property
    def tokens(self) -> int:
        """T."""
        return (self.planes is not None) + (self.classes is not None) + len(self.values)

    def forward(self, condition: Condition, batch: int, like: Tensor) -> Tensor:
        """[B, T, E] of dtype and device of `like`; a condition that the network does not take is ignored."""
        out = []
        for table, index in ((self.planes, condition.plane), (self.classes, condition.label)):
            if table is not None:
                known = index if index is not None else torch.full((batch,), UNKNOWN, device=like.device)
                out.append(table(known.to(like.device) % table.num_embeddings))  # -1: the last row
        if self.unknown is not None:
            given = condition.descriptors
            if given is None:
                given = like.new_full((batch, len(self.values)), torch.nan)
            for i, layers in enumerate(self.values):
                value = given[:, i : i + 1].to(like)
                missing = value.isnan()
                out.append(torch.where(missing, self.unknown[i], layers(value.nan_to_num())))
        return torch.stack(out, dim=1) if out else like.new_zeros(batch, 0, like.shape[-1])


def _silent(layer: nn.Linear) -> nn.Linear:
    """That answers zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _table(rows: int, embedding: int) -> nn.Embedding:
    """One row more, for what is not known."""
    table = nn.Embedding(rows + 1, embedding)
    nn.init.zeros_(table.weight)
    return table
