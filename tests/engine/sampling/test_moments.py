"""Moment matching: what a sampler with a poor denoiser loses, the correction gives back."""

import torch

from engine.sampling import moments
from engine.sampling.moments import MomentCorrection, MomentMatching, bin_count, wave_number_bins
from engine.sampling.multiplane import Noise, mpdd, sample
from engine.sampling.schedules import LinearSchedule
from engine.sampling.solvers import Ddim
from engine.sampling.spectra import to_modes, volume_spectrum

N, SIDE = 8, 16
LEVELS = LinearSchedule().trajectory(12)


def power():
    r = torch.arange(14, dtype=torch.float32)
    waves = torch.exp(-0.5 * (r / 1.5) ** 2)
    waves[0] += 1.0  # smooth waves and white noise, like a latent channel
    return 0.5 * volume_spectrum(waves[None], (N, N, N)).float()


def timid(planes, abar, axis):
    """A denoiser that shrinks everything and drifts: too little power, a wrong mean."""
    return 0.9 * planes * abar**0.5 + 0.05


def by_bin(volumes):
    modes = to_modes(volumes).abs().square().mean(dim=0)
    return torch.zeros(bin_count(SIDE)).index_add_(0, wave_number_bins((N, N, N), SIDE).flatten(), modes[0].flatten())


def wanted():
    return torch.zeros(bin_count(SIDE)).index_add_(0, wave_number_bins((N, N, N), SIDE).flatten(), power()[0].flatten())


def test_a_matched_batch_has_the_moments_and_its_correction_gives_them_to_others(monkeypatch):
    monkeypatch.setattr(moments, "LARGEST_GAIN", 10.0)  # the last step of so poor a denoiser needs more than is usual
    matching = MomentMatching(power(), torch.zeros(1), side=SIDE)
    batch = sample(mpdd(timid), (1, N, N, N), LEVELS, Ddim(0.5), Noise(list(range(64))), after_step=matching)
    full = wanted() > 0
    plain = by_bin(sample(mpdd(timid), (1, N, N, N), LEVELS, Ddim(0.5), Noise(list(range(64)))))[full] / wanted()[full]
    matched = by_bin(batch)[full] / wanted()[full]
    assert float(plain.log().abs().max()) > 0.5
    assert torch.allclose(matched, torch.ones_like(matched), rtol=0.02)
    assert abs(float(batch.mean())) < 1e-5
    correction = MomentCorrection(
        torch.stack(matching.shifts), torch.stack(matching.log_gains), (N, N, N), 12, side=SIDE
    )
    others = sample(mpdd(timid), (1, N, N, N), LEVELS, Ddim(0.5), Noise(list(range(100, 164))), after_step=correction)
    many = (
        torch.bincount(wave_number_bins((N, N, N), SIDE).flatten(), minlength=bin_count(SIDE))[full] > 20
    )  # modes to average over
    corrected = by_bin(others)[full] / wanted()[full]
    assert float(corrected[many].log().abs().max()) < 0.4 * float(plain[many].log().abs().max())
    assert abs(float(others.mean())) < 0.1  # 64 means with a standard deviation of 0.2


def test_a_correction_of_nothing_changes_nothing():
    x = torch.randn(2, 3, 8, 12, 16)
    nothing = MomentCorrection(torch.zeros(4, 3), torch.zeros(4, 3, bin_count(SIDE)), (8, 12, 16), 7, side=SIDE)
    assert torch.allclose(nothing(x, 0.4, 0.5), x, atol=1e-5)


def test_corrections_are_spread_over_other_numbers_of_steps():
    """Half the steps: each takes twice the correction, so that the whole stays the same."""
    gains = torch.full((8, 1, bin_count(SIDE)), 0.02)
    x = torch.ones(1, 1, N, N, N)
    for steps in (4, 8, 16):
        correction, y = MomentCorrection(torch.zeros(8, 1), gains, (N, N, N), steps, side=SIDE), x
        for step in range(steps):
            y = correction(y, (step + 1) / steps, 0.5)
        assert torch.allclose(y, x * torch.tensor(0.16).exp(), rtol=1e-4)


def test_a_wanted_mean_is_reached():
    matching = MomentMatching(power(), torch.tensor([0.3]), side=SIDE)
    batch = sample(mpdd(timid), (1, N, N, N), LEVELS, Ddim(0.5), Noise([1, 2, 3, 4]), after_step=matching)
    assert torch.allclose(batch.mean(), torch.tensor(0.3), atol=1e-4)


def test_bins_are_wave_numbers_whatever_the_shape():
    """The lowest mode of a volume twice as long falls into the bin of the same wave number."""
    small, large = wave_number_bins((16, 16, 16), SIDE), wave_number_bins((32, 16, 16), SIDE)
    assert torch.equal(small[:, 0, 0], large[::2, 0, 0])
    assert int(small.max()) < bin_count(SIDE) and int(small.min()) == 0


def test_gains_along_the_axes_are_told_apart(monkeypatch):
    """A denoiser that is timid in one kind of plane only: what is put back differs between the axes."""
    monkeypatch.setattr(moments, "LARGEST_GAIN", 10.0)

    def uneven(planes, abar, axis):
        return (0.5 if axis == 0 else 0.95) * planes * abar**0.5

    matching = MomentMatching(power(), torch.zeros(1), side=SIDE, by_axis=True)
    batch = sample(mpdd(uneven), (1, N, N, N), LEVELS, Ddim(0.5), Noise(list(range(64))), after_step=matching)
    full = wanted() > 0
    assert torch.allclose(by_bin(batch)[full], wanted()[full], rtol=0.1)
    gains = torch.stack(matching.log_gains)
    assert gains.shape == (12, 1, 3, bin_count(SIDE))
    assert float((gains[:, 0, 0] - gains[:, 0, 2]).abs().max()) > 0.1
    correction = MomentCorrection(torch.stack(matching.shifts), gains, (N, N, N), 12, side=SIDE)
    others = sample(mpdd(uneven), (1, N, N, N), LEVELS, Ddim(0.5), Noise(list(range(100, 164))), after_step=correction)
    many = torch.bincount(wave_number_bins((N, N, N), SIDE).flatten(), minlength=bin_count(SIDE))[full] > 20
    assert torch.allclose(by_bin(others)[full][many], wanted()[full][many], rtol=0.25)


def test_directions_are_unit_vectors_and_equal_gains_along_all_axes_are_one_gain():
    assert torch.allclose(moments.directions((6, 8, 10)).sum(dim=0), torch.ones(6, 8, 10))
    gains, x = torch.randn(4, 2, bin_count(SIDE)) * 0.1, torch.randn(2, 2, 8, 12, 16)
    one = MomentCorrection(torch.zeros(4, 2), gains, (8, 12, 16), 4, side=SIDE)
    three = MomentCorrection(torch.zeros(4, 2), gains[:, :, None].expand(-1, -1, 3, -1), (8, 12, 16), 4, side=SIDE)
    assert torch.allclose(one(x, 0.5, 0.5), three(x, 0.5, 0.5), atol=1e-5)
