"""A material and a training configuration so small that a test can train a bundle in seconds."""

import hashlib

import numpy as np

from engine.micrographs.micrograph import Micrographs, Source
from engine.models.presets import TrainingConfig

CONFIG = TrainingConfig(
    crop=64,
    batch=2,
    autoencoder_steps=4,
    denoiser_steps=4,
    line_steps=4,
    denoiser_width=16,
    denoiser_multipliers=(1, 1, 2),
    calibration_crops=32,
    calibrate=False,
)


def level_cut(n=80, seed=0, width=3.0):
    """Two phases, one third of phase 0: a smoothed random field cut at a level. uint8 [n, n]."""
    k = np.fft.fftfreq(n)
    kernel = np.exp(-0.5 * (2 * np.pi * width) ** 2 * (k[:, None] ** 2 + k[None] ** 2))
    field = np.fft.ifft2(np.fft.fft2(np.random.default_rng(seed).standard_normal((n, n))) * kernel).real
    return (field > np.quantile(field, 1 / 3)).astype(np.uint8)


def micrographs(seed=0):
    image = level_cut(seed=seed)
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    source = Source(name="cut.png", sha256=digest, shape=image.shape, kind="image")
    return Micrographs(arrays=(image,), phases=("pore", "solid"), labels=(3, 7), sources=(source,), voxel_size_um=0.5)
