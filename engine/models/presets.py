"""Training configurations by name."""

from dataclasses import dataclass

from engine.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that decides how a bundle is trained, apart from the data."""

    seed: int = 0
    crop: int = 64
    """Pixels on a side of a training crop."""
    batch: int = 32
    autoencoder_steps: int = 2_000
    autoencoder_rate: float = 2e-3
    """Peak learning rate of AdamW (one-cycle)."""
    latent_noise: float = 0.1
    """Standard deviation of the noise that latents (of unit variance) are decoded with in training: about what planes
    across different axes disagree about where they cross. A decoder that never saw it makes rough surfaces and closed
    throats of it."""
    denoiser_steps: int = 3_000
    denoiser_rate: float = 5e-4
    denoiser_width: int = 64
    denoiser_multipliers: tuple[int, ...] = (1, 2, 3)
    denoiser_blocks: int = 1
    condition_dropout: float = 0.1
    """Share of the crops whose plane is not told, so that the network knows the material as a whole too."""
    ema_decay: float = 0.9995
    train_timesteps: int = 1_000
    beta_start: float = 1e-4
    beta_end: float = 2e-2
    calibration_crops: int = 2_048
    """Crops that the statistics of the latents are measured on."""
    calibration_volumes: int = 12
    """Volumes that each candidate of the sampler's numbers is judged by; four times as many settle the chosen one."""
    calibrate: bool = True
    """Choose the sampler's settings by generated volumes at the end (a few minutes on 2 CPU cores)."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.autoencoder_steps < 1 or self.denoiser_steps < 1:
            raise InputError("steps: must be at least 1")
        if self.batch < 1:
            raise InputError(f"batch: must be at least 1, not {self.batch}")
        if self.latent_noise < 0:
            raise InputError(f"latent_noise: must be at least 0, not {self.latent_noise}")
        if self.crop % 16:
            raise InputError(f"crop: must be a multiple of 16 (autoencoder factor 4, two halvings), not {self.crop}")


PRESETS: dict[str, TrainingConfig] = {
    # About 25 minutes on 2 CPU cores with AVX512-BF16.
    "cpu": TrainingConfig(autoencoder_steps=1_500, denoiser_steps=4_000),
    # One GPU: a wider and deeper U-Net, larger batches.
    "gpu": TrainingConfig(
        batch=256,
        autoencoder_steps=6_000,
        denoiser_steps=40_000,
        denoiser_width=128,
        denoiser_multipliers=(1, 2, 2),
        denoiser_blocks=2,
        ema_decay=0.9999,
        device="cuda",
    ),
}
