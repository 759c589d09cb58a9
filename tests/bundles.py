"""A bundle with untrained networks, small enough to sample from in a test: noise, but real files."""

import dataclasses
from pathlib import Path

import torch

from engine.models.autoencoder import Autoencoder, AutoencoderConfig
from engine.models.bundle import Card, Phase, save_bundle
from engine.models.denoiser import Denoiser, DenoiserConfig
from engine.sampling.composition import Composition
from engine.sampling.moments import BINS
from engine.sampling.multiplane import Calibration, SamplerNumbers


def write_untrained_bundle(folder: Path) -> Card:
    """Write a two-phase bundle (pore 0, solid 1) that samples 32³ in about a second."""
    torch.manual_seed(0)
    autoencoder = Autoencoder(AutoencoderConfig(phases=2, width=16, fine_width=8))
    denoiser = Denoiser(DenoiserConfig(channels=1, width=16, multipliers=(1, 1)))
    numbers = SamplerNumbers(steps=4, refine_passes=1)
    calibration = Calibration(
        autocovariance=torch.tensor([[1.0, 0.5, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0]]),
        shift=torch.zeros(4, 1),
        log_gain=torch.zeros(4, 1, BINS),
        numbers=numbers,
    )
    composition = Composition(
        offset=torch.tensor([0.5, 0.5]), slope=torch.tensor([[0.1], [-0.1]]), covariance=torch.eye(1)
    )
    card = Card(
        name=folder.name,
        material="noise of untrained networks",
        phases=(Phase(name="pore", label=0, fraction=0.5), Phase(name="solid", label=1, fraction=0.5)),
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
        metrics={},
        weights_sha256="",
    )
    return save_bundle(folder, card, autoencoder, denoiser, calibration, composition)
