"""Categorical autoencoder: one-hot phases in, phase logits out, a small latent plane between.

Shapes: `B` batch, `K` phases, `C` latent channels, `H W` pixels, `h w` = H/4, W/4 latent pixels.

Phases are categories, not grey levels: a boundary between phases 0 and 2 never passes through phase 1.
The latents are trained to be equivariant under D4, the eight symmetries of the square, so that each channel is a
scalar field and one latent cube can be read along any axis (see `engine.models.training`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.models.blocks import ResidualBlock, group_norm

FACTOR = 4  # pixels per latent pixel


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Sizes of the autoencoder."""

    phases: int
    latent_channels: int = 4
    width: int = 96
    """Channels at a quarter of the resolution, where most of the work is done."""
    fine_width: int = 32
    """Channels at half resolution."""


class Autoencoder(nn.Module):
    """Variational autoencoder of 64x64 one-hot crops (factor 4); 0.95 M parameters at the default width."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        k, c, wide, fine = config.phases, config.latent_channels, config.width, config.fine_width
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * k, fine, 3, padding=1),
            ResidualBlock(fine, fine),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * fine, wide, 3, padding=1),
            ResidualBlock(wide, wide),
            ResidualBlock(wide, wide),
            group_norm(wide),
            nn.SiLU(),
            nn.Conv2d(wide, 2 * c, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(c, wide, 3, padding=1),
            ResidualBlock(wide, wide),
            ResidualBlock(wide, wide),
            nn.Conv2d(wide, 4 * fine, 3, padding=1),
            nn.PixelShuffle(2),
            ResidualBlock(fine, fine),
            ResidualBlock(fine, fine),
            group_norm(fine),
            nn.SiLU(),
            nn.Conv2d(fine, 4 * k, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.register_buffer("latent_mean", torch.zeros(c))
        self.register_buffer("latent_std", torch.ones(c))
        self.latent_mean: Tensor
        self.latent_std: Tensor

    def posterior(self, one_hot: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents, not normalised.

        Args:
            one_hot: [B, K, H, W], values 0..1 (soft phases are welcome).
        Returns:
            two tensors [B, C, h, w].
        """
        mean, log_variance = self.encoder(one_hot * 2 - 1).chunk(2, dim=1)
        return mean, log_variance

    def logits(self, latents: Tensor) -> Tensor:
        """[B, C, h, w], not normalised -> phase logits [B, K, H, W]."""
        out: Tensor = self.decoder(latents)
        return out

    def encode(self, one_hot: Tensor) -> Tensor:
        """[B, K, H, W] -> normalised latent means [B, C, h, w]: zero mean, unit variance over the training data."""
        mean, _ = self.posterior(one_hot)
        return (mean - self.latent_mean.to(mean)[:, None, None]) / self.latent_std.to(mean)[:, None, None]

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents [B, C, h, w] -> phase probabilities [B, K, H, W]."""
        raw = latents * self.latent_std.to(latents)[:, None, None] + self.latent_mean.to(latents)[:, None, None]
        return self.logits(raw).softmax(dim=1)


def d4(x: Tensor, element: int) -> Tensor:
    """One of the eight symmetries of the square, on the last two axes. `element` in 0..7: transpose, flips."""
    if element & 1:
        x = x.transpose(-1, -2)
    flips = [axis for axis, bit in ((-1, 2), (-2, 4)) if element & bit]
    return x.flip(flips) if flips else x
