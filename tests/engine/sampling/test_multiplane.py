"""Multi-plane samplers on Gaussian random fields with an exact plane denoiser: the 3D spectrum is known."""

import math

import pytest
import torch

from engine.errors import InputError
from engine.parallel import one_thread
from engine.sampling.choices import Harmonizing
from engine.sampling.multiplane import MirroredNoise, Noise, assured, mpdd, sample, spectral
from engine.sampling.schedules import LinearSchedule
from engine.sampling.solvers import Ddim, Ddpm, DpmPlusPlus
from engine.sampling.spectra import SpectralFilter, plane_spectrum, to_modes, volume_spectrum

N, LENGTH = 16, 1.5
SCHEDULE = LinearSchedule()


@pytest.fixture(autouse=True)
def one_thread_for_small_transforms():
    """Two threads take ten times as long over transforms this small as one does."""
    with one_thread():
        yield


COVARIANCE = torch.exp(-0.5 * (torch.arange(14, dtype=torch.float32) / LENGTH) ** 2)[None]


def exact_plane_denoiser():
    """E[x_0 | x_t] of a plane of the field: Wiener's filter with the plane's spectrum."""
    spectrum = plane_spectrum(volume_spectrum(COVARIANCE, (N, N, N)), 0)[0, 0].float()  # [N, N]

    def denoise(planes, abar, axis):
        gain = math.sqrt(abar) * spectrum / (abar * spectrum + 1 - abar)
        # Plane by plane: the last bits of a batched transform depend on the size of the batch.
        return torch.stack([torch.fft.ifft2(torch.fft.fft2(plane) * gain).real for plane in planes])

    return denoise


def mean_power(fused, volumes=48, steps=240, harmonizing=None):
    levels, noise = SCHEDULE.trajectory(steps), Noise(list(range(volumes)))
    x = sample(fused, (1, N, N, N), levels, Ddim(0.0), noise, harmonizing=harmonizing)
    return to_modes(x).abs().square().mean(dim=0)[0]


def by_shell(power):
    k = torch.fft.fftfreq(N, 1 / N)
    radius = (k[:, None, None] ** 2 + k[None, :, None] ** 2 + k[None, None] ** 2).sqrt()
    return torch.stack([power[(radius >= low) & (radius < low + 2)].mean() for low in (1, 3, 5, 7)])


def test_spectral_reproduces_the_spectrum_and_mpdd_does_not():
    truth = by_shell(volume_spectrum(COVARIANCE, (N, N, N))[0].float())
    denoise = exact_plane_denoiser()
    correction = SpectralFilter(COVARIANCE, (N, N, N), cap=100.0)
    ours = by_shell(mean_power(spectral(denoise, correction)))
    published = by_shell(mean_power(mpdd(denoise)))
    # Standard error of a shell's power here: 1-2 %.
    assert torch.allclose(ours, truth, rtol=0.05)
    assert float((published / truth - 1).abs().max()) > 0.3


def test_spectral_reproduces_an_anisotropic_spectrum_and_mpdd_does_not():
    """Another length along each axis, planes told apart; power of the modes nearest to each axis, by wave number.

    Everything is linear and leaves modes apart, so that the power is what each makes of its noise: no scatter."""
    lengths = (1.0, 1.5, 2.2)
    z, y, x = (torch.exp(-0.5 * (torch.arange(14) / length) ** 2) for length in lengths)
    # Of planes across z, y and x.
    covariance = torch.stack([torch.outer(y, x), torch.outer(z, x), torch.outer(z, y)])[None]
    truth = volume_spectrum(covariance, (N, N, N))

    def denoise(planes, abar, axis):
        spectrum = plane_spectrum(truth, axis)[0].squeeze(axis).float()
        gain = math.sqrt(abar) * spectrum / (abar * spectrum + 1 - abar)
        return torch.fft.ifft2(torch.fft.fft2(planes) * gain).real

    def by_band(power):
        squares = torch.fft.fftfreq(N, 1 / N).square()
        waves = torch.stack(torch.meshgrid(squares, squares, squares, indexing="ij"))
        length = waves.sum(dim=0).sqrt()
        bands = []
        for axis in range(3):
            near = (waves.argmax(dim=0) == axis) & (length > 0)
            bands.append([power[near & (length >= low) & (length < low + 2)].mean() for low in (1, 3, 5)])
        return torch.tensor(bands)

    def found(fused):
        shape, levels = (1, N, N, N), SCHEDULE.trajectory(240)
        made = to_modes(sample(fused, shape, levels, DpmPlusPlus(0.0), Noise([0])))
        return by_band((made / to_modes(Noise([0])(shape))).abs().square()[0, 0])

    wanted = by_band(truth[0].float())
    ours = found(spectral(denoise, SpectralFilter(covariance, (N, N, N), cap=100.0)))
    assert torch.allclose(ours, wanted, rtol=0.05)
    assert float((found(mpdd(denoise)) / wanted - 1).abs().max()) > 0.3


def test_a_denoiser_told_a_surer_ratio_sees_what_a_plane_of_that_ratio_is():
    """Signal and noise in the ratio that is told, at the scale that goes with it; at factor 1 nothing is done."""
    seen = []

    def denoise(planes, abar, axis):
        seen.append((planes, abar, axis))
        return planes

    planes, abar, factor = torch.randn(2, 1, 4, 4), 0.3, 1.5
    assured(denoise, factor)(planes, abar, 2)
    ((given, told, axis),) = seen
    assert told / (1 - told) == pytest.approx(factor * abar / (1 - abar)) and axis == 2
    assert torch.allclose(given / math.sqrt(told), planes / math.sqrt(abar))
    assert assured(denoise, 1.0) is denoise


def test_harmonizing_does_not_bring_back_what_cycling_planes_loses():
    truth = by_shell(volume_spectrum(COVARIANCE, (N, N, N))[0].float())
    harmonized = by_shell(mean_power(mpdd(exact_plane_denoiser()), 16, 60, Harmonizing(passes=2, blend=0.5)))
    assert float((harmonized / truth - 1).abs().max()) > 0.3


def test_a_repeated_step_is_the_step_itself_where_nothing_is_noised_again():
    """Zero passes are `mpdd`; passes draw noise of their own, so the volume differs but the clean end is reached."""
    fused, levels = mpdd(exact_plane_denoiser()), SCHEDULE.trajectory(6)
    plain = sample(fused, (1, N, N, N), levels, Ddpm(), Noise([1]))
    none = sample(fused, (1, N, N, N), levels, Ddpm(), Noise([1]), harmonizing=Harmonizing(passes=0))
    some = sample(fused, (1, N, N, N), levels, Ddpm(), Noise([1]), harmonizing=Harmonizing(passes=2))
    assert torch.equal(plain, none)
    assert not torch.allclose(plain, some) and torch.isfinite(some).all()


@pytest.mark.parametrize("bad", [{"passes": -1}, {"blend": 0.0}, {"blend": 1.5}])
def test_harmonizing_that_cannot_be_is_refused(bad):
    with pytest.raises(InputError, match="harmonizing"):
        Harmonizing(**bad)


def test_a_volume_does_not_depend_on_its_batch():
    denoise = exact_plane_denoiser()
    fused = spectral(denoise, SpectralFilter(COVARIANCE, (N, N, N)))
    levels = SCHEDULE.trajectory(10)
    together = sample(fused, (1, N, N, N), levels, Ddim(0.5), Noise([3, 4, 5]))
    alone = sample(fused, (1, N, N, N), levels, Ddim(0.5), Noise([4]))
    assert torch.equal(together[1], alone[0])


def test_rolling_a_torus_changes_nothing_for_a_denoiser_without_borders():
    fused, levels = mpdd(exact_plane_denoiser()), SCHEDULE.trajectory(12)
    still = sample(fused, (1, N, N, N), levels, Ddim(0.0), Noise([1]))
    rolled = sample(fused, (1, N, N, N), levels, Ddim(0.0), Noise([1]), roll=True)
    assert torch.allclose(rolled, still, atol=1e-4)


def edge_denoiser(planes, abar, axis):
    """Exact but for the rim of a plane, where it knows nothing: what a network does at a border."""
    clean = exact_plane_denoiser()(planes, abar, axis)
    clean[..., 0, :] = 0
    clean[..., :, 0] = 0
    return clean


def test_cut_anywhere_no_place_of_a_torus_is_special():
    """A denoiser that spoils the border of its plane: on a volume that stands still its faces are flat; drawn cuts
    spread that evenly. Power by plane, mean of the axes and of 64 volumes."""

    def power(**cut):
        noise = Noise(range(64))
        x = sample(mpdd(edge_denoiser), (1, N, N, N), SCHEDULE.trajectory(12), Ddim(0.5), noise, **cut).square()
        found = x.mean(dim=(0, 1, 3, 4)) + x.mean(dim=(0, 1, 2, 4)) + x.mean(dim=(0, 1, 2, 3))
        return found / found.mean()

    still, drawn = power(), power(anywhere=True)
    assert float(still[0]) < 0.6
    assert torch.allclose(drawn, torch.ones(N), atol=0.15) and abs(float(drawn[0]) - 1) < 0.1


def test_a_cut_drawn_for_a_volume_does_not_depend_on_its_company():
    fused, levels = mpdd(edge_denoiser), SCHEDULE.trajectory(5)
    both = sample(fused, (1, N, N, N), levels, Ddim(0.5), Noise([1, 2]), anywhere=True)
    assert torch.equal(both[1], sample(fused, (1, N, N, N), levels, Ddim(0.5), Noise([2]), anywhere=True)[0])


def test_mirrored_noise_has_mean_zero_whatever_the_solver_draws():
    """A linear sampler keeps the mean of its noise: mirrored, it is zero, where independent draws would not be."""
    fused, levels = mpdd(exact_plane_denoiser()), SCHEDULE.trajectory(6)
    mirrored = sample(fused, (1, N, N, N), levels, Ddpm(), MirroredNoise([1, 2]))
    assert mirrored.shape[0] == 4
    assert abs(float(mirrored.mean())) < 1e-5
    plain = sample(fused, (1, N, N, N), levels, Ddpm(), Noise([1, 2, 3, 4]))
    assert abs(float(plain.mean())) > 1e-3


def test_noise_streams_are_independent_of_their_company():
    both, second = Noise([1, 2]), Noise([2])
    assert torch.equal(both((3, 4))[1], second((3, 4))[0])
    assert torch.equal(both.select([1])((5,))[0], second((5,))[0])


def test_a_volume_that_is_told_of_keeps_the_mean_of_its_planes():
    """The gain of the mean is 1 for it, the others are filtered as ever; every other mode is."""
    spectral_filter = SpectralFilter(COVARIANCE, (N, N, N))
    x = torch.randn(2, COVARIANCE.shape[0], N, N, N, generator=torch.Generator().manual_seed(0))
    x += 1.0

    def denoise(planes, abar, axis):
        return 0.7 * planes

    told = spectral(denoise, spectral_filter, torch.tensor([True, False]))(x, 1, 0.3)
    ours = spectral(denoise, spectral_filter)(x, 1, 0.3)
    assert torch.equal(told[1], ours[1])
    assert torch.allclose(told[0].mean(dim=(1, 2, 3)), 0.7 * x[0].mean(dim=(1, 2, 3)), atol=1e-5)
    assert not torch.allclose(told[0].mean(dim=(1, 2, 3)), ours[0].mean(dim=(1, 2, 3)), atol=1e-2)
    centred = [each - each.mean(dim=(1, 2, 3), keepdim=True) for each in (told[0], ours[0])]
    assert torch.allclose(*centred, atol=1e-5)
