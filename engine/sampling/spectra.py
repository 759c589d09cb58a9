"""Power spectra of latent channels in 2D and 3D from one autocovariance, and the filter between them.

For a Gaussian field, the right estimate of mode k of the clean volume at noise variance s2 = (1 - abar)/abar is
S3/(S3 + s2) times the noisy mode (Wiener), while a denoiser that sees one plane applies S2/(S2 + s2). Both spectra
follow from the autocovariance C(r) that 2D micrographs give. S is the unnormalised DFT of C, so
that unit white noise has S = 1.

Where the axes differ, planes show C along the axes, and between them it is taken to be ellipsoidal: with l_i the
integral length along axis i and rho^2 = sum (r_i / l_i)^2,

    C(r) = sum_i w_i C_i(rho l_i),  w_i = (r_i / l_i)^2 / rho^2,

which is each measured curve on its axis, and exact wherever the material is an isotropic one that was stretched.

Shapes: `C` channels, `L` lags, `D H W` space of the latent volume. An autocovariance is [C, L], or [C, 3, L] where the
axes differ.
"""

import math

import torch
from torch import Tensor


def radial_autocovariance(latents: Tensor, taper: float) -> Tensor:
    """Autocovariance of each channel as a function of distance, isotropic.

    Args:
        latents: [M, C, h, w], zero mean over the data.
        taper: distance, in latent pixels, at which a raised cosine brings the estimate to zero; below half the crop.

    Returns:
        [C, L] at distances 0, 1, ..., L-1 = ceil(taper), float32.
    """
    by_lag, pairs = _by_lag(latents)
    distance = _distances(tuple(pairs.shape))
    enough = pairs > 0.1 * latents.shape[2] * latents.shape[3]  # lags with few pairs are noise
    rows = []
    for lag in range(math.ceil(taper) + 1):
        weight = (1 - (distance - lag).abs()).clamp(min=0) * enough * pairs
        rows.append((by_lag * weight).sum(dim=(1, 2)) / weight.sum())
    return (torch.stack(rows, dim=1) * _taper(len(rows), taper)).float()


def axial_autocovariance(latents: Tensor, planes: Tensor, taper: float) -> Tensor:
    """Autocovariance of each channel along each axis, from the two kinds of planes that hold the axis.

    Args:
        latents: [M, C, h, w], zero mean over the data.
        planes: [M] axis across which each lies; rows are the axis that comes first of the other two.
        taper: as for `radial_autocovariance`.

    Returns:
        [C, 3, L], float32.
    """
    lags = math.ceil(taper) + 1
    found: list[list[Tensor]] = [[], [], []]
    for plane in range(3):
        by_lag, _ = _by_lag(latents[planes == plane])
        rows, columns = (axis for axis in range(3) if axis != plane)
        found[rows].append(by_lag[:, :lags, 0])
        found[columns].append(by_lag[:, 0, :lags])
    along = torch.stack([(first + second) / 2 for first, second in found], dim=1)
    # One variance: the estimates differ because the crops do.
    along = along / along[:, :, :1] * along[:, :, :1].mean(dim=1, keepdim=True)
    return (along * _taper(lags, taper)).float()


def _by_lag(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean product of the pairs of pixels at each lag, [C, 2h, 2w], and their number, [2h, 2w]; periodic order."""
    h, w = latents.shape[-2:]
    padded = torch.fft.rfft2(latents.double(), s=(2 * h, 2 * w))
    sums = torch.fft.irfft2(padded.abs().square().mean(dim=0), s=(2 * h, 2 * w))
    window = torch.fft.rfft2(torch.ones(h, w, dtype=torch.float64), s=(2 * h, 2 * w))
    pairs = torch.fft.irfft2(window.abs().square(), s=(2 * h, 2 * w)).round()
    return sums / pairs.clamp(min=1), pairs


def _taper(lags: int, taper: float) -> Tensor:
    lag = torch.arange(lags, dtype=torch.float64)
    return torch.where(lag < taper, 0.5 * (1 + torch.cos(math.pi * lag / taper)), 0.0)


def volume_spectrum(autocovariance: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Power spectrum S3 of a periodic volume, clipped to > 0.

    The transform of C is taken on a grid that holds its whole support and read at the modes of the volume. Only mode 0
    is not S3's: it is the variance that the mean of a block of this shape has in the material (times the number of
    latent pixels), so that volumes differ from each other as blocks cut from the material do.

    Args:
        autocovariance: [C, L] of `radial_autocovariance`, or [C, 3, L] of `axial_autocovariance`.
        shape: (D, H, W) in latent pixels.

    Returns:
        [C, D, H, W] float64, modes in the order of the FFT.
    """
    repeats = [math.ceil(2 * autocovariance.shape[-1] / n) for n in shape]
    grid = [n * repeat for n, repeat in zip(shape, repeats, strict=True)]
    covariance = _covariance(autocovariance, [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in grid])
    fine = torch.fft.fftn(covariance, dim=(1, 2, 3)).real
    spectrum: Tensor = fine[:, :: repeats[0], :: repeats[1], :: repeats[2]].clone()
    spectrum[:, 0, 0, 0] = block_variance(autocovariance, shape) * math.prod(shape)
    return spectrum.clamp(min=1e-6)


def block_variance(autocovariance: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Variance of the mean of a block: sum over lags of C(lag) times the share of pixel pairs at that lag.

    Args: autocovariance [C, L] or [C, 3, L]; shape (D, H, W). Returns: [C] float64.
    """
    lags = [torch.arange(-(n - 1), n, dtype=torch.float64) for n in shape]
    pairs = [(n - lag.abs()) / n**2 for n, lag in zip(shape, lags, strict=True)]
    return torch.einsum("cdhw,d,h,w->c", _covariance(autocovariance, lags), *pairs)


def _covariance(autocovariance: Tensor, lags: list[Tensor]) -> Tensor:
    """C at every lag of a grid, given by its lags along z, y, x: [C, D, H, W] float64."""
    grid = torch.meshgrid(*lags, indexing="ij")
    if autocovariance.ndim == 2:
        distance = torch.stack(grid).square().sum(dim=0).sqrt()
        return torch.stack([_interpolate(channel.double(), distance) for channel in autocovariance])
    out = []
    for channel in autocovariance.double():
        length = channel.sum(dim=1) - 0.5 * channel[:, 0]  # integral by the trapezoidal rule, at least its first half
        length = length.clamp(min=0.5)
        parts = torch.stack([(lag / scale).square() for lag, scale in zip(grid, length, strict=True)])
        rho = parts.sum(dim=0)
        shares = torch.where(rho > 0, parts / rho.clamp(min=1e-12), 1 / 3)
        values = [_interpolate(curve, rho.sqrt() * scale) for curve, scale in zip(channel, length, strict=True)]
        out.append((shares * torch.stack(values)).sum(dim=0))
    return torch.stack(out)


def plane_spectrum(volume_spectrum_: Tensor, axis: int) -> Tensor:
    """Spectrum of the planes across `axis`: the mean of S3 over the wave number along it (slice theorem).

    Args: volume_spectrum_ [C, D, H, W]. Returns: the same shape with size 1 along the axis.
    """
    return volume_spectrum_.mean(dim=1 + axis, keepdim=True)


class SpectralFilter:
    """Multiplies the Fourier modes of a clean volume estimate by H_p = [S3/(S3+s2)] / [S2/(S2+s2)] (METHOD).

    Args:
        autocovariance: [C, L] or [C, 3, L].
        shape: (D, H, W) of the periodic latent volume.
        cap: upper limit of H; above max S3/S2 it only guards against a spectrum estimated as almost zero.
    """

    def __init__(self, autocovariance: Tensor, shape: tuple[int, int, int], *, cap: float = 16.0) -> None:
        self.cap = cap
        device = autocovariance.device
        s3 = volume_spectrum(autocovariance.cpu(), shape)
        self._s2 = [plane_spectrum(s3, axis).to(device, torch.float32) for axis in range(3)]
        self._s3 = s3.to(device, torch.float32)

    def gain(self, axis: int, abar: float) -> Tensor:
        """H_p at each mode, [C, D, H, W]."""
        s2 = (1 - abar) / abar
        gain = (self._s3 / (self._s3 + s2)) / (self._s2[axis] / (self._s2[axis] + s2))
        return gain.clamp(max=self.cap)

    def __call__(self, volume: Tensor, axis: int, abar: float) -> Tensor:
        """Filter a clean estimate [B, C, D, H, W] that was made of the planes across `axis` at noise level `abar`."""
        return scale_modes(volume, self.gain(axis, abar))


def to_modes(volume: Tensor) -> Tensor:
    """Orthonormal Fourier modes of the last three axes: unit white noise has unit power in each."""
    modes: Tensor = torch.fft.fftn(volume, dim=(-3, -2, -1), norm="ortho")
    return modes


def scale_modes(volume: Tensor, gain: Tensor) -> Tensor:
    """Multiply the Fourier modes of volumes [B, C, D, H, W] by a real, even gain [C, D, H, W].

    One volume at a time: the last bits of a batched transform depend on the size of the batch.
    """
    scaled = [torch.fft.ifftn(to_modes(one) * gain, dim=(-3, -2, -1), norm="ortho").real for one in volume.contiguous()]
    return torch.stack(scaled)


def _distances(grid: tuple[int, ...]) -> Tensor:
    """Distance of each point of a periodic grid from the origin, float64."""
    axes = [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in grid]
    squares = torch.zeros((), dtype=torch.float64)
    for i, axis in enumerate(axes):
        squares = squares + axis.square().view([-1 if j == i else 1 for j in range(len(axes))])
    return squares.sqrt()


def _interpolate(values: Tensor, at: Tensor) -> Tensor:
    """Values at 0, 1, 2, ... interpolated linearly; zero beyond the last."""
    padded = torch.cat([values, values.new_zeros(2)])
    clipped = at.clamp(max=float(len(values)))
    low = clipped.floor().long()
    share = clipped - low
    return padded[low] * (1 - share) + padded[low + 1] * share
