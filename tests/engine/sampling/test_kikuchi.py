"""Fusion of planes, lines and points where the right answer is known."""

import math

import pytest
import torch

from engine.parallel import one_thread
from engine.sampling.kikuchi import AT_ONCE, POINTS, kikuchi, point_estimate, sample_points
from engine.sampling.multiplane import Noise, sample
from engine.sampling.planes import lines_to_volume, to_lines
from engine.sampling.schedules import LinearSchedule
from engine.sampling.solvers import Ddim, DpmPlusPlus
from engine.sampling.spectra import SpectralFilter, to_modes, volume_spectrum

N, SAMPLES = 16, 1_024
COVARIANCE = torch.exp(-0.5 * (torch.arange(14, dtype=torch.float32) / 1.5) ** 2)[None]
SIGNS = torch.tensor([[-1.0], [1.0]])


@pytest.fixture(autouse=True)
def one_thread_for_small_transforms():
    with one_thread():
        yield


def volumes(count=2, channels=1, shape=(4, 5, 6)):
    return torch.randn(count, channels, *shape, generator=torch.Generator().manual_seed(0))


def wiener(spectrum, abar):
    return math.sqrt(abar) * spectrum / (abar * spectrum + 1 - abar)


def gaussian():
    """Exact denoisers of planes and lines, samples of points and the filter of a Gaussian field."""
    s3 = volume_spectrum(COVARIANCE, (N, N, N))[0].float()
    s2, s1 = s3.mean(dim=0), s3.mean(dim=(0, 1))

    def planes(x, abar, axis):
        return torch.stack([torch.fft.ifft2(torch.fft.fft2(plane) * wiener(s2, abar)).real for plane in x])

    def lines(x, abar, axis):
        return torch.fft.ifft(torch.fft.fft(x) * wiener(s1, abar)).real

    quantiles = (torch.arange(SAMPLES) + 0.5) / SAMPLES
    points = math.sqrt(float(s3.mean())) * torch.special.ndtri(quantiles)[:, None]
    return planes, lines, points, SpectralFilter(COVARIANCE, (N, N, N))


def signs(x, abar, together):
    """Posterior mean of signs of which those along the dimensions `together` are one and the same."""
    evidence = math.sqrt(abar) * x / (1 - abar)
    return (evidence.sum(dim=together, keepdim=True) if together else evidence).tanh().expand_as(x)


class NoRemainder:
    def remainder(self, abar):
        return torch.zeros(1, 1, 1, 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lines_run_along_their_axis_and_come_back(axis):
    x = volumes(channels=3)
    lines = to_lines(x, axis)
    assert lines.shape == (x.numel() // 3 // x.shape[2 + axis], 3, x.shape[2 + axis])
    first = [0, slice(None), 0, 0, 0]
    first[2 + axis] = slice(None)
    assert torch.equal(lines[0], x[tuple(first)])
    assert torch.equal(lines_to_volume(lines, axis, x.shape), x)


def test_a_gaussian_field_gets_the_estimate_of_wieners_filter():
    planes, lines, points, spectral_filter = gaussian()
    spectrum = volume_spectrum(COVARIANCE, (N, N, N)).float()
    for abar in (0.05, 0.3, 0.9):
        x = volumes(shape=(N, N, N))
        exact = torch.fft.ifftn(torch.fft.fftn(x, dim=(2, 3, 4)) * wiener(spectrum, abar), dim=(2, 3, 4)).real
        found = kikuchi(planes, lines, points, spectral_filter)(x, 0, abar)
        # The distribution of points is sampled: its tails are missing.
        assert float((found - exact).square().mean().sqrt()) < 0.02


def test_the_spectrum_of_a_gaussian_field_is_reproduced():
    """All but linear, and modes are left apart: the power is what each makes of its noise."""
    shape, noise = (1, N, N, N), Noise([0])((1, N, N, N))
    levels = LinearSchedule().trajectory(240)
    x = sample(kikuchi(*gaussian()), shape, levels, DpmPlusPlus(0.0), Noise([0]))
    gain = (to_modes(x).abs().square().sum(dim=0) / to_modes(noise).abs().square().sum(dim=0))[0]
    truth = volume_spectrum(COVARIANCE, shape[1:])[0].float()
    k = torch.fft.fftfreq(N, 1 / N)
    radius = (k[:, None, None] ** 2 + k[None, :, None] ** 2 + k[None, None] ** 2).sqrt()
    for low in (1, 3, 5):
        shell = (radius >= low) & (radius < low + 2)
        assert float(gain[shell].mean()) == pytest.approx(float(truth[shell].mean()), rel=0.05)


def test_independent_points_get_what_each_says():
    """Signs: neither Gaussian nor correlated. Its spectrum is white, so the linear term is nothing."""
    white = torch.zeros(1, 4)
    white[0, 0] = 1.0
    spectral_filter = SpectralFilter(white, (8, 8, 8))
    abar, x = 0.2, volumes(shape=(8, 8, 8))
    assert float(spectral_filter.remainder(abar).abs().max()) < 1e-6

    def alone(regions, abar, axis):
        return signs(regions, abar, ())

    found = kikuchi(alone, alone, SIGNS, spectral_filter)(x, 0, abar)
    assert torch.allclose(found, signs(x, abar, ()), atol=0.01)


@pytest.mark.parametrize("across", [0, 1, 2])
def test_independent_layers_get_what_each_layer_says(across):
    """One sign for each whole layer: what is shared by several planes counts once, not once for each."""
    abar, x = 0.05, volumes(shape=(8, 8, 8))

    def planes(regions, abar, axis):
        if axis == across:
            return signs(regions, abar, (2, 3))
        rows, _ = (other for other in range(3) if other != axis)
        return signs(regions, abar, (3,) if rows == across else (2,))

    def lines(regions, abar, axis):
        return signs(regions, abar, () if axis == across else (2,))

    dims = tuple(2 + other for other in range(3) if other != across)
    found = kikuchi(planes, lines, SIGNS, NoRemainder())(x, 0, abar)
    assert torch.allclose(found, signs(x, abar, dims), atol=0.01)
    assert float(signs(x, abar, dims).std()) > 0.1


def test_points_of_two_values_are_told_apart_as_bayes_says():
    x, abar = torch.linspace(-2, 2, 64).reshape(1, 1, 4, 4, 4), 0.5
    assert torch.allclose(point_estimate(x, SIGNS, abar), signs(x, abar, ()), atol=0.02)


def test_points_without_noise_are_themselves():
    x = volumes(shape=(4, 4, 4))
    assert torch.allclose(point_estimate(x, x.reshape(-1, 1)[:50], 1 - 1e-7), x, atol=1e-3)


def test_points_worked_off_in_parts_are_the_same(monkeypatch):
    x, points = volumes(channels=2, shape=(8, 8, 8)), volumes(1, 2, (8, 8, 8)).flatten(2)[0].T
    whole = point_estimate(x, points, 0.4)
    monkeypatch.setattr("engine.sampling.kikuchi.AT_ONCE", AT_ONCE // 2**15)
    assert torch.allclose(point_estimate(x, points, 0.4), whole, atol=1e-6)


def test_a_volume_does_not_depend_on_its_batch():
    fused, levels = kikuchi(*gaussian()), LinearSchedule().trajectory(5)
    together = sample(fused, (1, N, N, N), levels, Ddim(0.5), Noise([3, 4]))
    assert torch.equal(together[1], sample(fused, (1, N, N, N), levels, Ddim(0.5), Noise([4]))[0])


def test_a_volume_that_is_told_of_has_the_mean_of_its_planes():
    planes, lines, points, spectral_filter = gaussian()
    x = volumes(shape=(N, N, N)) + 0.5

    def sure(regions, abar, axis):
        return planes(regions, abar, axis) + 1.0

    told = kikuchi(sure, lines, points, spectral_filter, torch.tensor([True, False]))(x, 0, 0.3)
    ours = kikuchi(sure, lines, points, spectral_filter)(x, 0, 0.3)
    wanted = sure(x[0].movedim(1, 0), 0.3, 0).mean()
    assert float(told[0].mean()) == pytest.approx(float(wanted), abs=1e-3)
    assert torch.equal(told[1], ours[1])


@pytest.mark.parametrize("channels", [1, 2])
def test_samples_of_points_have_mean_and_covariance_of_all(channels):
    latents = torch.randn(40, channels, 16, 16, generator=torch.Generator().manual_seed(0)).exp()
    latents[:, -1] += 0.5 * latents[:, 0]
    every, points = latents.movedim(1, -1).flatten(0, 2), sample_points(latents)
    assert points.shape == (POINTS, channels)
    assert torch.allclose(points.mean(dim=0), every.mean(dim=0), atol=1e-4)
    assert torch.allclose(points.T.cov(), every.T.cov(), rtol=1e-3)
    assert float(points.min()) > -1.0  # as skewed as they are: a Gaussian of this variance goes below -2
