"""Design of microstructures: the one place that composes sampling, guidance, descriptors and properties.

    bundle = load_bundle("berea")
    result = design(Request(structure_id="a", bundle="berea", shape=(64, 64, 64), seed=1,
                            targets=(parse_target("diffusivity[pore,z]=0.05±5%"),)), bundle)
    result.generated.labels            # uint8 (z, y, x)
    result.measurement.values          # {Metric: Measured}

Generation (`generate`) and measurement (`engine.measure`) can run in different processes; `design` is one after the
other. In a notebook `engine.design("berea", [...])` does the same from names and numbers (`engine.notebook`).

Shapes: `B` structures, `C` latent channels, `K` phases, `d h w` latent space, `D H W` voxels (z, y, x).
"""

import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import InputError
from engine.guidance.methods import guide_batch
from engine.guidance.slices import check_slice_targets
from engine.guidance.targets import Target, check_feasible
from engine.guidance.volume import check_guided, fraction_goals
from engine.measure import Measurement as Measurement  # named here too: `design` is where a user looks for them
from engine.measure import measure as measure
from engine.models.bundle import Bundle, Card
from engine.models.inference import Inference
from engine.outcomes import DesignOutcome
from engine.parallel import one_thread
from engine.request import Request, Settings
from engine.sampling.choices import Harmonizing
from engine.sampling.composition import steer_mean
from engine.sampling.moments import MomentCorrection, StepHook
from engine.sampling.multiplane import Noise, SamplerNumbers, mpdd, sample, spectral
from engine.sampling.refine import decode_volume, refine
from engine.sampling.solvers import make_solver
from engine.sampling.spectra import SpectralFilter

SMALLEST_SIDE = 32  # voxels; below, the latent volume has fewer planes than the network's receptive field
BYTES_PER_VOXEL = 40  # and phase: probabilities of three axes, their sum, logits and gradients, in float32
Report = Callable[[str, int, int], None]
"""Progress: (what is going on, steps done, steps in all)."""


@dataclass(frozen=True, kw_only=True)
class Generated:
    """A generated structure, not yet measured."""

    request: Request
    labels: NDArray[np.uint8]
    """(z, y, x), labels as in the training images."""
    outcome: DesignOutcome
    """As guidance saw it; the measurement has the last word."""
    trace: tuple[dict[str, float], ...]
    """Every target's value at each guidance step; empty without targets."""
    wall_time_s: float
    """This structure's share of its batch."""


@dataclass(frozen=True, kw_only=True)
class DesignResult:
    """A structure with its measured row."""

    generated: Generated
    measurement: Measurement
    outcome: DesignOutcome
    """Against the targets, on the certified values."""


def design(request: Request, bundle: Bundle) -> DesignResult:
    """Generate one structure, measure it and judge it against its targets."""
    (generated,) = generate([request], bundle)
    measurement = measure(
        generated.labels,
        bundle.card.phases,
        materials=request.materials,
        also=request.metrics,
        training=bundle.card.training_s2,
    )
    outcome = judge(request.targets, measurement)
    return DesignResult(generated=generated, measurement=measurement, outcome=outcome)


def check_request(request: Request, card: Card) -> None:
    """Refuse what cannot be generated, before anything is computed.

    Raises:
        InputError: a shape that does not fit the autoencoder, or a target no structure can have.
    """
    if card.classes:
        raise InputError(
            f"bundle {card.name}: makes images of {len(card.classes)} classes, not volumes; mesoforge sample draws them"
        )
    step, phases = card.side_step, card.phase_names
    if any(side % step or side < SMALLEST_SIDE for side in request.shape):
        raise InputError(
            f"shape {'x'.join(map(str, request.shape))}: every side must be a multiple of {step}, "
            f"at least {SMALLEST_SIDE}"
        )
    from engine.micrographs.files import available_memory_bytes

    needed, here = BYTES_PER_VOXEL * len(phases) * math.prod(request.shape), available_memory_bytes()
    if needed > here:
        raise InputError(
            f"shape {'x'.join(map(str, request.shape))}: needs about {needed / 1e9:.0f} GB of memory, "
            f"{here / 1e9:.0f} GB are free; ask for a smaller volume"
        )
    check_feasible(request.targets, phases)
    check_guided(request.targets, phases, request.materials, card.training_s2)
    if request.settings.guidance == "sds-slices":
        check_slice_targets(request.targets)


def generate(
    requests: Sequence[Request],
    bundle: Bundle,
    progress: Report | None = None,
    *,
    inference: Inference | None = None,
) -> list[Generated]:
    """Generate structures, as one batch where shape and settings agree.

    A structure's voxels depend on its request alone, not on the batch. Who calls this often with one bundle keeps its
    `inference`.

    Raises:
        InputError: a request that cannot be met (`check_request`).
    """
    for request in requests:
        check_request(request, bundle.card)
    inference = inference or Inference(bundle)
    groups: dict[tuple[tuple[int, int, int], Settings], list[int]] = {}
    for i, request in enumerate(requests):
        groups.setdefault((request.shape, request.settings), []).append(i)
    made: dict[int, Generated] = {}
    with one_thread():
        for members in groups.values():
            batch = _generate_batch([requests[i] for i in members], bundle, inference, progress)
            made.update(zip(members, batch, strict=True))
    return [made[i] for i in range(len(requests))]


@torch.no_grad()
def _generate_batch(
    requests: Sequence[Request], bundle: Bundle, inference: Inference, progress: Report | None
) -> list[Generated]:
    """Requests of one shape and one set of settings."""
    started = time.perf_counter()
    names, settings = bundle.card.phase_names, requests[0].settings
    numbers = sampler_numbers(settings, bundle)
    noise = Noise([request.seed for request in requests], bundle.device)
    goals = [fraction_goals(request.targets, names) for request in requests]
    latents = sample_latents(
        bundle,
        inference,
        requests[0].shape,
        numbers,
        noise,
        settings.sampler,
        settings.harmonizing,
        goals,
        _reporter(progress, "sampling"),
    )
    probabilities = decode_latents(bundle, inference, latents, numbers, noise)
    sampled = time.perf_counter()

    guided = [i for i, request in enumerate(requests) if request.targets]
    outcomes = [DesignOutcome.UNGUIDED] * len(requests)
    traces: list[tuple[dict[str, float], ...]] = [()] * len(requests)
    indices = [p.argmax(dim=0) for p in probabilities]
    if guided:
        results = guide_batch(
            [requests[i] for i in guided],
            bundle,
            inference,
            probabilities[guided],
            noise.select(guided),
            _reporter(progress, "guidance"),
        )
        for i, result in zip(guided, results, strict=True):
            indices[i] = result.probabilities.argmax(dim=0)
            outcomes[i], traces[i] = result.outcome, result.trace
    shares = [(sampled - started) / len(requests)] * len(requests)
    for i in guided:
        shares[i] += (time.perf_counter() - sampled) / len(guided)
    labels = np.array([phase.label for phase in bundle.card.phases], dtype=np.uint8)
    return [
        Generated(
            request=request,
            labels=labels[indices[i].cpu().numpy()],
            outcome=outcomes[i],
            trace=traces[i],
            wall_time_s=shares[i],
        )
        for i, request in enumerate(requests)
    ]


def sample_latents(
    bundle: Bundle,
    inference: Inference,
    shape: tuple[int, int, int],
    numbers: SamplerNumbers,
    noise: Noise,
    sampler: str = "spectral",
    harmonizing: Harmonizing | None = None,
    fractions: Sequence[Mapping[int, float]] = (),
    on_step: Callable[[int, int], None] | None = None,
    after_step: StepHook | None = None,
) -> Tensor:
    """Latent volumes [B, C, d, h, w] of one shape (in voxels), one per stream of `noise`.

    Args:
        harmonizing: repeats of each step; none but for the sampler `harmonized`.
        fractions: goals by phase index for each volume; empty for none.
        after_step: instead of the calibrated moment correction (the calibration itself measures there).
    """
    latent = (shape[0] // bundle.factor, shape[1] // bundle.factor, shape[2] // bundle.factor)
    calibration = bundle.calibration
    correction: StepHook | None = None
    published = sampler != "spectral"  # only the decoder is ours
    if published:
        fused = mpdd(inference.denoise)
    else:
        spectral_filter = SpectralFilter(calibration.autocovariance, latent)
        fused = spectral(inference.denoise, spectral_filter)
        correction = MomentCorrection(calibration.shift, calibration.log_gain, latent, numbers.steps)
    if any(fractions):
        fused = steer_mean(fused, bundle.composition, fractions)
    channels = bundle.autoencoder.config.latent_channels
    levels = bundle.schedule.trajectory(numbers.steps)
    return sample(
        fused,
        (channels, *latent),
        levels,
        make_solver(numbers.solver, numbers.eta),
        noise,
        harmonizing=harmonizing,
        after_step=after_step or correction,
        roll=not published,
        on_step=on_step,
    )


def decode_latents(
    bundle: Bundle, inference: Inference, latents: Tensor, numbers: SamplerNumbers, noise: Noise
) -> Tensor:
    """Latent volumes [B, C, d, h, w] -> phase probabilities [B, K, D, H, W].

    Interpolated decode, then refinement.
    """
    probabilities = decode_volume(latents, inference, bundle.calibration.autocovariance[..., 1])
    return refine(probabilities, inference, inference.denoise, refine_levels(bundle, numbers), noise)


def sampler_numbers(settings: Settings, bundle: Bundle) -> SamplerNumbers:
    """The bundle's calibrated numbers, with what the settings ask for otherwise. `mpdd` and `harmonized` are published
    with ancestral steps at every trained time; 250 of them are what `mpdd` needs here (docs/benchmarks.md), 50 with
    harmonizing are as many network calls."""
    numbers = bundle.calibration.numbers
    if settings.sampler != "spectral":
        steps = 250 if settings.sampler == "mpdd" else 50
        numbers = replace(numbers, steps=steps, solver="ddim", eta=1.0, refine_passes=0)
    return replace(
        numbers,
        solver=settings.solver or numbers.solver,
        steps=numbers.steps if settings.steps is None else settings.steps,
        eta=numbers.eta if settings.eta is None else settings.eta,
        refine_passes=numbers.refine_passes if settings.refine_passes is None else settings.refine_passes,
    )


def refine_levels(bundle: Bundle, numbers: SamplerNumbers) -> list[float]:
    """Alpha-bar of each refinement pass: from `refine_time` towards 0."""
    times = np.linspace(numbers.refine_time, 0, numbers.refine_passes + 1)[:-1] * bundle.schedule.timesteps / 1_000
    return [bundle.schedule.abar_at(float(t)) for t in times]


def judge(targets: Iterable[Target], measurement: Measurement) -> DesignOutcome:
    """Whether the measured values hold every target."""
    wanted = list(targets)
    if not wanted:
        return DesignOutcome.UNGUIDED
    held = all(t.metric in measurement.values and t.holds(measurement.values[t.metric].value) for t in wanted)
    return DesignOutcome.ATTAINED if held else DesignOutcome.MISSED


def _reporter(progress: Report | None, what: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(what, done, total)


class _Callable(ModuleType):
    """This module, which `engine.design` names: called, it is the notebook's function."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Generate structures that have targets: `engine.notebook.design` with the same arguments."""
        from engine.notebook import design

        return design(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
