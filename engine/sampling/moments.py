"""Moment matching: keep the first two moments of a volume on its way where theory puts them.

Whatever the distribution of the clean field, x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps has mean 0 and the power
abar S(k) + 1 - abar in mode k at every noise level (x_0 normalised, eps independent). A sampler that takes finite steps
with an imperfect network leaves that path: long waves lose power, and the minority phase melts. During calibration a
batch of volumes is put back on it after each step, and what that took, a shift per channel and a gain per channel and
wave number, is kept and applied to every volume from then on. No weight is tuned, and 16 steps do the work of 250.

Where the axes differ, so do the gains of waves along them: a wave vector at an angle takes the mean of the three
logarithms, weighted with the squares of its direction's components.

Shapes: `B` volumes, `C` channels, `D H W` latent space, `E` steps, `Q` bins of wave number. Gains are [..., Q], or
[..., 3, Q] where the axes differ.
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from engine.sampling.spectra import scale_modes, to_modes

LARGEST_GAIN = 1.25  # of one step: beyond, the batch is too small to say


def bin_count(side: int) -> int:
    """Q: bins as wide as the lowest wave of a volume of `side` latent pixels, to the corner of wave-number space; bin 0
    is the mean."""
    return math.ceil(math.sqrt(3) / 2 * side) + 1


class StepHook(Protocol):
    """Called after each step with the volumes [B, C, D, H, W], the share of the steps done and the new alpha-bar."""

    def __call__(self, x: Tensor, progress: float, abar: float) -> Tensor: ...


class MomentMatching:
    """Puts a batch back on the path after each step, and notes what it took.

    Args:
        power: [C, D, H, W] expected power of the clean field's Fourier modes.
        mean: [C] mean the clean field shall have; 0 for normalised latents.
        side: latent pixels on a side of a training crop; its lowest wave is as wide as a bin.
        by_axis: whether the axes differ.
    """

    def __init__(self, power: Tensor, mean: Tensor, *, side: int, by_axis: bool = False) -> None:
        depth, height, width = power.shape[1:]
        self._power, self._mean = power, mean
        self._count = bin_count(side)
        self._bins = wave_number_bins((depth, height, width), side).to(power.device)
        self._shares = directions((depth, height, width)).to(power) if by_axis else None
        self.shifts: list[Tensor] = []
        self.log_gains: list[Tensor] = []

    def __call__(self, x: Tensor, progress: float, abar: float) -> Tensor:
        wanted_mean = math.sqrt(abar) * self._mean
        shift = x.mean(dim=(0, 2, 3, 4)) - wanted_mean  # [C]
        centred = x - x.mean(dim=(0, 2, 3, 4))[:, None, None, None]
        found = self._by_bin(to_modes(centred).abs().square().mean(dim=0))
        wanted = self._by_bin(abar * self._power + 1 - abar)
        gain = (wanted / found.clamp(min=1e-12)).sqrt().clamp(1 / LARGEST_GAIN, LARGEST_GAIN)
        gain = torch.where(wanted > 0, gain, 1.0)  # bins that hold no mode of this shape
        self.shifts.append(shift)
        self.log_gains.append(gain.log())
        return scale_modes(centred, _of_modes(gain.log(), self._bins, self._shares)) + wanted_mean[:, None, None, None]

    def _by_bin(self, power: Tensor) -> Tensor:
        """Sum over the modes of each bin: [C, D, H, W] -> [C, Q], or [C, 3, Q] each mode shared among the axes."""
        if self._shares is None:
            return _by_bin(power, self._bins, self._count)
        return torch.stack([_by_bin(power * share, self._bins, self._count) for share in self._shares], dim=1)


class MomentCorrection:
    """Applies what `MomentMatching` noted to volumes of any number, shape and steps.

    Args:
        shift: [E, C]; log_gain: [E, C, Q] or [E, C, 3, Q]; of the calibration.
        shape: of the latent volume.
        side: as for `MomentMatching`.
        steps: of the sampler. With other steps than the calibration's, corrections are spread accordingly.
        told: [B] bool, the volumes of which the network is told descriptors: their means have a gain of 1, since the
            spread that the calibration found between volumes is not theirs.
    """

    def __init__(
        self,
        shift: Tensor,
        log_gain: Tensor,
        shape: tuple[int, int, int],
        steps: int,
        told: Tensor | None = None,
        *,
        side: int,
    ) -> None:
        self._shift, self._log_gain, self._told = shift, log_gain, told
        self._spread = shift.shape[0] / steps
        self._bins = wave_number_bins(shape, side).to(shift.device)
        self._shares = directions(shape).to(shift) if log_gain.ndim == 4 else None

    def __call__(self, x: Tensor, progress: float, abar: float) -> Tensor:
        gain = _of_modes(_at(self._log_gain, progress) * self._spread, self._bins, self._shares)
        shift = _at(self._shift, progress) * self._spread
        moved = x - shift[:, None, None, None]
        scaled = scale_modes(moved, gain)
        return scaled if self._told is None else with_mean_of(moved, scaled, self._told)


def with_mean_of(before: Tensor, after: Tensor, which: Tensor) -> Tensor:
    """`after` with the means of `before` for some volumes, [B] bool; both [B, C, D, H, W]."""
    apart = before.mean(dim=(2, 3, 4)) - after.mean(dim=(2, 3, 4))
    return after + (apart * which.to(apart)[:, None])[:, :, None, None, None]


def directions(shape: tuple[int, int, int]) -> Tensor:
    """Squares of the components of each mode's direction, [3, D, H, W], float32; they sum to one."""
    waves = torch.meshgrid(*(torch.fft.fftfreq(n, dtype=torch.float64) for n in shape), indexing="ij")
    squares = torch.stack(waves).square()
    length = squares.sum(dim=0)
    return torch.where(length > 0, squares / length.clamp(min=1e-12), 1 / 3).float()


def _of_modes(log_gain: Tensor, bins: Tensor, shares: Tensor | None) -> Tensor:
    """Gain of every mode, [C, D, H, W], from logarithms by bin [C, Q], or [C, 3, Q] with the directions' shares."""
    if shares is None:
        return log_gain.exp()[:, bins]
    return (log_gain[:, :, bins] * shares).sum(dim=1).exp()


def wave_number_bins(shape: tuple[int, int, int], side: int) -> Tensor:
    """Bin of each Fourier mode by the length of its wave vector, int64 [D, H, W]; as wide as the lowest wave of `side`
    latent pixels.

    The mean of the volume has bin 0 to itself: the spectral correction is largest there, and the spread between volumes
    hangs on it.
    """
    waves = [2 * math.pi * torch.fft.fftfreq(n, dtype=torch.float64) for n in shape]
    squares = waves[0][:, None, None] ** 2 + waves[1][None, :, None] ** 2 + waves[2][None, None] ** 2
    bins: Tensor = (squares.sqrt() * side / (2 * math.pi)).round().long()
    # Where a volume is longer than `side`, its lowest waves round to 0: they are waves all the same.
    bins = bins.clamp(1, bin_count(side) - 1)
    bins[0, 0, 0] = 0
    return bins


def _by_bin(power: Tensor, bins: Tensor, count: int) -> Tensor:
    """Sum over the modes of each bin: [C, D, H, W] -> [C, Q]."""
    out = power.new_zeros(power.shape[0], count)
    return out.index_add_(1, bins.flatten(), power.flatten(1))


def _at(table: Tensor, progress: float) -> Tensor:
    """Row of a table [E, ...] whose row i stands for the progress (i + 1) / E, interpolated."""
    position = min(max(progress * table.shape[0] - 1, 0.0), table.shape[0] - 1.0)
    low = int(position)
    high = min(low + 1, table.shape[0] - 1)
    return table[low] + (table[high] - table[low]) * (position - low)
