"""U-Net that predicts v or epsilon from a noisy latent plane and its time.

Shapes: `B` batch, `C` channels, `H W` plane.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.blocks import ResidualBlock, SelfAttention, group_norm

Prediction = Literal["v", "epsilon"]


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """Sizes of the U-Net."""

    channels: int = 4
    """Channels of the field that is denoised (latent channels)."""
    width: int = 64
    multipliers: tuple[int, ...] = (1, 2, 3)
    """Width of each level, in units of `width`; each level halves the plane."""
    blocks: int = 1
    """Residual blocks per level."""
    prediction: Prediction = "v"


class Denoiser(nn.Module):
    """U-Net with attention below the finest level (Ho et al. 2020); 7.8 M parameters at the default sizes."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        width, levels = config.width, config.multipliers
        embedding = 4 * width
        self.time = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.stem = nn.Conv2d(config.channels, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        c, skips = width, [width]
        for level, multiplier in enumerate(levels):
            for _ in range(config.blocks):
                self.down.append(_Stage(c, width * multiplier, embedding, attention=level > 0))
                c = width * multiplier
                skips.append(c)
            if level < len(levels) - 1:
                self.down.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                skips.append(c)
        self.middle = nn.ModuleList([_Stage(c, c, embedding, attention=True), _Stage(c, c, embedding, attention=False)])
        for level, multiplier in reversed(list(enumerate(levels))):
            for _ in range(config.blocks + 1):
                self.up.append(_Stage(c + skips.pop(), width * multiplier, embedding, attention=level > 0))
                c = width * multiplier
            if level > 0:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(c, c, 3, padding=1)))
        self.head = nn.Sequential(group_norm(c), nn.SiLU(), nn.Conv2d(c, config.channels, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Args: x [B, C, H, W], H and W multiples of 2**(levels - 1); time [B], fractional values allowed.

        Returns: the predicted v or epsilon, [B, C, H, W].
        """
        x, skips, embedding = self._descend(x, time)
        for layer in self.up:
            x = layer(torch.cat([x, skips.pop()], dim=1), embedding) if isinstance(layer, _Stage) else layer(x)
        out: Tensor = self.head(x)
        return out

    def features(self, x: Tensor, time: Tensor) -> Tensor:
        """What the deepest level makes of x [B, C, H, W]: [B, F, H', W'], F = width times the last multiplier."""
        return self._descend(x, time)[0]

    def _descend(self, x: Tensor, time: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Down to the deepest level and through it: its output, the skips, the embedding of the time."""
        embedding = F.silu(self.time(_sinusoids(time, self.config.width).to(self.stem.weight.dtype)))
        x = self.stem(x)
        skips = [x]
        for layer in self.down:
            x = layer(x, embedding) if isinstance(layer, _Stage) else layer(x)
            skips.append(x)
        for layer in self.middle:
            x = layer(x, embedding)
        return x, skips, embedding


class _Stage(nn.Module):
    """Residual block, then attention where the level has it."""

    def __init__(self, in_channels: int, out_channels: int, embedding: int, *, attention: bool) -> None:
        super().__init__()
        self.block = ResidualBlock(in_channels, out_channels, embedding)
        self.attention = SelfAttention(out_channels) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        out: Tensor = self.attention(self.block(x, embedding))
        return out


def _sinusoids(time: Tensor, width: int) -> Tensor:
    """Sinusoidal features of the time (Vaswani et al. 2017): [B] -> [B, width], float32."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, device=time.device) / half)
    angles = time.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
