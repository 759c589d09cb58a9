"""engine.models.crop_descriptors, and a network that was told them."""

import hashlib
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from engine.descriptors.chords import mean_chord
from engine.errors import InputError
from engine.micrographs.micrograph import Micrographs, Source
from engine.models.condition import Condition
from engine.models.crop_descriptors import (
    DescriptorScale,
    describe_crops,
    descriptor_names,
    fit_scales,
    forget_some,
    normalised,
)
from engine.models.losses import clean_of
from engine.models.presets import TrainingConfig
from engine.models.training import train_networks
from engine.sampling.schedules import schedule_of
from tests.engine.models.tiny import CONFIG, level_cut, micrographs

BOTH = ("fraction", "mean_chord")


def test_names_leave_out_the_fraction_that_follows_from_the_others():
    assert descriptor_names(BOTH, ("a", "b", "c")) == (
        "fraction[a]",
        "fraction[b]",
        "mean_chord[a]",
        "mean_chord[b]",
        "mean_chord[c]",
    )


def test_they_are_the_crop_s_own():
    crops = np.stack([level_cut(n=48, seed=seed) for seed in range(3)])
    found = describe_crops(torch.from_numpy(crops), BOTH, 2).numpy()
    assert found[:, 0] == pytest.approx((crops == 0).mean(axis=(1, 2)))
    for column, phase in ((1, 0), (2, 1)):
        along = mean_chord(crops == phase, space_dims=2)  # [B, 2]; lines along both axes together: a harmonic mean
        assert found[:, column] == pytest.approx(2 / (1 / along).sum(axis=1), rel=1e-5)


def test_a_crop_of_one_phase_is_finite_or_unknown():
    found = describe_crops(torch.ones(1, 16, 16, dtype=torch.int64), BOTH, 2)[0].tolist()
    assert found[0] == 0 and math.isnan(found[1]) and found[2] == 16


def test_scales_are_those_of_the_crops_and_ignore_what_is_unknown():
    values = torch.tensor([[1.0, torch.nan], [3.0, 5.0], [2.0, torch.nan]])
    one, other = fit_scales(values, ("a", "b"))
    assert one == DescriptorScale(name="a", mean=2.0, sd=1.0, low=1.0, high=3.0)
    assert other == DescriptorScale(name="b", mean=5.0, sd=1.0, low=5.0, high=5.0)
    told = normalised(values, (one, other))
    assert told[:, 0].tolist() == [-1, 1, 0] and told[1, 1] == 0 and bool(told[0, 1].isnan())


def test_half_of_the_crops_are_told_nothing_and_any_selection_occurs_in_the_rest():
    told = forget_some(torch.zeros(4_000, 2), 0.5, np.random.default_rng(0))
    known = ~told.isnan()
    for first in (False, True):
        for second in (False, True):
            share = float(((known[:, 0] == first) & (known[:, 1] == second)).float().mean())
            assert share == pytest.approx(0.625 if not (first or second) else 0.125, abs=0.03)
    assert bool(forget_some(torch.zeros(50, 2), 1.0, np.random.default_rng(0)).isnan().all())


def test_a_wrong_name_is_refused():
    for wrong in (("fractions",), ("fraction", "fraction")):
        with pytest.raises(InputError, match="descriptors: must be some of fraction, mean_chord"):
            replace(CONFIG, descriptors=wrong)


def test_what_is_told_leaves_the_rest_of_the_training_as_it_was(tmp_path):
    """The autoencoder, the crops, the noise: the same; only the descriptors' own tokens are new."""
    plain = train_networks(micrographs(), tmp_path / "plain", CONFIG)
    told = train_networks(micrographs(), tmp_path / "told", replace(CONFIG, descriptors=BOTH))
    for name, tensor in plain.autoencoder.state_dict().items():
        assert torch.equal(tensor, told.autoencoder.state_dict()[name])
    assert plain.descriptors == () and [each.name for each in told.descriptors] == list(
        descriptor_names(BOTH, ("pore", "solid"))
    )
    low, high = told.descriptors[0].low, told.descriptors[0].high
    assert 0.2 < low < told.descriptors[0].mean < high < 0.45


def two_fractions():
    """A material whose images have a third or two thirds of phase 0, of the same length scale."""
    images = tuple(
        (image if seed % 2 else 1 - image).astype(np.uint8)
        for seed in range(4)
        for image in [level_cut(n=96, seed=seed, width=2.0)]
    )
    sources = tuple(
        Source(name=f"{i}.png", sha256=hashlib.sha256(image.tobytes()).hexdigest(), shape=image.shape, kind="image")
        for i, image in enumerate(images)
    )
    return Micrographs(arrays=images, phases=("pore", "solid"), labels=(0, 1), sources=sources, voxel_size_um=None)


def test_a_network_follows_the_asked_fraction(tmp_path):
    """Pixel space, two hundred steps: images asked for each fraction have it, those asked for nothing are of both."""
    config = TrainingConfig(
        crop=16,
        factor=1,
        batch=16,
        precision="fp32",
        autoencoder_steps=1,
        denoiser_steps=200,
        denoiser_rate=3e-3,
        denoiser_width=16,
        denoiser_multipliers=(1, 1),
        attention=(),
        ema_decay=0.98,
        calibration_crops=256,
        descriptors=("fraction",),
    )
    networks = train_networks(two_fractions(), tmp_path / "run", config)
    schedule = schedule_of(config.schedule_numbers)
    levels = schedule.trajectory(16)

    @torch.no_grad()
    def found(value):
        x = torch.randn(48, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        told = normalised(torch.full((48, 1), value), networks.descriptors)
        for abar, following in pairwise(levels):
            time = torch.full((48,), schedule.time_of(abar))
            clean = clean_of("v", x, networks.denoiser(x, time, Condition(descriptors=told)), abar)
            noise = (x - math.sqrt(abar) * clean) / math.sqrt(1 - abar)
            x = math.sqrt(following) * clean + math.sqrt(1 - following) * noise
        return float((networks.autoencoder.decode(x).argmax(dim=1) == 0).float().mean())

    low, middle, high = found(0.33), found(math.nan), found(0.67)
    # Two hundred steps leave a bias; a network that does not listen answers a half to everything.
    assert low == pytest.approx(0.33, abs=0.12) and high == pytest.approx(0.67, abs=0.12), (low, middle, high)
    assert low + 0.08 < middle < high - 0.08, (low, middle, high)
