"""Network that predicts v from a noisy line of latents: what planes share where they cross (`engine.sampling.kikuchi`).

Shapes: `B` batch, `C` channels, `L` latent pixels along the line, `E` embedding.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.blocks import ResidualBlock, group_norm
from engine.models.condition import Condition, ConditionEmbedding
from engine.models.denoiser import sinusoids

DILATIONS = (1, 2, 4)
"""Of the first convolution of each block, in turn: six blocks see 41 latent pixels."""


@dataclass(frozen=True, kw_only=True)
class LineConfig:
    """Sizes of the network."""

    channels: int
    """Latent channels."""
    width: int = 64
    blocks: int = 6
    axes: bool = False
    """Told along which axis the line runs."""


class LineDenoiser(nn.Module):
    """Dilated residual blocks in one dimension; .2 M parameters."""

    def __init__(self, config: LineConfig) -> None:
        super().__init__()
        self.config = config
        width, embedding = config.width, 2 * config.width
        self.time = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.condition = ConditionEmbedding(planes=config.axes, classes=0, descriptors=0, embedding=embedding)
        self.stem = nn.Conv1d(config.channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            ResidualBlock(width, width, embedding, lines=True, dilation=DILATIONS[i % len(DILATIONS)])
            for i in range(config.blocks)
        )
        self.head = nn.Sequential(group_norm(width), nn.SiLU(), nn.Conv1d(width, config.channels, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor, axis: Tensor | None = None) -> Tensor:
        """Args: x [B, C, L]; time [B], fractional values allowed; axis [B] that each runs along, None not known.

        Returns: v, [B, C, L].
        """
        embedding = self.time(sinusoids(time, self.config.width).to(self.stem.weight.dtype))
        known = F.silu(embedding + self.condition(Condition(plane=axis), x.shape[0], embedding).sum(dim=1))
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, known)
        out: Tensor = self.head(x)
        return out
