import math

import pytest
import torch

from engine.sampling.spectra import (
    SpectralFilter,
    along_axes,
    block_variance,
    neighbour_correlation,
    plane_autocovariance,
    plane_spectrum,
    radial_autocovariance,
    scale_modes,
    to_modes,
    volume_spectrum,
)


def gaussian_autocovariance(length, lags=14):
    r = torch.arange(lags, dtype=torch.float32)
    return torch.exp(-0.5 * (r / length) ** 2)[None]


def test_white_noise_has_unit_spectrum():
    white = torch.zeros(1, 14)
    white[0, 0] = 1.0
    # What is read between lags 0 and 1 spreads nothing on grid points: only the origin is at distance < 1.
    assert torch.allclose(volume_spectrum(white, (8, 8, 8)), torch.ones(1, 8, 8, 8, dtype=torch.float64))


def test_spectrum_of_a_gaussian_covariance_is_the_known_transform():
    length, n = 2.0, 16
    found = volume_spectrum(gaussian_autocovariance(length), (n, n, n))[0]
    k = 2 * math.pi * torch.arange(1, 4, dtype=torch.float64) / n  # mode 0 is the block's, not the field's
    wanted = (2 * math.pi) ** 1.5 * length**3 * torch.exp(-0.5 * (k * length) ** 2)
    assert torch.allclose(found[1:4, 0, 0], wanted, rtol=0.05, atol=0.3)


@pytest.mark.parametrize(
    "curve",
    [
        lambda r: torch.exp(-0.5 * (r / 1.6) ** 2),
        lambda r: torch.exp(-r / 3),
        lambda r: torch.exp(-r / 4) * torch.cos(0.7 * r),
    ],
    ids=["smooth", "kink at zero", "oscillating"],
)
def test_a_spectrum_from_whole_lags_is_that_of_the_curve_itself(curve):
    """To a hundredth of a mode's mean power, also for short waves: linear interpolation left noise there."""
    n, lags = 32, 24
    k = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    distance = torch.stack(torch.meshgrid(k, k, k, indexing="ij")).square().sum(dim=0).sqrt()
    wanted = torch.fft.fftn(curve(distance) * (distance < lags)).real
    found = volume_spectrum(curve(torch.arange(lags, dtype=torch.float64))[None], (n, n, n))[0]
    square = distance.square()
    for low, high in ((4, 8), (8, 12), (12, 16), (16, 20)):
        shell = (square >= low**2) & (square < high**2) & (wanted > 1e-6)
        assert float(found[shell].mean()) == pytest.approx(float(wanted[shell].mean()), rel=0.02, abs=0.04)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_plane_spectrum_obeys_the_slice_theorem(axis):
    """The mean of S3 over the wave number across the plane is the 2D transform of the same covariance."""
    length, shape = 2.0, (16, 12, 20)
    found = plane_spectrum(volume_spectrum(gaussian_autocovariance(length), shape), axis)[0]
    in_plane = [a for a in range(3) if a != axis]
    k = [2 * math.pi * torch.arange(1, 3, dtype=torch.float64) / shape[a] for a in in_plane]
    wanted = 2 * math.pi * length**2 * torch.exp(-0.5 * length**2 * (k[0][:, None] ** 2 + k[1][None] ** 2))
    assert torch.allclose(found.squeeze(axis)[1:3, 1:3], wanted, rtol=0.05, atol=0.05)


def test_modes_are_orthonormal_and_scaled_one_by_one():
    volume = torch.randn(2, 1, 8, 12, 16)
    assert float(to_modes(volume).abs().square().sum()) == pytest.approx(float(volume.square().sum()), rel=1e-4)
    assert torch.allclose(scale_modes(volume, torch.ones(1, 8, 12, 16)), volume, atol=1e-5)
    only_mean = torch.zeros(1, 8, 12, 16)
    only_mean[0, 0, 0, 0] = 1
    flat = scale_modes(volume, only_mean)
    assert torch.allclose(flat, volume.mean(dim=(2, 3, 4), keepdim=True).expand_as(volume), atol=1e-5)


def test_block_variance_is_that_of_blocks_cut_from_a_field():
    length, n = 2.0, 8
    found = float(block_variance(gaussian_autocovariance(length), (n, n, n))[0])
    k = torch.fft.fftfreq(64)
    squares = k[:, None, None] ** 2 + k[None, :, None] ** 2 + k[None, None] ** 2
    kernel = torch.exp(-0.25 * (2 * math.pi * length) ** 2 * squares)
    noise = torch.randn(64, 64, 64, generator=torch.Generator().manual_seed(0))
    field = torch.fft.ifftn(torch.fft.fftn(noise) * kernel).real
    field = field / field.std()
    means = field.unfold(0, n, n).unfold(1, n, n).unfold(2, n, n).mean(dim=(3, 4, 5))  # 512 blocks
    assert float(means.var()) == pytest.approx(found, rel=0.15)


def test_gain_is_one_where_the_spectra_agree_and_never_above_the_cap():
    white = torch.zeros(1, 14)
    white[0, 0] = 1.0
    assert torch.allclose(SpectralFilter(white, (8, 8, 8)).gain(0, 0.3), torch.ones(1, 8, 8, 8))
    long_waves = SpectralFilter(gaussian_autocovariance(3.0), (16, 16, 16), cap=5.0)
    assert float(long_waves.gain(1, 0.05).max()) <= 5.0


def test_autocovariance_is_recovered_from_planes():
    """Smoothed white noise: C(r) = exp(-r^2 / 4 s^2) for a Gaussian kernel of width s."""
    generator, s, n = torch.Generator().manual_seed(0), 1.5, 16
    k = torch.fft.fftfreq(64)
    kernel = torch.exp(-0.5 * (2 * math.pi * s) ** 2 * (k[:, None] ** 2 + k[None] ** 2))
    fields = torch.fft.ifft2(torch.fft.fft2(torch.randn(600, 64, 64, generator=generator)) * kernel).real
    fields = fields / fields.std()
    found = radial_autocovariance(fields[:, None, :n, :n], taper=13.0)[0]
    r = torch.arange(6, dtype=torch.float32)
    window = 0.5 * (1 + torch.cos(math.pi * r / 13.0))
    assert float(found[0]) == pytest.approx(1, abs=0.03)  # the variance of the crops that were drawn
    assert torch.allclose(found[:6] / found[0], torch.exp(-(r**2) / (4 * s**2)) * window, atol=0.015)


def in_planes(volume):
    """Covariance [n, n, n] of a volume in the order of the FFT -> [1, 3, L, L] of its planes, L = n / 2 - 2."""
    lags = volume.shape[0] // 2 - 2
    return torch.stack([volume.select(axis, 0)[:lags, :lags] for axis in range(3)])[None].float()


def stretched(lengths, n=32):
    """C = exp(-|r / l|^2 / 2) on a grid."""
    lag = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    z, y, x = torch.meshgrid(*(lag / length for length in lengths), indexing="ij")
    return torch.exp(-0.5 * (z**2 + y**2 + x**2))


def test_planes_that_are_alike_are_the_isotropic_case():
    for length in (2.0, 3.0):
        one = volume_spectrum(gaussian_autocovariance(length), (16, 16, 16))
        three = volume_spectrum(in_planes(stretched((length,) * 3)), (16, 16, 16))
        assert float((one - three).abs().sum() / one.sum()) < 0.02


def test_a_stretched_material_has_the_stretched_spectrum():
    lengths, n = (1.5, 2.0, 2.5), 20
    found = volume_spectrum(in_planes(stretched(lengths)), (n, n, n))[0]
    k = 2 * math.pi * torch.arange(1, 4, dtype=torch.float64) / n
    exponent = sum(
        (wave * length).square().reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, (wave, length) in enumerate(zip((k, k, k), lengths, strict=True))
    )
    wanted = (2 * math.pi) ** 1.5 * math.prod(lengths) * torch.exp(-0.5 * exponent)
    assert torch.allclose(found[1:4, 1:4, 1:4], wanted, rtol=0.06, atol=0.4)


@pytest.mark.parametrize("kind", ["rough and stretched", "layers and rods"])
def test_the_fitted_spectrum_is_positive_and_has_the_planes(kind):
    """Two fields of other forms than the guesses': an exponential covariance, stretched; and a sum of layers across z
    and rods along x, whose axes are far from independent."""
    n = 32
    lag = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    z, y, x = torch.meshgrid(lag, lag, lag, indexing="ij")
    if kind == "rough and stretched":
        covariance = torch.exp(-((z / 1.5) ** 2 + (y / 2) ** 2 + (x / 3) ** 2).sqrt())
    else:
        layers = torch.exp(-0.5 * (z**2 / 4 + (y**2 + x**2) / 16)) * torch.cos(math.pi * z / 3)
        covariance = 0.5 * layers + 0.5 * torch.exp(-0.5 * ((z**2 + y**2) / 2 + x**2 / 20))
    true = torch.fft.fftn(covariance).real
    found = volume_spectrum(in_planes(covariance), (n, n, n))[0]
    assert float(found.min()) > 0
    for axis in range(3):
        ours, theirs = plane_spectrum(found[None], axis)[0], plane_spectrum(true[None], axis)[0]
        assert float((ours - theirs).abs().sum() / theirs.sum()) < 0.05  # lags end two before half the grid
    assert float((found - true).abs().sum() / true.sum()) < 0.1


def test_the_autocovariance_of_each_plane_is_recovered():
    """Planes of smoothed noise, another width along each axis: exp(-r^2 / 4 s^2) along the axis of width s."""
    widths, n = (1.0, 1.6, 2.2), 16
    k = torch.fft.fftfreq(48)
    generator, latents, planes = torch.Generator().manual_seed(0), [], []
    for plane in range(3):
        rows, columns = (widths[axis] for axis in range(3) if axis != plane)
        kernel = torch.exp(-0.5 * (2 * math.pi) ** 2 * ((rows * k[:, None]) ** 2 + (columns * k[None]) ** 2))
        fields = torch.fft.ifft2(torch.fft.fft2(torch.randn(400, 48, 48, generator=generator)) * kernel).real
        latents.append((fields / fields.std())[:, None, :n, :n])
        planes.append(torch.full((400,), plane))
    found = plane_autocovariance(torch.cat(latents), torch.cat(planes), taper=13.0)
    r = torch.arange(6, dtype=torch.float32)
    window = 0.5 * (1 + torch.cos(math.pi * r / 13.0))
    for axis, s in enumerate(widths):
        assert torch.allclose(along_axes(found)[0, axis, :6], torch.exp(-(r**2) / (4 * s**2)) * window, atol=0.04)
    corner = math.exp(-4 / (4 * 1.6**2) - 9 / (4 * 2.2**2)) * 0.5 * (1 + math.cos(math.pi * math.sqrt(13) / 13.0))
    assert float(found[0, 0, 2, 3]) == pytest.approx(corner, abs=0.04)
    neighbours = [math.exp(-1 / (4 * s**2)) for s in widths]
    assert neighbour_correlation(found)[0].tolist() == pytest.approx(neighbours, abs=0.03)
