"""A bundle with untrained networks, small enough to sample from in a test: noise, but real files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from engine.models.autoencoder import Autoencoder, AutoencoderConfig
from engine.models.bundle import Card, Phase, save_bundle
from engine.models.crop_descriptors import DescriptorScale
from engine.models.denoiser import Denoiser, DenoiserConfig
from engine.models.lines import LineConfig, LineDenoiser
from engine.models.training_curves import KEY
from engine.sampling.composition import Composition
from engine.sampling.moments import bin_count
from engine.sampling.multiplane import Calibration, SamplerNumbers


def write_untrained_bundle(
    folder: Path, phases: Sequence[str] = ("pore", "solid"), descriptors: Sequence[DescriptorScale] = ()
) -> Card:
    """Write a bundle of these phases (labels 0, 1, ..., equal fractions) that samples 32³ in about a second.

    A network that can be told descriptors answers to them, as it happens.
    """
    torch.manual_seed(0)
    autoencoder = Autoencoder(AutoencoderConfig(phases=len(phases), width=16, fine_width=8))
    share, channels = 1 / len(phases), autoencoder.config.latent_channels
    config = DenoiserConfig(channels=channels, width=16, multipliers=(1, 1), descriptors=len(descriptors))
    denoiser = Denoiser(config)
    if descriptors:  # a fresh network ends its blocks with zeros, and would not hear
        for parameter in denoiser.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        for parameter in denoiser.condition.parameters():
            torch.nn.init.normal_(parameter)
    numbers = SamplerNumbers(steps=4, refine_passes=1)
    calibration = Calibration(
        autocovariance=torch.tensor([[1.0, 0.5, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0]]).repeat(channels, 1),
        shift=torch.zeros(4, channels),
        log_gain=torch.zeros(4, channels, bin_count(16)),
        numbers=numbers,
        points=torch.randn(8, channels),
    )
    lines = LineDenoiser(LineConfig(channels=channels, width=16, blocks=2))
    composition = Composition(
        offset=torch.full((len(phases),), share),
        slope=0.1 * torch.cat([torch.eye(channels), -torch.ones(1, channels)]),
        covariance=torch.eye(channels),
    )
    card = Card(
        name=folder.name,
        material="noise of untrained networks",
        phases=tuple(Phase(name=name, label=label, fraction=share) for label, name in enumerate(phases)),
        voxel_size_um=2.0,
        crop=64,
        autoencoder=autoencoder.config,
        denoiser=denoiser.config,
        schedule={"timesteps": 1000, "beta_start": 1e-4, "beta_end": 2e-2},
        calibration={"numbers": dataclasses.asdict(numbers)},
        data=(),
        source="none",
        licence="Apache-2.0",
        training={},
        # Of pixels drawn independently: the square of the fraction at every distance but 0.
        metrics={KEY: {f"s2[{name}]": {"mean": [share] + [share**2] * 31} for name in phases}},
        weights_sha256="",
        descriptors=tuple(descriptors),
    )
    return save_bundle(folder, card, autoencoder, denoiser, calibration, composition, lines=lines)
