"""Categorical autoencoder: one-hot phases in, a small latent plane between, phase logits out.

Shapes: `B` batch, `K` phases, `C` = K - 1 latent channels, `H W` pixels, `h w` = H/4, W/4 latent pixels.

Phases are categories, not grey levels: a boundary between phases 0 and 2 never passes through phase 1.

The latents are the local volume fractions of all phases but the last: the indicator under a Gaussian window, read at
every fourth pixel (or every second; read at every pixel, without a window, it is pixel space). Nothing about them is
learned, because one latent cube is read along three axes: where planes across two axes cross, their latents must agree.
Local fractions do (correlation .98 on Berea sandstone); of the channels of a trained encoder only the coarsest did, the
others were details that a cube cannot hold for all its planes at once (docs/method.md). What they leave out of a plane
the decoder has learned to put back.

Fractions of several phases know of each other (where there is more of one there is less of the others), but spectra and
moments are corrected channel by channel when volumes are sampled. So the channels are minimum/maximum autocorrelation
factors (`decorrelation`), which do not.

Grey-level images (2D only) have one channel, the grey value in 0..1, in place of the phases; their latents are local
means, and the decoder is trained by regression.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_SHARE = 1e-3  # of a phase in pixel space, where a probability is read off the field itself


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Sizes of the autoencoder."""

    phases: int
    factor: int = 4
    """Pixels per latent pixel along a side: 4, 2, or 1 for pixel space."""
    window: float = 2.0
    """Standard deviation of the Gaussian window in pixels. Narrower, interfaces between two latent pixels go unseen;
    wider, planes agree less and details fade. Not used in pixel space."""
    width: int = 96
    """Channels at a quarter of the resolution, where most of the work of factor 4 is done."""
    fine_width: int = 32
    """Channels at half resolution."""
    grey: bool = False
    """One channel of grey values in place of phases, `phases` then being 1."""

    @property
    def latent_channels(self) -> int:
        return 1 if self.grey else self.phases - 1

    @property
    def window_pixels(self) -> int:
        """Taps of the window along a side; even where the factor is, for a latent pixel stands between pixels."""
        return 1 if self.factor == 1 else 3 * self.factor


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
    """Autoencoder of one-hot crops; 0.48 M parameters at factor 4 and the default width, none in pixel space."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        c = config.latent_channels
        self.decoder = _decoder(config) if config.factor > 1 else None
        self.register_buffer("latent_mean", torch.zeros(c))
        self.register_buffer("latent_basis", torch.eye(c))
        offsets = torch.arange(config.window_pixels) - (config.window_pixels - 1) / 2
        taps = torch.exp(-0.5 * (offsets / config.window).square())
        self.register_buffer("taps", torch.outer(taps, taps) / taps.sum().square(), persistent=False)
        self.taps: Tensor
        self.latent_mean: Tensor
        self.latent_basis: Tensor
        """[C, C]: the normalised latents are this times the centred features."""

    def features(self, one_hot: Tensor) -> Tensor:
        """Local fractions of all phases but the last; not normalised. Mirrored at the border.

        Args:
            one_hot: [B, K, H, W], values 0..1 (soft phases are welcome).
        Returns:
            [B, C, h, w].
        """
        factor = self.config.factor
        kept = one_hot if self.config.grey else one_hot[:, :-1]
        if factor == 1:
            return kept
        margin = (self.config.window_pixels - factor) // 2
        wide = F.pad(kept, (margin,) * 4, mode="reflect")
        channels = wide.shape[1]
        return F.conv2d(wide, self.taps.to(wide).expand(channels, 1, -1, -1), stride=factor, groups=channels)

    def logits(self, latents: Tensor) -> Tensor:
        """Normalised latents [B, C, h, w] -> phase logits [B, K, H, W], or grey values [B, 1, H, W]."""
        if self.decoder is None:
            back = torch.linalg.inv(self.latent_basis.float()).to(latents)
            some = _mixed(latents, back) + self.latent_mean.to(latents)[:, None, None]
            if self.config.grey:
                return some
            shares = torch.cat([some, 1 - some.sum(dim=1, keepdim=True)], dim=1)
            return shares.clamp(min=SMALLEST_SHARE).log()
        out: Tensor = self.decoder(latents)
        return out

    def encode(self, one_hot: Tensor) -> Tensor:
        """[B, K, H, W] -> normalised latents [B, C, h, w]: zero mean, unit variance over the training data, channels
        that are not correlated."""
        features = self.features(one_hot)
        return _mixed(features - self.latent_mean.to(features)[:, None, None], self.latent_basis.to(features))

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents [B, C, h, w] -> phase probabilities [B, K, H, W], or grey values in 0..1 [B, 1, H, W]."""
        found = self.logits(latents)
        return found.clamp(0, 1) if self.config.grey else found.softmax(dim=1)


def _mixed(x: Tensor, matrix: Tensor) -> Tensor:
    """Channels of [B, C, H, W] by a matrix [C, C]."""
    return torch.einsum("ij,bjhw->bihw", matrix, x) if len(matrix) > 1 else x * matrix


def decorrelation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [C] and basis [C, C] of the latents: minimum/maximum autocorrelation factors (Switzer & Green 1984), with
    which geostatistics simulates several variables one by one (Desbarats & Dimitrakopoulos 2000).

    Basis times centred features has unit variance and no correlation between channels, neither at one place nor between
    neighbours; the first channel has the longest range. With one channel it divides by the standard deviation.

    Args:
        features: [M, C, h, w] of training crops.
    """
    mean = features.mean(dim=(0, 2, 3))
    centred = (features - mean[:, None, None]).double().movedim(1, 0)  # [C, M, h, w]
    white = _inverse_root(_covariance(centred, centred))
    whitened = torch.einsum("ij,j...->i...", white, centred)
    pairs = [(whitened[..., 1:, :], whitened[..., :-1, :]), (whitened[..., 1:], whitened[..., :-1])]
    lagged = sum((_covariance(one, other) for one, other in pairs), torch.zeros_like(white))
    factors = torch.linalg.eigh(lagged + lagged.T).eigenvectors.flip(1)
    basis = factors.T @ white
    # A factor and its negative are as good: towards more of the phase that it has most of.
    heaviest = basis.gather(1, basis.abs().argmax(dim=1, keepdim=True))
    return mean, (basis * heaviest.sign()).to(features)


def _covariance(one: Tensor, other: Tensor) -> Tensor:
    """[C, ...] twice, centred -> [C, C]."""
    return one.flatten(1) @ other.flatten(1).T / one[0].numel()


def _inverse_root(matrix: Tensor) -> Tensor:
    """Of a symmetric positive matrix. Where phases never part, a direction has no variance; it is kept from 1/0."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = vectors @ (values.clamp(min=1e-8 * float(values.max())).rsqrt()[:, None] * vectors.T)
    return root


def _decoder(config: AutoencoderConfig) -> nn.Sequential:
    """Two blocks at each resolution from that of the latents to half of the pixels', joined by pixel shuffles."""
    wide, fine, channels = config.width, config.fine_width, config.latent_channels
    layers: list[nn.Module] = [convolution(channels, fine)]
    if config.factor == 4:
        layers = [convolution(channels, wide), LocalBlock(wide), LocalBlock(wide)]
        layers += [convolution(wide, 4 * fine), nn.PixelShuffle(2)]
    layers += [LocalBlock(fine), LocalBlock(fine), nn.SiLU()]
    return nn.Sequential(*layers, convolution(fine, 4 * config.phases), nn.PixelShuffle(2))


def d4(x: Tensor, element: int) -> Tensor:
    """One of the eight symmetries of the square, on the last two axes. `element` in 0..7: transpose, flips."""
    if element & 1:
        x = x.transpose(-1, -2)
    flips = [axis for axis, bit in ((-1, 2), (-2, 4)) if element & bit]
    return x.flip(flips) if flips else x
