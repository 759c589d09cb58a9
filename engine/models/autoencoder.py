"""Categorical autoencoder: one-hot phases in, a small latent plane between, phase logits out.

Shapes: `B` batch, `K` phases, `C` = K - 1 latent channels, `H W` pixels, `h w` = H/4, W/4 latent pixels.

Phases are categories, not grey levels: a boundary between phases 0 and 2 never passes through phase 1.

The latents are the local volume fractions of all phases but the last: the indicator under a Gaussian window, read at
every fourth pixel. Nothing about them is learned, because one latent cube is read along three axes: where planes across
two axes cross, their latents must agree. Local fractions do (correlation .98 on Berea sandstone); of the channels of a
trained encoder only the coarsest did, the others were details that a cube cannot hold for all its planes at once
(docs/method.md). What they leave out of a plane the decoder has learned to put back.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FACTOR = 4  # pixels per latent pixel
WINDOW_PIXELS = 12  # even: the window is centred on a latent pixel, which stands between four pixels


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Sizes of the autoencoder."""

    phases: int
    window: float = 2.0
    """Standard deviation of the Gaussian window in pixels. Narrower, interfaces between two latent pixels go unseen;
    wider, planes agree less and details fade."""
    width: int = 96
    """Channels at a quarter of the resolution, where most of the work is done."""
    fine_width: int = 32
    """Channels at half resolution."""

    @property
    def latent_channels(self) -> int:
        return self.phases - 1


def convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    """3x3, mirrored at the border: with zeros, latents there would have another mean and variance than inside."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode="reflect")


class LocalBlock(nn.Module):
    """Residual block without normalisation over the plane, so that a latent depends on the pixels around it alone.

    Normalised by the statistics of its plane, one and the same place of a volume would read differently along each axis
    and in a larger plane. The last convolution starts at zero (He et al. 2016), which keeps the start stable without.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_in = convolution(channels, channels)
        self.conv_out = convolution(channels, channels)
        nn.init.zeros_(self.conv_out.weight)
        assert self.conv_out.bias is not None
        nn.init.zeros_(self.conv_out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        out: Tensor = x + self.conv_out(F.silu(self.conv_in(F.silu(x))))
        return out


class Autoencoder(nn.Module):
    """Autoencoder of 64x64 one-hot crops (factor 4); 0.48 M parameters at the default width."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        k, c, wide, fine = config.phases, config.latent_channels, config.width, config.fine_width
        self.decoder = nn.Sequential(
            convolution(c, wide),
            LocalBlock(wide),
            LocalBlock(wide),
            convolution(wide, 4 * fine),
            nn.PixelShuffle(2),
            LocalBlock(fine),
            LocalBlock(fine),
            nn.SiLU(),
            convolution(fine, 4 * k),
            nn.PixelShuffle(2),
        )
        self.register_buffer("latent_mean", torch.zeros(c))
        self.register_buffer("latent_std", torch.ones(c))
        offsets = torch.arange(WINDOW_PIXELS) - (WINDOW_PIXELS - 1) / 2
        taps = torch.exp(-0.5 * (offsets / config.window).square())
        self.register_buffer("taps", torch.outer(taps, taps) / taps.sum().square(), persistent=False)
        self.taps: Tensor
        self.latent_mean: Tensor
        self.latent_std: Tensor

    def features(self, one_hot: Tensor) -> Tensor:
        """Local fractions of all phases but the last; not normalised. Mirrored at the border.

        Args:
            one_hot: [B, K, H, W], values 0..1 (soft phases are welcome).
        Returns:
            [B, C, h, w].
        """
        margin = (WINDOW_PIXELS - FACTOR) // 2
        wide = F.pad(one_hot[:, :-1], (margin,) * 4, mode="reflect")
        channels = wide.shape[1]
        return F.conv2d(wide, self.taps.to(wide).expand(channels, 1, -1, -1), stride=FACTOR, groups=channels)

    def logits(self, latents: Tensor) -> Tensor:
        """Normalised latents [B, C, h, w] -> phase logits [B, K, H, W]."""
        out: Tensor = self.decoder(latents)
        return out

    def encode(self, one_hot: Tensor) -> Tensor:
        """[B, K, H, W] -> normalised latents [B, C, h, w]: zero mean, unit variance over the training data."""
        features = self.features(one_hot)
        return (features - self.latent_mean.to(features)[:, None, None]) / self.latent_std.to(features)[:, None, None]

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents [B, C, h, w] -> phase probabilities [B, K, H, W]."""
        return self.logits(latents).softmax(dim=1)


def d4(x: Tensor, element: int) -> Tensor:
    """One of the eight symmetries of the square, on the last two axes. `element` in 0..7: transpose, flips."""
    if element & 1:
        x = x.transpose(-1, -2)
    flips = [axis for axis, bit in ((-1, 2), (-2, 4)) if element & bit]
    return x.flip(flips) if flips else x
