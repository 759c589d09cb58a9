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

    Least squares over every lag of the plane, by the spline that is read off later (`_interpolate`). Means over rings
    one lag wide would be lower than the curve where it bends down, next to zero, and what a curve loses there its
    spectrum gains as short waves: a twentieth of the variance on Berea sandstone.

    Args:
        latents: [M, C, h, w], zero mean over the data.
        taper: distance, in latent pixels, at which a raised cosine brings the estimate to zero; below the crop.

    Returns:
        [C, L] at distances 0, 1, ..., L-1 = ceil(taper), float32.
    """
    by_lag, pairs = _by_lag(latents)
    distance, lags = _distances(tuple(pairs.shape)), math.ceil(taper) + 1
    used = (distance < lags) & (pairs > 0.1 * latents.shape[2] * latents.shape[3])  # lags with few pairs are noise
    weight = pairs[used].sqrt()
    splines = torch.stack([_interpolate(unit, distance[used]) for unit in torch.eye(lags, dtype=torch.float64)], dim=1)
    found = torch.linalg.lstsq(splines * weight[:, None], (by_lag[:, used] * weight).T).solution.T  # [C, L]
    tapered: Tensor = found * _taper(lags, taper)
    return tapered.float()


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
    """The curve through values [L] at distances 0, 1, 2, ..., zero from L on, read at distances >= 0.

    From 1 on a cubic spline that knows nothing of the value at 0, for there white noise stands apart and pixels have a
    kink (its third derivative does not jump at 2 instead); below 1, where no two pixels are, a parabola. Linear
    interpolation adds to a spectrum what is not there.
    """
    last = len(values) + 2
    # A spline is a sum of bells c_j B(x - j), j = 0 ... last + 1; B is 4/6 at its knot and 1/6 at the two beside it.
    system = torch.zeros(last + 2, last + 2, dtype=values.dtype)
    for knot in range(1, last + 1):
        system[knot, knot - 1 : knot + 2] = torch.tensor([1 / 6, 4 / 6, 1 / 6], dtype=values.dtype)
    system[0, :5] = torch.tensor([1.0, -4.0, 6.0, -4.0, 1.0], dtype=values.dtype)
    system[-1, -1] = 1.0
    wanted = torch.cat([values.new_zeros(1), values[1:], values.new_zeros(last + 2 - len(values))])
    bells = torch.linalg.solve(system, wanted)
    clipped = at.clamp(1.0, float(len(values)))
    low = clipped.floor().long()
    s = clipped - low
    weights = ((1 - s) ** 3, 3 * s**3 - 6 * s**2 + 4, -3 * s**3 + 3 * s**2 + 3 * s + 1, s**3)
    spline = torch.stack([weight / 6 * bells[low - 1 + i] for i, weight in enumerate(weights)]).sum(dim=0)
    near = values[0] + (values[1] - values[0]) * at.square() if len(values) > 1 else values[0].expand_as(at)
    return torch.where(at < 1, near, torch.where(at < len(values), spline, 0.0))
