"""Training of a bundle's networks: the autoencoder, then the denoiser of planes of its latents, then that of lines.

Shapes: `B` batch, `K` phases, `C` latent channels, `N` crop pixels, `n` = N/4 latent pixels.

Every batch is a function of (seed, stage, step), and a checkpoint is written at least every 45 s, so a run that is
stopped or killed goes on as if nothing had happened. Started by `torchrun`, each process works on its share of every
batch (`engine.models.team`).
"""

import copy
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import InputError
from engine.micrographs.crops import CropSampler, grey_field, one_hot
from engine.micrographs.micrograph import Micrographs
from engine.models.autoencoder import Autoencoder, AutoencoderConfig, d4, decorrelation
from engine.models.bundle import Bundle
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
from engine.models.crop_descriptors import (
    DescriptorScale,
    describe_crops,
    descriptor_names,
    fit_scales,
    forget_some,
    normalised,
)
from engine.models.denoiser import Denoiser, DenoiserConfig
from engine.models.lines import LineConfig, LineDenoiser
from engine.models.losses import clean_of, target_of, variational_bound
from engine.models.presets import Precision, Rate, TrainingConfig
from engine.models.team import Team, team
from engine.sampling.schedules import schedule_of

Stage = Literal["autoencoder", "denoiser", "lines", "calibration"]
CHECKPOINT_SECONDS = 45.0  # the promise to a user is that at most 60 s of work are lost
VARIATIONAL_WEIGHT = 1e-3
"""Of L_vlb beside L_simple (Nichol & Dhariwal 2021, eq. 16)."""


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
    descriptors: tuple[DescriptorScale, ...] = ()
    """What the denoiser was told beside plane and class."""
    lines: LineDenoiser | None = None
    """None in pixel space, of images and of several classes, whose volumes are fused without."""
    leads: bool = True
    """Whether this process goes on to the calibration; of several, one does."""


def autocast(device: str, precision: Precision = "bf16") -> torch.autocast | nullcontext[None]:
    """Half-precision arithmetic where the device has it in hardware; otherwise nothing. On a CPU that is bfloat16."""
    if precision == "fp32":
        return nullcontext()
    if device.startswith("cuda"):
        return torch.autocast("cuda", torch.float16 if precision == "fp16" else torch.bfloat16)
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.autocast("cpu", torch.bfloat16) if has_bf16 else nullcontext()


def train_networks(
    micrographs: Micrographs,
    workspace: Path,
    config: TrainingConfig,
    on_progress: Report | None = None,
    *,
    start: Bundle | None = None,
) -> TrainedNetworks:
    """Train the networks, going on from the checkpoints in `workspace` where there are any.

    Args:
        micrographs: training data.
        workspace: folder of the checkpoints; made if it does not exist.
        config: how to train. The same data and configuration must be given to go on.
        on_progress: called after each step.
        start: a bundle whose networks' weights are the first ones, where name and shape agree; the rest starts anew.

    Raises:
        InputError: the workspace belongs to another run, or `start` has little in common with the networks.
    """
    with team(config.device) as members:
        if config.batch % (members.size * config.accumulate):
            raise InputError(
                f"batch: {config.batch} crops cannot be shared equally by {members.size} processes in "
                f"{config.accumulate} parts each; choose a multiple of {members.size * config.accumulate}"
            )
        if members.leads:
            workspace.mkdir(parents=True, exist_ok=True)
            _claim(workspace, micrographs, config, start)
        members.wait()
        run = _Run(
            crops=CropSampler(micrographs, config.crop),
            phases=len(micrographs.phases),
            scales=_fit_descriptors(micrographs, config),
            grey=micrographs.grey is not None,
            start=start,
            workspace=workspace,
            config=replace(config, device=members.device),
            team=members,
            on_progress=on_progress if members.leads else None,
        )
        autoencoder, metrics = _train_autoencoder(run)
        denoiser, loss = _train_denoiser(run, autoencoder)
        metrics |= {"denoiser_loss": loss}
        lines = None
        if config.has_lines(micrographs):
            lines, metrics["lines_loss"] = _train_lines(run, autoencoder)
        members.wait()
    return TrainedNetworks(
        autoencoder=autoencoder,
        denoiser=denoiser,
        lines=lines,
        metrics=metrics,
        descriptors=run.scales,
        leads=members.leads,
    )


def train_lines(
    bundle: Bundle, micrographs: Micrographs, workspace: Path, config: TrainingConfig, on_progress: Report | None = None
) -> tuple[LineDenoiser, float]:
    """The network of lines of a bundle that has none, and its loss; goes on from the checkpoint in `workspace`."""
    with team(config.device) as members:
        run = _Run(
            crops=CropSampler(micrographs, config.crop),
            phases=len(micrographs.phases),
            workspace=workspace,
            config=replace(config, device=members.device),
            team=members,
            on_progress=on_progress if members.leads else None,
        )
        return _train_lines(run, bundle.autoencoder)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What every stage needs."""

    crops: CropSampler
    phases: int
    workspace: Path
    config: TrainingConfig
    team: Team
    on_progress: Report | None
    scales: tuple[DescriptorScale, ...] = ()
    grey: bool = False
    start: Bundle | None = None

    @property
    def parts(self) -> int:
        """Of a batch, over all processes."""
        return self.team.size * self.config.accumulate

    def field(self, drawn: Tensor) -> Tensor:
        """Crops [B, N, N] as the networks see them: one-hot phases [B, K, N, N] or grey values [B, 1, N, N]."""
        return grey_field(drawn) if self.grey else one_hot(drawn, self.phases)


@torch.no_grad()
def take_over(model: nn.Module, finished: nn.Module, whose: str) -> None:
    """Copy every parameter that has a namesake of the same shape. Materials differ in phases, and so in the first and
    last layers; what lies between knows interfaces, grains and pores already (fine-tuning).

    Raises:
        InputError: less than half of the parameters have one.
    """
    there, taken, whole = dict(finished.named_parameters()), 0, 0
    for name, parameter in model.named_parameters():
        whole += parameter.numel()
        if name in there and there[name].shape == parameter.shape:
            parameter.copy_(there[name])
            taken += parameter.numel()
    if 2 * taken < whole:
        raise InputError(
            f"{whose} has little in common with the one to be trained ({taken / whole:.0%} of the parameters); "
            "give the settings that it was trained with (factor, denoiser_width, ...), or start anew"
        )


def _claim(workspace: Path, micrographs: Micrographs, config: TrainingConfig, start: Bundle | None) -> None:
    """Write down whose workspace this is, or make sure that it is ours."""
    facts: dict[str, object] = {"config": asdict(config), "sources": [asdict(source) for source in micrographs.sources]}
    if micrographs.grey is not None:  # of the same files
        facts["grey"] = [micrographs.grey, micrographs.class_labels]
    if start is not None:
        facts["start"] = start.card.hash
    ours = json.dumps(facts, indent=1, default=str)
    record = workspace / "run.json"
    if not record.exists():
        write_atomically(record, ours.encode())
    elif record.read_text() != ours:
        raise InputError(
            f"{workspace}: holds unfinished training on other images or with other settings; "
            "give the same command again or choose another folder"
        )


def _train_autoencoder(run: _Run) -> tuple[Autoencoder, dict[str, float]]:
    """Cross-entropy of noisy latents, with D4 equivariance: decode the transformed latent, expect the transformed image
    (METHOD: channels with a direction are what breaks a latent cube that is read along three axes). Of grey images the
    mean squared error."""
    config = run.config
    torch.manual_seed(config.seed)
    sizes = AutoencoderConfig(
        phases=1 if run.grey else run.phases, factor=config.factor, window=config.factor / 2, grey=run.grey
    )
    model = Autoencoder(sizes)
    if run.start is not None and model.decoder is not None:
        take_over(model, run.start.autoencoder, f"the decoder of {run.start.card.name}")
    model = model.to(config.device)
    finished = run.workspace / "autoencoder.safetensors"
    if finished.exists():
        tensors, notes = load_tensors(finished)
        model.load_state_dict(tensors)
        return model.eval(), {_quality(run): float(notes["accuracy"])}
    numbers, _ = _generators(config, "autoencoder", -1)
    judged = [run.crops.draw(2 * config.batch, numbers).indices.to(config.device) for _ in range(8)]
    with torch.no_grad():
        mean, basis = decorrelation(torch.cat([model.features(run.field(crops)) for crops in judged]))
        model.latent_mean.copy_(mean)
        model.latent_basis.copy_(basis)

    def loss_of(step: int, part: int) -> Tensor:
        numbers, noise = _generators(config, "autoencoder", step)
        target = run.crops.draw(config.batch, numbers).indices.to(config.device)
        element = int(numbers.integers(8))
        latents = model.encode(run.field(target))
        fresh = torch.randn(latents.shape, generator=noise).to(latents)
        noisy = (latents + config.latent_noise * fresh)[part :: run.parts]
        with autocast(config.device, config.precision):
            logits = model.logits(d4(noisy, element)).float()
        wanted = d4(target[part :: run.parts], element)
        return F.mse_loss(logits, grey_field(wanted)) if run.grey else F.cross_entropy(logits, wanted)

    if model.decoder is not None:
        _optimise("autoencoder", run, model, None, loss_of, config.autoencoder_steps, config.autoencoder_rate)
    model.eval()
    accuracy = _accuracy(model, run, judged)
    run.team.wait()
    if run.team.leads:
        save_tensors(finished, model.state_dict(), {"accuracy": f"{accuracy:.6f}"})
    return model, {_quality(run): accuracy}


def _quality(run: _Run) -> str:
    """What `_accuracy` returns, as the card calls it."""
    return "autoencoder_explained_variance" if run.grey else "autoencoder_accuracy"


@torch.no_grad()
def _accuracy(model: Autoencoder, run: _Run, judged: list[Tensor]) -> float:
    """Share of the crops' pixels that come back, of grey images that of their variance."""
    if run.grey:
        fields = torch.cat([run.field(crops) for crops in judged])
        errors = [F.mse_loss(model.decode(model.encode(field)), field) for field in map(run.field, judged)]
        return float(1 - torch.stack(errors).mean() / fields.var())
    hits = [(model.decode(model.encode(one_hot(t, run.phases))).argmax(1) == t).float().mean() for t in judged]
    return float(torch.stack(hits).mean())


def _fit_descriptors(micrographs: Micrographs, config: TrainingConfig) -> tuple[DescriptorScale, ...]:
    """Of the descriptors that the denoiser is told: a function of data and seed, so the same in every process."""
    if not config.descriptors:
        return ()
    if micrographs.grey is not None:
        raise InputError("descriptors: belong to phases, which grey-level images have not; leave the setting out")
    numbers, _ = _generators(config, "denoiser", -1)
    drawn = CropSampler(micrographs, config.crop).draw(config.calibration_crops, numbers)
    found = describe_crops(drawn.indices, config.descriptors, len(micrographs.phases))
    return fit_scales(found, descriptor_names(config.descriptors, micrographs.phases))


def _train_denoiser(run: _Run, autoencoder: Autoencoder) -> tuple[Denoiser, float]:
    """L_simple (Ho et al. 2020, eq. 14) on normalised latents, or L_hybrid where the variance is learned."""
    config = run.config
    torch.manual_seed(config.seed + 1)
    model = Denoiser(
        DenoiserConfig(
            channels=autoencoder.config.latent_channels,
            width=config.denoiser_width,
            patch=config.denoiser_patch,
            multipliers=config.denoiser_multipliers,
            blocks=config.denoiser_blocks,
            attention=config.attention,
            heads=config.heads,
            prediction=config.prediction,
            learned_variance=config.learned_variance,
            planes=run.crops.anisotropic,
            classes=run.crops.classes,
            descriptors=len(run.scales),
            attends=config.attends,
            dropout=config.dropout,
        )
    )
    if run.start is not None:
        take_over(model, run.start.denoiser, f"the denoiser of {run.start.card.name}")
    model = model.to(config.device)
    average = copy.deepcopy(model).requires_grad_(False)
    levels = schedule_of(config.schedule_numbers).abar
    abar_of_time = torch.from_numpy(levels).float().to(config.device)
    abar_before = torch.from_numpy(np.concatenate([[1.0], levels[:-1]])).float().to(config.device)

    def loss_of(step: int, part: int) -> Tensor:
        numbers, noise = _generators(config, "denoiser", step)
        mine = slice(part, None, run.parts)
        drawn = run.crops.draw(config.batch, numbers)
        with torch.no_grad():
            clean = autoencoder.encode(run.field(drawn.indices[mine].to(config.device)))
        # One time in each of B equal strata: the same expectation as independent draws, less variance.
        strata = (np.arange(config.batch) + numbers.random(config.batch)) / config.batch
        time_index = torch.from_numpy((strata * config.train_timesteps).astype(np.int64))[mine].to(config.device)
        abar = abar_of_time[time_index][:, None, None, None]
        epsilon = torch.randn((config.batch, *clean.shape[1:]), generator=noise)[mine].to(clean)
        noisy = abar.sqrt() * clean + (1 - abar).sqrt() * epsilon
        condition = NOTHING
        if run.crops.anisotropic or run.crops.classes:
            dropped = torch.from_numpy(numbers.random(config.batch) < config.condition_dropout)
            condition = Condition(plane=drawn.planes[mine], label=drawn.labels[mine]).without(dropped[mine])
        if run.scales:
            told = normalised(describe_crops(drawn.indices, config.descriptors, run.phases), run.scales)
            known = forget_some(told, config.descriptor_dropout, numbers)[mine]
            condition = replace(condition, descriptors=known.to(config.device))
        if config.dropout:  # its masks come from the global generator: they too shall be a function of the step
            torch.manual_seed(int(numbers.integers(2**63)) + part)
        with autocast(config.device, config.precision):
            predicted = model(noisy, time_index, condition).float()
        answer = predicted[:, : clean.shape[1]]
        loss = F.mse_loss(answer, target_of(config.prediction, clean, epsilon, abar))
        if not config.learned_variance:
            return loss
        estimate = clean_of(config.prediction, noisy, answer, abar)
        share = (predicted[:, clean.shape[1] :] + 1) / 2
        before = abar_before[time_index][:, None, None, None]
        bound = variational_bound(clean, noisy, estimate, share, abar, before).mean()
        return loss + VARIATIONAL_WEIGHT * config.train_timesteps * bound

    loss = _optimise("denoiser", run, model, average, loss_of, config.denoiser_steps, config.denoiser_rate)
    return average.eval(), loss


def _train_lines(run: _Run, autoencoder: Autoencoder) -> tuple[LineDenoiser, float]:
    """L_simple of all rows and columns of some crops' latents, each turned around or not: half a batch of crops at
    factor 4, and as many latent pixels at others."""
    config = run.config
    torch.manual_seed(config.seed + 2)
    channels = autoencoder.config.latent_channels
    model = LineDenoiser(LineConfig(channels=channels, axes=run.crops.anisotropic)).to(config.device)
    average = copy.deepcopy(model).requires_grad_(False)
    crops = max(1, config.batch * config.factor**2 // 32)
    abar_of_time = torch.from_numpy(schedule_of(config.schedule_numbers).abar).float().to(config.device)

    def loss_of(step: int, part: int) -> Tensor:
        numbers, noise = _generators(config, "lines", step)
        drawn = run.crops.draw(crops, numbers)
        with torch.no_grad():
            latents = autoencoder.encode(run.field(drawn.indices.to(config.device)))  # [M, C, h, w]
        # Rows run along the last axis of their plane, columns along the first.
        lines = torch.cat([latents.transpose(1, 2).flatten(0, 1), latents.permute(0, 3, 1, 2).flatten(0, 1)])
        axes = None
        if run.crops.anisotropic:
            along = torch.tensor([[2, 1], [2, 0], [1, 0]])[drawn.planes]  # of rows and columns in each kind of plane
            axes = along.T.repeat_interleave(latents.shape[-1], dim=1).flatten()
        turned = torch.from_numpy(numbers.random(len(lines)) < 0.5).to(config.device)
        lines = torch.where(turned[:, None, None], lines.flip(2), lines)
        strata = (numbers.permutation(len(lines)) + numbers.random(len(lines))) / len(lines)
        time_index = torch.from_numpy((strata * config.train_timesteps).astype(np.int64)).to(config.device)
        abar = abar_of_time[time_index][:, None, None]
        epsilon = torch.randn(lines.shape, generator=noise).to(lines)
        noisy, wanted = abar.sqrt() * lines + (1 - abar).sqrt() * epsilon, target_of("v", lines, epsilon, abar)
        mine = slice(part, None, run.parts)
        with autocast(config.device, config.precision):
            answer = model(noisy[mine], time_index[mine], None if axes is None else axes[mine]).float()
        return F.mse_loss(answer, wanted[mine])

    loss = _optimise("lines", run, model, average, loss_of, config.line_steps, config.line_rate)
    return average.eval(), loss


def _optimise(
    stage: Stage,
    run: _Run,
    model: nn.Module,
    average: nn.Module | None,
    loss_of: Callable[[int, int], Tensor],
    steps: int,
    peak_rate: float,
) -> float:
    """AdamW; checkpoints by the clock and when stopped. Returns the last mean loss.

    Args:
        loss_of: of a step and one of the `run.parts` of its batch.
    """
    config, members = run.config, run.team
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_rate, weight_decay=1e-4)
    scaler = torch.amp.GradScaler("cuda", enabled=config.precision == "fp16" and config.device.startswith("cuda"))
    checkpoint = run.workspace / f"{stage}-state.safetensors"
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
                group["lr"] = peak_rate * _rate(step, steps, config.rate if stage == "denoiser" else "decaying")
            optimizer.zero_grad(set_to_none=True)
            value = 0.0
            for turn in range(config.accumulate):
                loss = loss_of(step, members.rank * config.accumulate + turn) / config.accumulate
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                value += float(loss.detach())
            members.average_gradients(model)
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            if average is not None:
                _update_average(average, model, min(config.ema_decay, (1 + step) / (10 + step)))
            done = step + 1
            smooth = value if math.isnan(smooth) else 0.98 * smooth + 0.02 * value
            now, stopped = time.monotonic(), members.agree(stop_wanted())
            if members.leads and (now - saved > CHECKPOINT_SECONDS or done == steps or stopped):
                save(done)
                saved = now
            if stopped:
                raise KeyboardInterrupt
            if run.on_progress is not None:
                elapsed = now - started
                eta = elapsed / (done - first) * (steps - done)
                run.on_progress(
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


def _rate(step: int, steps: int, kind: Rate) -> float:
    """Learning rate relative to its peak: 5 % linear warm-up, then half a cosine; or the peak throughout."""
    if kind == "constant":
        return 1.0
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


def _generators(config: TrainingConfig, stage: Stage, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """The randomness of one step: for the crops (NumPy) and for the noise (torch, on the CPU for every device)."""
    stages = ("autoencoder", "denoiser", "calibration", "lines")
    words = np.random.SeedSequence([config.seed, stages.index(stage), step + 1])
    noise = torch.Generator().manual_seed(int(words.generate_state(1, np.uint64)[0] >> 1))
    return np.random.default_rng(words), noise
