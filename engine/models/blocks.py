"""Building blocks shared by the autoencoder and the denoiser.

Shapes: `B` batch, `C` channels, `H W` plane, `E` embedding, `T` tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 8  # group normalisation: every width used here is a multiple of 8


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels)


class ResidualBlock(nn.Module):
    """Two convolutions of 3 pixels with a skip, of planes or lines; scale and shift by an embedding where there is one.

    The last convolution starts at zero, so a fresh block is the identity (He et al. 2016; Ho et al. 2020).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int | None = None,
        dropout: float = 0.0,
        *,
        lines: bool = False,
        dilation: int = 1,
    ) -> None:
        """`dilation` of the first convolution."""
        super().__init__()
        convolution = nn.Conv1d if lines else nn.Conv2d
        self.norm_in = group_norm(in_channels)
        self.conv_in = convolution(in_channels, out_channels, 3, padding=dilation, dilation=dilation)
        self.norm_out = group_norm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = convolution(out_channels, out_channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        assert self.conv_out.bias is not None
        nn.init.zeros_(self.conv_out.bias)
        self.modulation = None if embedding is None else nn.Linear(embedding, 2 * out_channels)
        self.skip = nn.Identity() if in_channels == out_channels else convolution(in_channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """x [B, C_in, H, W] or [B, C_in, L], embedding [B, E] -> the same with C_out channels."""
        h = self.norm_out(self.conv_in(F.silu(self.norm_in(x))))
        if self.modulation is not None:
            known = self.modulation(embedding)
            scale, shift = known.reshape(*known.shape, *(1 for _ in h.shape[2:])).chunk(2, dim=1)
            h = torch.addcmul(shift, h, 1 + scale)
        out: Tensor = self.skip(x) + self.conv_out(self.dropout(F.silu(h)))
        return out


class SelfAttention(nn.Module):
    """Multi-head self-attention over the pixels of a plane (Vaswani et al. 2017), zero at the start."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        b, c, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, height * width)
        # Contiguous, or PyTorch falls back from its fused kernel to the slow one on CPUs.
        q, k, v = qkv.transpose(-1, -2).contiguous().unbind(1)  # each [B, heads, H*W, C/heads]
        attended = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, height, width)
        out: Tensor = x + self.out(attended)
        return out


class CrossAttention(nn.Module):
    """Multi-head attention of pixels to tokens (anisotropic paper; Rombach et al. 2022), zero at the start."""

    def __init__(self, channels: int, token_size: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Linear(token_size, 2 * channels)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """x [B, C, H, W], tokens [B, T, E] -> [B, C, H, W]."""
        b, c, height, width = x.shape
        query = self.query(self.norm(x)).reshape(b, self.heads, c // self.heads, height * width)
        key, value = self.key_value(tokens).reshape(b, -1, 2, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query.transpose(-1, -2).contiguous(), key, value)
        out: Tensor = x + self.out(attended.transpose(-1, -2).reshape(b, c, height, width))
        return out
