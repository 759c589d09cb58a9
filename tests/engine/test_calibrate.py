"""What calibration measures of sets of volumes."""

from dataclasses import replace

import numpy as np
import pytest

from engine import calibrate
from engine.calibrate import ENOUGH, choose_numbers, match_composition, mismatch, volume_statistics
from engine.models.bundle import load_bundle
from engine.models.presets import TrainingConfig
from engine.sampling.multiplane import SamplerNumbers
from tests.bundles import write_untrained_bundle


def rods(side=24, period=8, seed=0):
    """Squares along the first axis: no interface is crossed along it."""
    plane = np.zeros((side, side), dtype=np.uint8)
    for y in range(0, side, period):
        for x in range(0, side, period):
            plane[y + 2 : y + 6, x + 2 : x + 6] = 1
    return np.broadcast_to(plane, (side, side, side)).copy()


def test_an_axis_without_interfaces_has_an_error_of_its_own():
    """Relative to the mean of the axes, so that one voxel along fibres is little, not infinite."""
    wanted = volume_statistics([rods()], 2, by_axis=True)
    assert wanted.surface[1, 0] == 0 and wanted.surface[1, 1] > 0
    same = mismatch(wanted, wanted)
    assert all(value == 0 for value in same.values())
    touched = rods()
    touched[12, 12, 12] = 1 - touched[12, 12, 12]
    found = mismatch(volume_statistics([touched], 2, by_axis=True), wanted)
    assert 0 < abs(found["surface_area"]) < 0.01


def test_the_worst_phase_and_axis_count_with_their_sign():
    wanted = volume_statistics([rods()], 2, by_axis=True)
    surface = wanted.surface.copy()
    surface[0, 2] *= 0.9
    found = mismatch(replace(wanted, surface=surface, fraction=wanted.fraction * [1.02, 1.0]), wanted)
    mean = wanted.surface[0].mean()
    assert found["surface_area"] == pytest.approx(-0.1 * wanted.surface[0, 2] / mean)
    assert found["fraction"] == pytest.approx(0.02)


def test_what_costs_nothing_is_kept_where_it_is_better_and_what_costs_time_where_much_better(monkeypatch, tmp_path):
    """Scores by numbers: lambda 1.2 is better by a hundredth, 1.5 is worse, a pass of refinement is better by a
    twentieth (not enough) and 32 steps by a fifth."""
    write_untrained_bundle(tmp_path / "toy")
    bundle = load_bundle(tmp_path / "toy")
    bundle.calibration = replace(bundle.calibration, numbers=SamplerNumbers())
    errors = dict.fromkeys(calibrate.ERRORS, 0.0)
    seen = []

    def judged(numbers):
        value = 0.1
        value *= {1.0: 1.0, 1.2: 0.99, 1.5: 1.1}[numbers.snr_factor] * (1.3 if numbers.eta == 1 else 1.0)
        return value * (0.95 if numbers.refine_passes else 1.0) * (0.8 if numbers.steps == 32 else 1.0)

    def made(of, inference, numbers, wanted, seeds, side, lengths):
        seen.append(numbers)
        return replace(bundle.calibration, numbers=replace(numbers, draw_length=lengths[2])), []

    monkeypatch.setattr(calibrate, "match_composition", made)
    monkeypatch.setattr(calibrate, "volume_statistics", lambda *args, **kwargs: None)
    monkeypatch.setattr(calibrate, "mismatch", lambda *args: errors | {"s2": judged(seen[-1])})
    monkeypatch.setattr(calibrate, "rhythm", lambda *args: 0.0)
    chosen, curve = choose_numbers(bundle, None, None, TrainingConfig())
    assert (chosen.snr_factor, chosen.eta, chosen.refine_passes, chosen.steps) == (1.2, 0.5, 0, 32)
    assert len(curve) == 1 + len(calibrate.CHANGES)
    assert chosen.draw_length == curve[0]["draw_length"] == calibrate.LENGTHS[2]

    again, _ = choose_numbers(bundle, None, None, TrainingConfig(), known=curve)
    assert again == chosen and len(seen) == len(curve), "what is known is not measured again"


@pytest.mark.parametrize("response", [0.5, 1.0, 1.3])
def test_fractions_are_matched_however_the_volumes_follow_their_mean(monkeypatch, tmp_path, response):
    """Volumes whose fractions are off at first and follow the mean less, as, or more than those of crops."""
    write_untrained_bundle(tmp_path / "toy", ("a", "b", "c"))
    bundle = load_bundle(tmp_path / "toy")
    rounds = []

    def made(of, inference, numbers, mean, seeds, side, lengths):
        shares = np.array([0.4, 0.35, 0.25]) + response * (bundle.composition.slope @ mean).numpy()
        ends = np.cumsum(np.round(shares * 1e6)).astype(int)
        volume = np.searchsorted(ends[:2], np.arange(1_000_000), side="right").reshape(100, 100, 100)
        rounds.append(shares)
        return bundle.calibration, {lengths[0]: [volume.astype(np.uint8)]}

    monkeypatch.setattr(calibrate, "match_moments", made)
    wanted = volume_statistics([np.arange(27, dtype=np.uint8).reshape(3, 3, 3) % 3], 3)  # a third each
    _, (volume,) = match_composition(bundle, None, SamplerNumbers(), wanted, [0], 100)
    found = np.array([(volume == k).mean() for k in range(3)])
    assert np.abs(found * 3 - 1).max() < ENOUGH
    assert len(rounds) == (2 if response == 1 else 3)


def test_the_draw_is_the_one_that_looks_most_like_the_training_at_its_fraction(monkeypatch, tmp_path):
    """Three draws: rods too fine, rods as wanted but fewer, and rods too wide at the wanted fraction."""
    write_untrained_bundle(tmp_path / "toy")
    bundle = load_bundle(tmp_path / "toy")
    wanted = volume_statistics([rods(48, 8)], 2)
    fewer = rods(48, 8)
    fewer[:, 40:] = 0
    volumes = {
        0.0: [np.tile(rods(48, 8)[:, ::2, ::2], (1, 2, 2))],
        1.0: [fewer],
        2.0: [rods(24, 8).repeat(2, axis=1).repeat(2, axis=2)],
    }
    asked = []

    def made(of, inference, numbers, mean, seeds, side, lengths):
        asked.append(list(lengths))
        return bundle.calibration, {length: volumes[length] for length in lengths}

    monkeypatch.setattr(calibrate, "match_moments", made)
    calibration, found = match_composition(bundle, None, SamplerNumbers(), wanted, [0], 48, (0.0, 1.0, 2.0))
    assert calibration.numbers.draw_length == 1.0 and found is volumes[1.0]
    assert asked == [[0.0, 1.0, 2.0]] + [[1.0]] * (calibrate.ROUNDS - 1)


def test_single_voxels_show_in_the_chords():
    """One voxel in two hundred turned changes the chords several times as much as the lineal path."""
    volume = rods(48, 8)
    wanted = volume_statistics([volume], 2)
    turned = np.random.default_rng(0).random(volume.shape) < 0.005
    found = mismatch(volume_statistics([np.where(turned, 1 - volume, volume)], 2), wanted)
    assert found["chord_length"] > 3 * found["lineal_path"] > 0
    assert mismatch(wanted, wanted)["chord_length"] == 0


def test_chords_that_only_large_images_show_do_not_count():
    """A micrograph holds chords that no volume can: of those up to the last lag the shares agree."""
    wide = np.zeros((600, 600), dtype=np.uint8)
    wide[:, 0:200:10] = wide[:, 1:200:10] = 1  # chords of 2 and 8 pixels, and one of 390 in each row
    large = volume_statistics([np.broadcast_to(wide, (4, 600, 600))], 2, by_axis=True)
    small = volume_statistics([np.broadcast_to(wide[:64, :64], (64, 64, 64))], 2, by_axis=True)
    assert mismatch(small, large)["chord_length"] < 0.03
