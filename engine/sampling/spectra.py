"""Power spectra of latent channels in 2D and 3D from one autocovariance, and the filter between them.

For a Gaussian field, the right estimate of mode k of the clean volume at noise variance s2 = (1 - abar)/abar is
S3/(S3 + s2) times the noisy mode (Wiener), while a denoiser that sees one plane applies S2/(S2 + s2). Both spectra
follow from the autocovariance C(r) that 2D micrographs give. S is the unnormalised DFT of C, so
that unit white noise has S = 1.

Where the axes differ, each of the three kinds of planes has an autocovariance of its own, and with it the mean of S3
over the wave number across it. These three are all that planes show. Of the spectra that have them, the one closest to
a first guess is found by iterative proportional fitting (Deming & Stephan 1940; the closest by relative entropy,
Csiszar 1975), which is positive and agrees with what the network saw. The guess is the better of two: an isotropic
material that was stretched, and one whose axes know nothing of each other. On the tomogram of a separator the first is
off by 80 % of the spectrum, what is fitted by 9 %; on that of a cathode by 3 to 7 and 2 to 4 % (`python -m
tests.benchmarks.plane_spectra`).

Shapes: `C` channels, `L` lags, `D H W` space of the latent volume. An autocovariance is [C, L], or [C, 3, L, L] where
the axes differ: of planes across z, y and x, lags along the first and the second axis of the plane.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST = 1e-6  # power of a mode: an estimate may have none
FITTING_ROUNDS, FITTED = 50, 1e-3
"""Of the fit to planes: at most so many rounds, and the misfit at which it ends."""


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
    by_lag, pairs = covariance_by_lag(latents)
    distance, lags = distances(tuple(pairs.shape)), math.ceil(taper) + 1
    used = (distance < lags) & (pairs > 0.1 * latents.shape[2] * latents.shape[3])  # lags with few pairs are noise
    weight = pairs[used].sqrt()
    splines = torch.stack([_interpolate(unit, distance[used]) for unit in torch.eye(lags, dtype=torch.float64)], dim=1)
    found = torch.linalg.lstsq(splines * weight[:, None], (by_lag[:, used] * weight).T).solution.T  # [C, L]
    tapered: Tensor = found * raised_cosine(torch.arange(lags, dtype=torch.float64), taper)
    return tapered.float()


def plane_autocovariance(latents: Tensor, planes: Tensor, taper: float) -> Tensor:
    """Autocovariance of each channel in each kind of plane; mirrored lags are one.

    Args:
        latents: [M, C, h, w], zero mean over the data.
        planes: [M] axis across which each lies; rows are the axis that comes first of the other two.
        taper: as for `radial_autocovariance`.

    Returns:
        [C, 3, L, L], float32.
    """
    lags = math.ceil(taper) + 1
    found = []
    for plane in range(3):
        by_lag, _ = covariance_by_lag(latents[planes == plane])  # [C, 2h, 2w]; of (r, s) and (-r, -s) alike
        mirrored = by_lag.flip(2).roll(1, 2)
        found.append((by_lag[:, :lags, :lags] + mirrored[:, :lags, :lags]) / 2)
    each = torch.stack(found, dim=1)
    # One variance: the estimates differ because the crops do.
    variance = each[:, :, :1, :1]
    each = each / variance * variance.mean(dim=1, keepdim=True)
    return (each * raised_cosine(distances((2 * lags, 2 * lags))[:lags, :lags], taper)).float()


def neighbour_correlation(autocovariance: Tensor) -> Tensor:
    """Of latents one latent pixel apart: [C], or [C, 3] along z, y and x where the axes differ."""
    if autocovariance.ndim == 2:
        return autocovariance[:, 1] / autocovariance[:, 0]
    along = along_axes(autocovariance)
    return along[..., 1] / along[..., 0]


def along_axes(autocovariance: Tensor) -> Tensor:
    """[C, 3, L, L] -> [C, 3, L] along z, y, x, each the mean of the two kinds of planes that hold the axis."""
    across_z, across_y, across_x = autocovariance.unbind(1)
    z = (across_y[:, :, 0] + across_x[:, :, 0]) / 2
    y = (across_z[:, :, 0] + across_x[:, 0]) / 2
    x = (across_z[:, 0] + across_y[:, 0]) / 2
    return torch.stack([z, y, x], dim=1)


def covariance_by_lag(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean product of the pairs of pixels at each lag, in the order of the FFT, and their number.

    Args: latents [M, C, h, w] or [M, C, d, h, w], zero mean. Returns: [C, 2h, 2w] and [2h, 2w], or [C, 2d, ...] alike.
    """
    space = tuple(latents.shape[2:])
    sides, axes = [2 * n for n in space], tuple(range(-len(space), 0))
    padded = torch.fft.rfftn(latents.double(), s=sides, dim=axes)
    sums = torch.fft.irfftn(padded.abs().square().mean(dim=0), s=sides, dim=axes)
    window = torch.fft.rfftn(torch.ones(space, dtype=torch.float64), s=sides)
    pairs = torch.fft.irfftn(window.abs().square(), s=sides).round()
    return sums / pairs.clamp(min=1), pairs


def raised_cosine(distance: Tensor, taper: float) -> Tensor:
    """What brings an estimate to zero at the distance `taper`."""
    return torch.where(distance < taper, 0.5 * (1 + torch.cos(math.pi * distance / taper)), 0.0)


def volume_spectrum(autocovariance: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Power spectrum S3 of a periodic volume, clipped to > 0.

    It is found on a grid that holds the whole support of C and read at the modes of the volume. Only mode 0 is not
    S3's: it is the variance that the mean of a block of this shape has in the material (times the number of latent
    pixels), so that volumes differ from each other as blocks cut from the material do.

    Args:
        autocovariance: [C, L] of `radial_autocovariance`, or [C, 3, L, L] of `plane_autocovariance`.
        shape: (D, H, W) in latent pixels.

    Returns:
        [C, D, H, W] float64, modes in the order of the FFT.
    """
    repeats = [math.ceil(2 * autocovariance.shape[-1] / n) for n in shape]
    z, y, x = (n * repeat for n, repeat in zip(shape, repeats, strict=True))
    fine = _spectrum(autocovariance.double(), (z, y, x))
    spectrum: Tensor = fine[:, :: repeats[0], :: repeats[1], :: repeats[2]].clone()
    spectrum[:, 0, 0, 0] = _block_variance(fine, shape) * math.prod(shape)
    return spectrum.clamp(min=SMALLEST)


def block_variance(autocovariance: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Variance of the mean of a block: sum over lags of C(lag) times the share of pixel pairs at that lag.

    Args: autocovariance [C, L] or [C, 3, L, L]; shape (D, H, W). Returns: [C] float64.
    """
    z, y, x = (max(n, 2 * autocovariance.shape[-1]) for n in shape)
    return _block_variance(_spectrum(autocovariance.double(), (z, y, x)), shape)


def _block_variance(spectrum: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """From S3 on a grid [C, D', H', W'] that holds the support of C."""
    covariance = torch.fft.ifftn(spectrum, dim=(1, 2, 3)).real
    pairs = []
    for n, size in zip(shape, spectrum.shape[1:], strict=True):
        pairs.append((n - _lags(size).abs()).clamp(min=0) / n**2)
    return torch.einsum("cdhw,d,h,w->c", covariance, *pairs)


def _spectrum(autocovariance: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """S3 on a grid that is at least twice as long as the lags: [C, *grid] float64; may be below zero where C is radial
    and no 3D field has it."""
    if autocovariance.ndim == 2:
        distance = distances(grid)
        covariance = torch.stack([_interpolate(channel, distance) for channel in autocovariance])
        spectrum: Tensor = torch.fft.fftn(covariance, dim=(1, 2, 3)).real
        return spectrum
    along = along_axes(autocovariance)
    return torch.stack([_fitted(planes, axes, grid) for planes, axes in zip(autocovariance, along, strict=True)])


def _fitted(planes: Tensor, along: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """S3 [*grid] of one channel by iterative proportional fitting to the spectra of the three kinds of planes.

    Args:
        planes: [3, L, L]. along: [3, L] along z, y, x.
    """
    targets = []
    for axis, plane in enumerate(planes):
        sides = [n for other, n in enumerate(grid) if other != axis]
        targets.append(mirrored_spectrum(plane, sides).clamp(min=SMALLEST).unsqueeze(axis))
    guesses = (stretched_spectrum(along, grid), separable_spectrum(along, grid))
    fitted = min(guesses, key=lambda guess: _misfit(guess, targets))
    for _ in range(FITTING_ROUNDS):
        for axis, target in enumerate(targets):
            fitted = fitted * (target / fitted.mean(dim=axis, keepdim=True))
        if _misfit(fitted, targets) < FITTED:
            break
    return fitted


def _misfit(spectrum: Tensor, targets: list[Tensor]) -> float:
    """Of the worst kind of plane: area between its spectrum and the target, over the target's."""
    found = (spectrum.mean(dim=axis, keepdim=True) for axis in range(3))
    return max(float((mean - target).abs().sum() / target.sum()) for mean, target in zip(found, targets, strict=True))


def mirrored_spectrum(covariance: Tensor, grid: Sequence[int]) -> Tensor:
    """Spectrum of a covariance that is the same at mirrored lags, in any number of dimensions.

    Args:
        covariance: [L, ...] at the lags 0, 1, ..., L - 1 along each axis; zero beyond.
        grid: sides of the periodic grid, each at least 2 L.

    Returns:
        [*grid], modes in the order of the FFT.
    """
    mirrored = covariance.new_zeros([n // 2 + 1 for n in grid])
    mirrored[tuple(slice(lags) for lags in covariance.shape)] = covariance
    for axis, n in enumerate(grid):
        mirrored = mirrored.index_select(axis, _lags(n).abs().long())
    spectrum: Tensor = torch.fft.fftn(mirrored).real
    return spectrum


def stretched_spectrum(along: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """An isotropic material that was stretched: with l_i the integral length along axis i, rho^2 = sum (r_i / l_i)^2
    and w_i = (r_i / l_i)^2 / rho^2, C(r) = sum_i w_i C_i(rho l_i) is each curve on its axis. [3, L] -> [*grid]."""
    length = (along.sum(dim=1) - 0.5 * along[:, 0]) / along[:, 0]  # integral by the trapezoidal rule
    length = length.clamp(min=0.5)  # at least its first half
    lags = torch.meshgrid(*(_lags(n) for n in grid), indexing="ij")
    parts = torch.stack([(lag / scale).square() for lag, scale in zip(lags, length, strict=True)])
    rho = parts.sum(dim=0)
    shares = torch.where(rho > 0, parts / rho.clamp(min=1e-12), 1 / 3)
    values = [_interpolate(curve, rho.sqrt() * scale) for curve, scale in zip(along, length, strict=True)]
    spectrum: Tensor = torch.fft.fftn((shares * torch.stack(values)).sum(dim=0)).real
    return spectrum.clamp(min=SMALLEST)


def separable_spectrum(along: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Axes that know nothing of each other: C(r) = C(0) c_z(z) c_y(y) c_x(x). [3, L] -> [*grid]."""
    curves = along / along[:, :1]
    spectra = [mirrored_spectrum(curve, [n]).clamp(min=SMALLEST) for curve, n in zip(curves, grid, strict=True)]
    product: Tensor = torch.einsum("d,h,w->dhw", *spectra)
    return along[:, 0].mean() * product


def plane_spectrum(volume_spectrum_: Tensor, axis: int) -> Tensor:
    """Spectrum of the planes across `axis`: the mean of S3 over the wave number along it (slice theorem).

    Args: volume_spectrum_ [C, D, H, W]. Returns: the same shape with size 1 along the axis.
    """
    return volume_spectrum_.mean(dim=1 + axis, keepdim=True)


class SpectralFilter:
    """Multiplies the Fourier modes of a clean volume estimate by H_p = [S3/(S3+s2)] / [S2/(S2+s2)] (METHOD).

    Args:
        autocovariance: [C, L] or [C, 3, L, L].
        shape: (D, H, W) of the periodic latent volume.
        cap: upper limit of H; above max S3/S2 it only guards against a spectrum estimated as almost zero.
    """

    def __init__(self, autocovariance: Tensor, shape: tuple[int, int, int], *, cap: float = 16.0) -> None:
        self.cap = cap
        device = autocovariance.device
        s3 = volume_spectrum(autocovariance.cpu(), shape)
        self._s2 = [plane_spectrum(s3, axis).to(device, torch.float32) for axis in range(3)]
        across = [tuple(1 + other for other in range(3) if other != axis) for axis in range(3)]
        self._s1 = [s3.mean(dim=both, keepdim=True).to(device, torch.float32) for both in across]
        self._s0 = s3.mean(dim=(1, 2, 3), keepdim=True).to(device, torch.float32)
        self._s3 = s3.to(device, torch.float32)

    def gain(self, axis: int, abar: float) -> Tensor:
        """H_p at each mode, [C, D, H, W]."""
        s2 = (1 - abar) / abar
        gain = (self._s3 / (self._s3 + s2)) / (self._s2[axis] / (self._s2[axis] + s2))
        return gain.clamp(max=self.cap)

    def remainder(self, abar: float) -> Tensor:
        """What Wiener's filter of the volume has beyond those of planes, less lines, plus points: [C, D, H, W], for a
        noisy volume divided by the root of abar (`engine.sampling.kikuchi`)."""
        s2 = (1 - abar) / abar
        found: Tensor = self._s3 / (self._s3 + s2) - self._s0 / (self._s0 + s2)
        for planes, lines in zip(self._s2, self._s1, strict=True):
            found = found - planes / (planes + s2) + lines / (lines + s2)
        return found

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


def _lags(n: int) -> Tensor:
    """0, 1, ..., -2, -1 of a periodic axis, float64."""
    lags: Tensor = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    return lags


def distances(grid: tuple[int, ...]) -> Tensor:
    """Distance of each point of a periodic grid from the origin, float64."""
    axes = [_lags(n) for n in grid]
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
