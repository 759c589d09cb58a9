"""Training configurations by name."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from engine.errors import InputError
from engine.models.losses import Prediction

if TYPE_CHECKING:
    from engine.micrographs.micrograph import Micrographs

Factor = Literal[1, 2, 4]
Precision = Literal["bf16", "fp16", "fp32"]
ScheduleKind = Literal["linear", "cosine"]
Rate = Literal["decaying", "constant"]
DescriptorGroup = Literal["fraction", "mean_chord"]
CHOICES = {
    "factor": Factor,
    "precision": Precision,
    "schedule": ScheduleKind,
    "rate": Rate,
    "prediction": Prediction,
}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that decides how a bundle is trained, apart from the data."""

    seed: int = 0
    crop: int = 64
    """Pixels on a side of a training crop."""
    factor: Factor = 4
    """Pixels per latent pixel along a side; 1 is pixel space: the phases themselves are denoised."""
    batch: int = 32
    accumulate: int = 1
    """Parts that a batch is worked off in, for want of memory; the gradient is that of the whole batch."""
    precision: Precision = "bf16"
    """Of the networks' arithmetic, where the device has it; weights are float32."""
    autoencoder_steps: int = 2_000
    autoencoder_rate: float = 2e-3
    """Peak learning rate of AdamW (warm-up and cosine decay)."""
    latent_noise: float = 0.1
    """Standard deviation of the noise that latents (of unit variance) are decoded with in training: about what planes
    across different axes disagree about where they cross. A decoder that never saw it makes rough surfaces and closed
    throats of it."""
    denoiser_steps: int = 3_000
    denoiser_rate: float = 5e-4
    rate: Rate = "decaying"
    """Learning rate of the denoiser: warm-up and cosine decay, or the same throughout."""
    denoiser_width: int = 64
    denoiser_patch: int = 1
    """Latent pixels on a side that the denoiser takes together as channels: 2 makes pixel space affordable."""
    denoiser_multipliers: tuple[int, ...] = (1, 2, 3)
    denoiser_blocks: int = 1
    attention: tuple[int, ...] | None = None
    """Levels with attention, 0 the finest; None: all below the finest."""
    heads: int = 4
    attends: bool = False
    """Conditions are read by cross-attention too."""
    dropout: float = 0.0
    prediction: Prediction = "v"
    learned_variance: bool = False
    """L_hybrid = L_simple + .001 L_vlb (Nichol & Dhariwal 2021): the network chooses the variance of its steps."""
    condition_dropout: float = 0.1
    """Share of the crops of which nothing is told, so that the network knows the material as a whole too."""
    descriptors: tuple[str, ...] = ()
    """Told of each crop beside plane and class: `fraction`, `mean_chord`. Such a bundle can be asked for them."""
    descriptor_dropout: float = 0.5
    """Share of the crops of which no descriptor is told, whatever is told of plane and class: volumes are mostly
    sampled without."""
    line_steps: int = 1_000
    """Of the network of lines, which volumes are fused with; 0 does without. Pixel space has none: its lines are as
    many as a volume has pixels."""
    line_rate: float = 2e-3
    """Peak learning rate."""
    ema_decay: float = 0.9995
    schedule: ScheduleKind = "linear"
    train_timesteps: int = 1_000
    beta_start: float = 1e-4
    beta_end: float = 2e-2
    """Both of the linear schedule."""
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
        if self.line_steps < 0:
            raise InputError(f"line_steps: must be at least 0, not {self.line_steps}")
        if self.batch < 1:
            raise InputError(f"batch: must be at least 1, not {self.batch}")
        if self.accumulate < 1 or self.batch % self.accumulate:
            raise InputError(
                f"accumulate: must divide the batch of {self.batch} into equal parts, not {self.accumulate}"
            )
        if self.latent_noise < 0:
            raise InputError(f"latent_noise: must be at least 0, not {self.latent_noise}")
        for name in ("dropout", "condition_dropout", "descriptor_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}: must lie within [0, 1), not {getattr(self, name)}")
        for name in self.descriptors:
            if name not in get_args(DescriptorGroup) or self.descriptors.count(name) > 1:
                raise InputError(
                    f"descriptors: must be some of {', '.join(get_args(DescriptorGroup))}, each once, not "
                    f"'{','.join(self.descriptors)}'"
                )
        for name, kind in CHOICES.items():
            value = getattr(self, name)
            if value not in get_args(kind):
                raise InputError(f"{name}: must be one of {', '.join(map(str, get_args(kind)))}, not {value}")
        if self.denoiser_patch not in (1, 2, 4):
            raise InputError(f"denoiser_patch: must be 1, 2 or 4, not {self.denoiser_patch}")
        step = self.factor * self.denoiser_patch * 2 ** (len(self.denoiser_multipliers) - 1)
        if self.crop % step:
            raise InputError(
                f"crop: must be a multiple of {step} (factor {self.factor}, patch {self.denoiser_patch}, "
                f"{len(self.denoiser_multipliers)} levels), not {self.crop}"
            )

    def has_lines(self, micrographs: "Micrographs") -> bool:
        """Whether a bundle of these images has a network of lines."""
        return self.factor > 1 and self.line_steps > 0 and micrographs.grey is None and not micrographs.classes

    @property
    def schedule_numbers(self) -> dict[str, float | str]:
        """The schedule as a card holds it."""
        if self.schedule == "cosine":
            return {"kind": "cosine", "timesteps": self.train_timesteps}
        return {"timesteps": self.train_timesteps, "beta_start": self.beta_start, "beta_end": self.beta_end}


_PUBLISHED = TrainingConfig(
    factor=1,
    denoiser_rate=1e-4,
    rate="constant",
    denoiser_width=128,
    denoiser_blocks=3,
    prediction="epsilon",
    ema_decay=0.9999,
    device="cuda",
)
"""What the three papers have in common: pixel space, 128 channels, three blocks, Adam at 1e-4."""

_FOUR_THOUSAND = replace(_PUBLISHED, learned_variance=True, train_timesteps=4_000, beta_start=2.5e-5, beta_end=5e-3)
"""Betas of 4,000 steps are a quarter of those of 1,000, as in improved DDPM: the noise at the end is alike."""

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
    # Lee et al., 2D to 3D of anisotropic materials: table 1. One U-Net told its plane. The EMA is ours.
    "paper-001": replace(
        _PUBLISHED,
        denoiser_steps=60_000,
        denoiser_multipliers=(1, 2, 4, 8),
        heads=8,
        attends=True,
        beta_end=1e-2,
    ),
    # Dureth et al., conditional diffusion: section 2.3 and table 2. 256 x 256, classes, learned variance. The levels
    # are those of improved DDPM for this size (Nichol & Dhariwal 2021).
    "paper-002": replace(
        _FOUR_THOUSAND,
        crop=256,
        batch=8,
        denoiser_steps=300_000,
        denoiser_multipliers=(1, 1, 2, 2, 4, 4),
        attention=(4, 5),
    ),
    # Lee & Yun, DDPM and DDIM: section 2.3. 64 x 64 with five resolutions down to 4 x 4, attention with one head at
    # 16 x 16; the multipliers are not printed.
    "paper-003": replace(
        _FOUR_THOUSAND,
        denoiser_steps=100_000,
        denoiser_multipliers=(1, 1, 2, 3, 4),
        attention=(2,),
        heads=1,
        dropout=0.1,
    ),
}
