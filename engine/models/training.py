"""Training of a bundle's networks: the autoencoder, then the denoiser on its latents.

Shapes: `B` batch, `K` phases, `C` latent channels, `N` crop pixels, `n` = N/4 latent pixels.

Every batch is a function of (seed, stage, step), and a checkpoint is written at least every 45 s, so a run that is
stopped or killed goes on as if nothing had happened.
"""

import copy
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import InputError
from engine.micrographs.crops import CropSampler, one_hot
from engine.micrographs.micrograph import Micrographs
from engine.models.autoencoder import Autoencoder, AutoencoderConfig, d4
from engine.models.checkpoint import (
    load_tensors,
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    save_tensors,
    with_prefix,
    write_atomically,
)
from engine.models.condition import NOTHING, Condition
from engine.models.denoiser import Denoiser, DenoiserConfig
from engine.models.presets import TrainingConfig
from engine.sampling.schedules import LinearSchedule

Stage = Literal["autoencoder", "denoiser", "calibration"]
CHECKPOINT_SECONDS = 45.0  # the promise to a user is that at most 60 s of work are lost


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """Where a run stands, after each step."""

    stage: Stage
    step: int
    steps: int
    loss: float
    elapsed_s: float
    """Of this stage in this process."""
    eta_s: float
    """Left in this stage."""


Report = Callable[[TrainingProgress], None]


@dataclass(frozen=True, kw_only=True)
class TrainedNetworks:
    """What training leaves: the autoencoder and the averaged (EMA) denoiser, in evaluation mode."""

    autoencoder: Autoencoder
    denoiser: Denoiser
    metrics: dict[str, float]


def autocast(device: str) -> torch.autocast | nullcontext[None]:
    """bfloat16 arithmetic where the processor has it in hardware; otherwise nothing."""
    if device.startswith("cuda"):
        return torch.autocast("cuda", torch.bfloat16)
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.autocast("cpu", torch.bfloat16) if has_bf16 else nullcontext()


def train_networks(
    micrographs: Micrographs, workspace: Path, config: TrainingConfig, on_progress: Report | None = None
) -> TrainedNetworks:
    """Train both networks, going on from the checkpoints in `workspace` where there are any.

    Args:
        micrographs: training data.
        workspace: folder of the checkpoints; made if it does not exist.
        config: how to train. The same data and configuration must be given to go on.
        on_progress: called after each step.

    Raises:
        InputError: the workspace belongs to another run.
    """
    workspace.mkdir(parents=True, exist_ok=True)
    _claim(workspace, micrographs, config)
    crops = CropSampler(micrographs, config.crop)
    autoencoder, metrics = _train_autoencoder(crops, len(micrographs.phases), workspace, config, on_progress)
    denoiser, loss = _train_denoiser(crops, autoencoder, workspace, config, on_progress)
    return TrainedNetworks(autoencoder=autoencoder, denoiser=denoiser, metrics={**metrics, "denoiser_loss": loss})


def _claim(workspace: Path, micrographs: Micrographs, config: TrainingConfig) -> None:
    """Write down whose workspace this is, or make sure that it is ours."""
    ours = json.dumps(
        {"config": asdict(config), "sources": [asdict(source) for source in micrographs.sources]}, indent=1, default=str
    )
    record = workspace / "run.json"
    if not record.exists():
        write_atomically(record, ours.encode())
    elif record.read_text() != ours:
        raise InputError(
            f"{workspace}: holds unfinished training on other images or with other settings; "
            "give the same command again or choose another folder"
        )


def _train_autoencoder(
    crops: CropSampler, phases: int, workspace: Path, config: TrainingConfig, on_progress: Report | None
) -> tuple[Autoencoder, dict[str, float]]:
    """Cross-entropy of noisy latents, with D4 equivariance: decode the transformed latent, expect the transformed image
    (METHOD: channels with a direction are what breaks a latent cube that is read along three axes)."""
    torch.manual_seed(config.seed)
    model = Autoencoder(AutoencoderConfig(phases=phases)).to(config.device)
    finished = workspace / "autoencoder.safetensors"
    if finished.exists():
        tensors, notes = load_tensors(finished)
        model.load_state_dict(tensors)
        return model.eval(), {"autoencoder_accuracy": float(notes["accuracy"])}

    def loss_of(step: int) -> Tensor:
        numbers, noise = _generators(config, "autoencoder", step)
        target = crops.draw(config.batch, numbers)[0].to(config.device)
        element = int(numbers.integers(8))
        features = model.features(one_hot(target, phases))
        std, mean = torch.std_mean(features, dim=(0, 2, 3), keepdim=True)
        fresh = torch.randn(features.shape, generator=noise).to(features)
        noisy = (features - mean) / std + config.latent_noise * fresh
        with autocast(config.device):
            logits = model.logits(d4(noisy, element)).float()
        return F.cross_entropy(logits, d4(target, element))

    _optimise(
        "autoencoder",
        model,
        None,
        loss_of,
        config.autoencoder_steps,
        config.autoencoder_rate,
        workspace,
        config,
        on_progress,
    )
    model.eval()
    accuracy = _fit_latents(model, crops, phases, config)
    save_tensors(finished, model.state_dict(), {"accuracy": f"{accuracy:.6f}"})
    return model, {"autoencoder_accuracy": accuracy}


@torch.no_grad()
def _fit_latents(model: Autoencoder, crops: CropSampler, phases: int, config: TrainingConfig) -> float:
    """Set the latent normalisation from sixteen batches of crops; returns the pixel accuracy on them."""
    numbers, _ = _generators(config, "autoencoder", -1)
    targets = [crops.draw(2 * config.batch, numbers)[0].to(config.device) for _ in range(8)]
    features = torch.cat([model.features(one_hot(target, phases)) for target in targets])
    model.latent_mean.copy_(features.mean(dim=(0, 2, 3)))
    model.latent_std.copy_(features.std(dim=(0, 2, 3)))
    hits = [(model.decode(model.encode(one_hot(t, phases))).argmax(1) == t).float().mean() for t in targets]
    return float(torch.stack(hits).mean())


def _train_denoiser(
    crops: CropSampler, autoencoder: Autoencoder, workspace: Path, config: TrainingConfig, on_progress: Report | None
) -> tuple[Denoiser, float]:
    """L_simple (Ho et al. 2020, eq. 14) on normalised latent means, v-prediction (Salimans & Ho 2022)."""
    torch.manual_seed(config.seed + 1)
    model = Denoiser(
        DenoiserConfig(
            channels=autoencoder.config.latent_channels,
            width=config.denoiser_width,
            multipliers=config.denoiser_multipliers,
            blocks=config.denoiser_blocks,
            planes=crops.anisotropic,
        )
    ).to(config.device)
    average = copy.deepcopy(model).requires_grad_(False)
    schedule = LinearSchedule(config.train_timesteps, config.beta_start, config.beta_end)
    abar_of_time = torch.from_numpy(schedule.abar).float().to(config.device)
    phases = autoencoder.config.phases

    def loss_of(step: int) -> Tensor:
        numbers, noise = _generators(config, "denoiser", step)
        drawn, planes = crops.draw(config.batch, numbers)
        with torch.no_grad():
            clean = autoencoder.encode(one_hot(drawn.to(config.device), phases))
        # One time in each of B equal strata: the same expectation as independent draws, less variance.
        strata = (np.arange(config.batch) + numbers.random(config.batch)) / config.batch
        time_index = torch.from_numpy((strata * config.train_timesteps).astype(np.int64)).to(config.device)
        abar = abar_of_time[time_index][:, None, None, None]
        epsilon = torch.randn(clean.shape, generator=noise).to(clean)
        noisy = abar.sqrt() * clean + (1 - abar).sqrt() * epsilon
        condition = NOTHING
        if crops.anisotropic:
            dropped = torch.from_numpy(numbers.random(config.batch) < config.condition_dropout)
            condition = Condition(plane=planes).without(dropped)
        with autocast(config.device):
            predicted = model(noisy, time_index, condition).float()
        return F.mse_loss(predicted, abar.sqrt() * epsilon - (1 - abar).sqrt() * clean)

    loss = _optimise(
        "denoiser", model, average, loss_of, config.denoiser_steps, config.denoiser_rate, workspace, config, on_progress
    )
    return average.eval(), loss


def _optimise(
    stage: Stage,
    model: nn.Module,
    average: nn.Module | None,
    loss_of: Callable[[int], Tensor],
    steps: int,
    peak_rate: float,
    workspace: Path,
    config: TrainingConfig,
    on_progress: Report | None,
) -> float:
    """AdamW with warm-up and cosine decay; checkpoints by the clock and when stopped. Returns the last mean loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_rate, weight_decay=1e-4)
    checkpoint = workspace / f"{stage}-state.safetensors"
    first, smooth = 0, math.nan
    if checkpoint.exists():
        tensors, notes = load_tensors(checkpoint)
        model.load_state_dict(with_prefix("model", tensors))
        if average is not None:
            average.load_state_dict(with_prefix("average", tensors))
        restore_optimizer(optimizer, with_prefix("optimizer", tensors))
        first, smooth = int(notes["step"]), float(notes["loss"])

    def save(step: int) -> None:
        tensors = prefixed("model", model.state_dict()) | prefixed("optimizer", optimizer_tensors(optimizer))
        if average is not None:
            tensors |= prefixed("average", average.state_dict())
        save_tensors(checkpoint, tensors, {"step": str(step), "loss": repr(smooth)})

    model.train()
    started = saved = time.monotonic()
    with stop_between_steps() as stop_wanted:
        for step in range(first, steps):
            for group in optimizer.param_groups:
                group["lr"] = peak_rate * _rate(step, steps)
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(step)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if average is not None:
                _update_average(average, model, min(config.ema_decay, (1 + step) / (10 + step)))
            done, value = step + 1, float(loss.detach())
            smooth = value if math.isnan(smooth) else 0.98 * smooth + 0.02 * value
            now = time.monotonic()
            if now - saved > CHECKPOINT_SECONDS or done == steps or stop_wanted():
                save(done)
                saved = now
            if stop_wanted():
                raise KeyboardInterrupt
            if on_progress is not None:
                elapsed = now - started
                eta = elapsed / (done - first) * (steps - done)
                on_progress(
                    TrainingProgress(stage=stage, step=done, steps=steps, loss=smooth, elapsed_s=elapsed, eta_s=eta)
                )
    return smooth


@contextmanager
def stop_between_steps() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a question that is asked between steps, so no step is cut in half.

    Outside the main thread signals cannot be caught; there the answer is always no.
    """
    wanted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {
        number: signal.signal(number, lambda n, _: wanted.append(n)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(wanted)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _rate(step: int, steps: int) -> float:
    """Learning rate relative to its peak: 5 % linear warm-up, then half a cosine."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


def _generators(config: TrainingConfig, stage: Stage, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """The randomness of one step: for the crops (NumPy) and for the noise (torch, on the CPU for every device)."""
    words = np.random.SeedSequence([config.seed, ("autoencoder", "denoiser", "calibration").index(stage), step + 1])
    noise = torch.Generator().manual_seed(int(words.generate_state(1, np.uint64)[0] >> 1))
    return np.random.default_rng(words), noise
