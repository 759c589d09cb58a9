"""U-Net that predicts v, epsilon or x0 from a noisy plane, its time and what is known about it.

Shapes: `B` batch, `C` channels, `H W` plane, `E` embedding, `D` descriptors.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.blocks import CrossAttention, ResidualBlock, SelfAttention, group_norm
from engine.models.condition import NOTHING, Condition, ConditionEmbedding
from engine.models.losses import Prediction


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """Sizes of the U-Net."""

    channels: int = 4
    """Channels of the field that is denoised (latent channels)."""
    width: int = 64
    patch: int = 1
    """Pixels on a side that are taken together as channels before anything else (1, 2 or 4): nothing is lost, and the
    finest level costs a quarter or a sixteenth (U-Nets of pixel space: Hoogeboom et al. 2023)."""
    multipliers: tuple[int, ...] = (1, 2, 3)
    """Width of each level, in units of `width`; each level halves the plane."""
    blocks: int = 1
    """Residual blocks per level."""
    attention: tuple[int, ...] | None = None
    """Levels with attention, 0 the finest; None: all below the finest."""
    heads: int = 4
    prediction: Prediction = "v"
    learned_variance: bool = False
    """A second half of the output says where the variance of a step lies between its bounds."""
    planes: bool = False
    """Told which plane it sees."""
    classes: int = 0
    """Told which of so many classes it sees."""
    descriptors: int = 0
    """Told so many real numbers about what it sees."""
    attends: bool = False
    """Reads the condition by cross-attention too (anisotropic paper), not only by the time's embedding."""
    dropout: float = 0.0

    @property
    def halvings(self) -> int:
        """How often the plane is halved; its sides must be multiples of 2 to this power."""
        return len(self.multipliers) - 1 + self.patch.bit_length() - 1

    def has_attention(self, level: int) -> bool:
        return level > 0 if self.attention is None else level in self.attention


class Denoiser(nn.Module):
    """U-Net with attention below the finest level (Ho et al. 2020); 7.8 M parameters at the default sizes."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        width, levels = config.width, config.multipliers
        embedding = 4 * width
        self.time = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.condition = ConditionEmbedding(
            planes=config.planes, classes=config.classes, descriptors=config.descriptors, embedding=embedding
        )
        reads = embedding if config.attends and self.condition.tokens else None

        def stage(in_channels: int, out_channels: int, attention: bool) -> _Stage:
            heads = config.heads if attention else None
            return _Stage(in_channels, out_channels, embedding, config.dropout, heads, reads if attention else None)

        self.stem = nn.Conv2d(config.channels * config.patch**2, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        c, skips = width, [width]
        for level, multiplier in enumerate(levels):
            for _ in range(config.blocks):
                self.down.append(stage(c, width * multiplier, config.has_attention(level)))
                c = width * multiplier
                skips.append(c)
            if level < len(levels) - 1:
                self.down.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                skips.append(c)
        self.middle = nn.ModuleList([stage(c, c, True), stage(c, c, False)])
        for level, multiplier in reversed(list(enumerate(levels))):
            for _ in range(config.blocks + 1):
                self.up.append(stage(c + skips.pop(), width * multiplier, config.has_attention(level)))
                c = width * multiplier
            if level > 0:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(c, c, 3, padding=1)))
        self.head = nn.Sequential(
            group_norm(c),
            nn.SiLU(),
            nn.Conv2d(c, (1 + config.learned_variance) * config.channels * config.patch**2, 3, padding=1),
        )

    def forward(self, x: Tensor, time: Tensor, condition: Condition = NOTHING) -> Tensor:
        """Args: x [B, C, H, W], H and W multiples of 2**(levels - 1); time [B], fractional values allowed.

        Returns: the predicted v, epsilon or x0, [B, C, H, W]; with a learned variance [B, 2 C, H, W], the second half
            -1..1 from the smallest to the largest.
        """
        x, skips, known = self._descend(x, time, condition)
        for layer in self.up:
            x = layer(torch.cat([x, skips.pop()], dim=1), *known) if isinstance(layer, _Stage) else layer(x)
        out: Tensor = self.head(x)
        return F.pixel_shuffle(out, self.config.patch)

    def features(self, x: Tensor, time: Tensor, condition: Condition = NOTHING) -> Tensor:
        """What the deepest level makes of x [B, C, H, W]: [B, F, H', W'], F = width times the last multiplier."""
        return self._descend(x, time, condition)[0]

    def _descend(
        self, x: Tensor, time: Tensor, condition: Condition
    ) -> tuple[Tensor, list[Tensor], tuple[Tensor, Tensor]]:
        """Down to the deepest level and through it: its output, the skips, the embedding and the condition's tokens."""
        embedding = self.time(sinusoids(time, self.config.width).to(self.stem.weight.dtype))
        tokens = self.condition(condition, x.shape[0], embedding)
        known = F.silu(embedding + tokens.sum(dim=1)), tokens
        x = self.stem(F.pixel_unshuffle(x, self.config.patch))
        skips = [x]
        for layer in self.down:
            x = layer(x, *known) if isinstance(layer, _Stage) else layer(x)
            skips.append(x)
        for layer in self.middle:
            x = layer(x, *known)
        return x, skips, known


class _Stage(nn.Module):
    """Residual block, then attention to the plane itself and to the condition where the level has it."""

    def __init__(
        self, in_channels: int, out_channels: int, embedding: int, dropout: float, heads: int | None, reads: int | None
    ) -> None:
        super().__init__()
        self.block = ResidualBlock(in_channels, out_channels, embedding, dropout)
        self.attention = SelfAttention(out_channels, heads) if heads is not None else nn.Identity()
        self.reading = CrossAttention(out_channels, reads, heads or 1) if reads is not None else None

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor) -> Tensor:
        out: Tensor = self.attention(self.block(x, embedding))
        return out if self.reading is None else self.reading(out, tokens)


def sinusoids(time: Tensor, width: int) -> Tensor:
    """Sinusoidal features of the time (Vaswani et al. 2017): [B] -> [B, width], float32."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, device=time.device) / half)
    angles = time.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
