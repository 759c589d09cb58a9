import math

import pytest
import torch

from engine.sampling.spectra import (
    CosineTransform,
    SpectralFilter,
    mode_power,
    plane_spectrum,
    radial_autocovariance,
    volume_spectrum,
)


def gaussian_autocovariance(length, lags=14):
    r = torch.arange(lags, dtype=torch.float32)
    return torch.exp(-0.5 * (r / length) ** 2)[None]


def test_white_noise_has_unit_spectrum():
    white = torch.zeros(1, 14)
    white[0, 0] = 1.0
    # Linear interpolation between lags 0 and 1 spreads nothing on grid points: only the origin is at distance < 1.
    assert torch.allclose(volume_spectrum(white, (8, 8, 8)), torch.ones(1, 8, 8, 8, dtype=torch.float64))


def test_spectrum_of_a_gaussian_covariance_is_the_known_transform():
    length, n = 2.0, 16
    found = volume_spectrum(gaussian_autocovariance(length), (n, n, n))[0]
    k = math.pi * torch.arange(4, dtype=torch.float64) / n
    wanted = (2 * math.pi) ** 1.5 * length**3 * torch.exp(-0.5 * (k * length) ** 2)
    assert torch.allclose(found[:4, 0, 0], wanted, rtol=0.05)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_plane_spectrum_obeys_the_slice_theorem(axis):
    """The mean of S3 over the wave number across the plane is the 2D transform of the same covariance."""
    length, shape = 2.0, (16, 12, 20)
    found = plane_spectrum(volume_spectrum(gaussian_autocovariance(length), shape), axis)[0]
    in_plane = [a for a in range(3) if a != axis]
    k = [math.pi * torch.arange(3, dtype=torch.float64) / shape[a] for a in in_plane]
    wanted = 2 * math.pi * length**2 * torch.exp(-0.5 * length**2 * (k[0][:, None] ** 2 + k[1][None] ** 2))
    assert torch.allclose(found.squeeze(axis)[:3, :3], wanted, rtol=0.05)


def test_cosine_modes_go_back_and_keep_the_norm():
    transform = CosineTransform((8, 12, 16), torch.device("cpu"))
    volume = torch.randn(2, 1, 8, 12, 16)
    modes = transform.forward(volume)
    assert float(modes.square().sum()) == pytest.approx(float(volume.square().sum()), rel=1e-4)
    assert torch.allclose(transform.backward(modes), volume, atol=1e-5)
    assert torch.allclose(modes[..., 0, 0, 0], volume.sum(dim=(2, 3, 4)) / math.sqrt(8 * 12 * 16), atol=1e-4)


def test_mode_power_is_that_of_blocks_cut_from_a_field():
    """Its sum is the variance, and it is the power measured on blocks of a much larger field."""
    length, n = 2.0, 8
    power = mode_power(gaussian_autocovariance(length), (n, n, n))
    assert float(power.sum()) == pytest.approx(n**3, rel=0.02)
    k = torch.fft.fftfreq(64)
    squares = k[:, None, None] ** 2 + k[None, :, None] ** 2 + k[None, None] ** 2
    kernel = torch.exp(-0.25 * (2 * math.pi * length) ** 2 * squares)
    field = torch.fft.ifftn(
        torch.fft.fftn(torch.randn(64, 64, 64, generator=torch.Generator().manual_seed(0))) * kernel
    )
    field = field.real / field.real.std()
    cubes = field.unfold(0, n, n).unfold(1, n, n).unfold(2, n, n).reshape(-1, 1, n, n, n)
    found = CosineTransform((n, n, n), torch.device("cpu")).forward(cubes).square().mean(dim=0)[0]
    assert float(found[0, 0, 0] / power[0, 0, 0, 0]) == pytest.approx(1, abs=0.2)  # 512 blocks, long waves shared
    assert float(found[:2, :2, :2].sum() / power[0, :2, :2, :2].sum()) == pytest.approx(1, abs=0.1)


def test_gain_is_one_where_the_spectra_agree_and_never_above_the_cap():
    white = torch.zeros(1, 14)
    white[0, 0] = 1.0
    assert torch.allclose(SpectralFilter(white, (8, 8, 8)).gain(0, 0.3), torch.ones(1, 8, 8, 8))
    long_waves = SpectralFilter(gaussian_autocovariance(3.0), (16, 16, 16), cap=5.0)
    assert float(long_waves.gain(1, 0.05).max()) <= 5.0
    assert (
        float(SpectralFilter(gaussian_autocovariance(3.0), (16, 16, 16), zero_mode=False).gain(1, 0.05)[0, 0, 0, 0])
        == 1
    )


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
    # Lags are binned over a ring one pixel wide, hence the tolerance at the steepest part.
    assert torch.allclose(found[:6], torch.exp(-(r**2) / (4 * s**2)) * window, atol=0.04)
