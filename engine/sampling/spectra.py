"""Power spectra of latent channels in 2D and 3D from one autocovariance, and the filter between them.

For a Gaussian field, the right estimate of mode k of the clean volume at noise variance s2 = (1 - abar)/abar is
S3/(S3 + s2) times the noisy mode (Wiener), while a denoiser that sees one plane applies S2/(S2 + s2). Both spectra
follow from the autocovariance C(r) that 2D micrographs give. S is the unnormalised DFT of C, so
that unit white noise has S = 1.

Shapes: `C` channels, `L` lags, `D H W` space of the latent volume.
"""

import math
from functools import lru_cache

import numpy as np
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
    _, channels, h, w = latents.shape
    padded = torch.fft.rfft2(latents.double(), s=(2 * h, 2 * w))
    sums = torch.fft.irfft2(padded.abs().square().mean(dim=0), s=(2 * h, 2 * w))  # [C, 2h, 2w], by lag
    window = torch.fft.rfft2(torch.ones(h, w, dtype=torch.float64), s=(2 * h, 2 * w))
    pairs = torch.fft.irfft2(window.abs().square(), s=(2 * h, 2 * w)).round()
    distance = _distances((2 * h, 2 * w), (1.0, 1.0))
    enough = pairs > 0.1 * h * w  # lags with few pairs are noise
    rows = []
    for lag in range(math.ceil(taper) + 1):
        weight = (1 - (distance - lag).abs()).clamp(min=0) * enough * pairs
        rows.append((sums / pairs.clamp(min=1) * weight).sum(dim=(1, 2)) / weight.sum())
    lags = torch.arange(len(rows), dtype=torch.float64)
    window_of_lag = torch.where(lags < taper, 0.5 * (1 + torch.cos(math.pi * lags / taper)), 0.0)
    out: Tensor = (torch.stack(rows, dim=1) * window_of_lag).float()
    assert out.shape[0] == channels
    return out


def volume_spectrum(autocovariance: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Power spectrum S3 of a volume at the wave numbers of its cosine transform, clipped to >= 0.

    The mirrored (even) extension of a volume of n latent pixels has period 2n; its Fourier modes 0..n-1 are those of
    the type-II cosine transform. The transform of C is taken on a grid that holds its whole support.

    Args:
        autocovariance: [C, L] of `radial_autocovariance`.
        shape: (D, H, W) in latent pixels.

    Returns:
        [C, D, H, W] float64.
    """
    lags = autocovariance.shape[1]
    repeats = [math.ceil(2 * lags / (2 * n)) for n in shape]  # grid of 2n*repeat >= the support on both sides
    grid = tuple(2 * n * repeat for n, repeat in zip(shape, repeats, strict=True))
    distance = _distances(grid, (1.0, 1.0, 1.0))
    covariance = torch.stack([_interpolate(channel.double(), distance) for channel in autocovariance])
    spectrum = torch.fft.fftn(covariance, dim=(1, 2, 3)).real.clamp(min=1e-6)
    coarse: Tensor = spectrum[:, :: repeats[0], :: repeats[1], :: repeats[2]]
    return coarse[:, : shape[0], : shape[1], : shape[2]].contiguous()


def plane_spectrum(volume_spectrum_: Tensor, axis: int) -> Tensor:
    """Spectrum of the planes across `axis`: the mean of S3 over the wave number along it (slice theorem).

    The modes of the mirrored volume run over -n..n-1; mode 0 stands once and the others twice (mode n, which the
    cosine transform does not hold, counts as its neighbour).

    Args:
        volume_spectrum_: [C, D, H, W]. Returns: the same shape with size 1 along the axis.
    """
    n = volume_spectrum_.shape[1 + axis]
    weight = torch.full((n,), 2.0, dtype=volume_spectrum_.dtype)
    weight[0] = 1.0
    weight[-1] = 3.0 if n > 1 else 1.0
    shape = [1, 1, 1, 1]
    shape[1 + axis] = n
    return (volume_spectrum_ * (weight / weight.sum()).view(shape)).sum(dim=1 + axis, keepdim=True)


class SpectralFilter:
    """Multiplies the cosine modes of a clean volume estimate by H_p = [S3/(S3+s2)] / [S2/(S2+s2)] (METHOD).

    Args:
        autocovariance: [C, L].
        shape: (D, H, W) of the latent volume.
        cap: upper limit of H; above max S3/S2 it only guards against a spectrum estimated as almost zero.
        zero_mode: whether H applies to the mean of the volume too; otherwise the mean is left alone.
    """

    def __init__(
        self, autocovariance: Tensor, shape: tuple[int, int, int], *, cap: float = 16.0, zero_mode: bool = True
    ) -> None:
        self.cap, self.zero_mode = cap, zero_mode
        device = autocovariance.device
        s3 = volume_spectrum(autocovariance.cpu(), shape)
        self._s2 = [plane_spectrum(s3, axis).to(device, torch.float32) for axis in range(3)]
        self._s3 = s3.to(device, torch.float32)
        self._transform = CosineTransform(shape, device)

    def gain(self, axis: int, abar: float) -> Tensor:
        """H_p at each mode, [C, D, H, W]."""
        s2 = (1 - abar) / abar
        gain = (self._s3 / (self._s3 + s2)) / (self._s2[axis] / (self._s2[axis] + s2))
        gain = gain.clamp(max=self.cap)
        if not self.zero_mode:
            gain[:, 0, 0, 0] = 1.0
        return gain

    def __call__(self, volume: Tensor, axis: int, abar: float) -> Tensor:
        """Filter a clean estimate [B, C, D, H, W] that was made of the planes across `axis` at noise level `abar`."""
        return self._transform.backward(self._transform.forward(volume) * self.gain(axis, abar))


class CosineTransform:
    """Orthonormal type-II cosine transform of the last three axes of [B, C, D, H, W].

    As products with small matrices, batched so that each is of one channel of one volume: a volume's result then does
    not depend on the batch.
    """

    def __init__(self, shape: tuple[int, int, int], device: torch.device) -> None:
        self._bases = [torch.from_numpy(_cosine_basis(n)).to(device, torch.float32) for n in shape]

    def forward(self, volume: Tensor) -> Tensor:
        """Space -> modes."""
        return self._apply(volume, self._bases)

    def backward(self, modes: Tensor) -> Tensor:
        """Modes -> space."""
        return self._apply(modes, [basis.T for basis in self._bases])

    @staticmethod
    def _apply(field: Tensor, matrices: list[Tensor]) -> Tensor:
        b, c, d, h, w = field.shape
        z, y, x = matrices
        field = torch.matmul(z, field.reshape(b * c, d, h * w))
        field = torch.matmul(y, field.reshape(b * c * d, h, w))
        return torch.matmul(field, x.T).reshape(b, c, d, h, w)


def mode_power(autocovariance: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Expected power of the cosine modes of a block cut from a stationary field: sum_ij b(i) b(j) C(i - j).

    Close to S3 for modes shorter than the block; below it for the longest, whose power leaks. Their sum is the variance
    times the number of latent pixels, up to negative modes (of a covariance that is none in 3D), which are clipped.

    Args: autocovariance [C, L]; shape (D, H, W). Returns: [C, D, H, W] float64.
    """
    overlaps = []
    for n in shape:
        basis = torch.from_numpy(_cosine_basis(n))
        columns = []
        for lag in range(-(n - 1), n):
            here, there = basis[:, max(0, -lag) : n - max(0, lag)], basis[:, max(0, lag) : n - max(0, -lag)]
            columns.append((here * there).sum(dim=1))
        overlaps.append(torch.stack(columns, dim=1))  # [mode, lag]
    lags = [torch.arange(-(n - 1), n, dtype=torch.float64) for n in shape]
    distance = (lags[0][:, None, None] ** 2 + lags[1][None, :, None] ** 2 + lags[2][None, None] ** 2).sqrt()
    covariance = torch.stack([_interpolate(channel.double(), distance) for channel in autocovariance])
    return torch.einsum("cdef,kd,le,mf->cklm", covariance, *overlaps).clamp(min=1e-6)


@lru_cache(maxsize=32)
def _cosine_basis(n: int) -> np.ndarray:
    """Orthonormal type-II cosine basis, [mode, position]."""
    mode, position = np.arange(n)[:, None], np.arange(n)[None, :]
    basis = np.sqrt(2 / n) * np.cos(np.pi * mode * (position + 0.5) / n)
    basis[0] /= np.sqrt(2)
    out: np.ndarray = basis
    return out


def _distances(grid: tuple[int, ...], spacing: tuple[float, ...]) -> Tensor:
    """Distance of each point of a periodic grid from the origin, float64."""
    axes = [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) * step for n, step in zip(grid, spacing, strict=True)]
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
