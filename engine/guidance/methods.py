"""The ways to bring targets about, by name, each on the volumes of one batch.

- `volume`: Gauss-Newton steps on the phases of the volume, planes redrawn in between (`engine.guidance.volume`).
- `volume-sds`: score distillation on the latent volume, normalised gradients (`engine.guidance.latent`).
- `sds-slices`: as MicroLad publishes it, slice by slice (`engine.guidance.slices`).

Shapes: `B` volumes, `C` latent channels, `K` phases, `d h w` latent space, `D H W` voxels.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from engine.guidance.latent import Finish, guide_latents
from engine.guidance.slices import guide_slices
from engine.guidance.volume import Guided, guide
from engine.models.bundle import Bundle
from engine.models.inference import Inference
from engine.sampling.multiplane import Noise, spectral
from engine.sampling.refine import redraw_planes
from engine.sampling.spectra import SpectralFilter

if TYPE_CHECKING:
    from engine.request import Request

GUIDANCE_TIMES = (160.0, 60.0)  # trained times of the prior's redraws, first and last


def guide_batch(
    requests: "Sequence[Request]",
    bundle: Bundle,
    inference: Inference,
    latents: Tensor,
    probabilities: Tensor,
    noise: Noise,
    finish: Finish,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Guided]:
    """Guide volumes by the method that their settings name.

    Args:
        requests: B of one shape, border and set of settings, each with targets.
        latents: [B, C, d, h, w] sampled volumes.
        probabilities: [B, K, D, H, W] of them, decoded and refined.
        noise: their streams.
        finish: refinement of a decoded volume.
    """
    if requests[0].settings.guidance == "volume-sds":
        return _on_latents(requests, bundle, inference, latents, noise, finish, on_step)
    if requests[0].settings.guidance == "sds-slices":
        return _by_slices(requests, bundle, inference, probabilities, noise, on_step)
    return _on_volume(requests, bundle, inference, probabilities, noise, on_step)


def _on_volume(
    requests: "Sequence[Request]",
    bundle: Bundle,
    inference: Inference,
    probabilities: Tensor,
    noise: Noise,
    on_step: Callable[[int, int], None] | None,
) -> list[Guided]:
    iterations, periodic = requests[0].settings.guidance_iterations, requests[0].periodic
    border, at_once = inference.border(periodic), inference.planes_at_once(requests[0].shape)
    step = iter(np.linspace(*GUIDANCE_TIMES, iterations) * bundle.schedule.timesteps / 1_000)

    def redraw(current: Tensor, axis: int, which: Sequence[int]) -> Tensor:
        abar = bundle.schedule.abar_at(float(next(step)))
        fresh = noise.select(which)
        return redraw_planes(current, axis, inference, inference.denoise, abar, fresh, border=border, at_once=at_once)

    return guide(
        probabilities,
        [request.targets for request in requests],
        bundle.card.phase_names,
        redraw,
        iterations,
        on_step,
        materials=[request.materials for request in requests],
        training=bundle.card.training_means,
        periodic=periodic,
        properties=[request.properties for request in requests],
    )


def _on_latents(
    requests: "Sequence[Request]",
    bundle: Bundle,
    inference: Inference,
    latents: Tensor,
    noise: Noise,
    finish: Finish,
    on_step: Callable[[int, int], None] | None,
) -> list[Guided]:
    d, h, w = latents.shape[2:]
    autocovariance = bundle.calibration.autocovariance
    return guide_latents(
        latents,
        [request.targets for request in requests],
        bundle.card.phase_names,
        inference,
        spectral(inference.denoise, SpectralFilter(autocovariance, (d, h, w))),
        bundle.schedule,
        noise,
        finish,
        requests[0].settings.guidance_iterations,
        correlations=autocovariance[..., 1],
        on_step=on_step,
        materials=[request.materials for request in requests],
        training=bundle.card.training_means,
        properties=[request.properties for request in requests],
    )


def _by_slices(
    requests: "Sequence[Request]",
    bundle: Bundle,
    inference: Inference,
    probabilities: Tensor,
    noise: Noise,
    on_step: Callable[[int, int], None] | None,
) -> list[Guided]:
    """One volume after the other: each draws slices and noise levels of its own."""
    single, numbers = inference.of_single_planes(), requests[0].settings.of_slices
    steps = numbers.steps * len(requests)
    out = []
    for i, (request, volume) in enumerate(zip(requests, probabilities, strict=True)):

        def report(done: int, _: int, before: int = i * numbers.steps) -> None:
            if on_step is not None:
                on_step(before + done, steps)

        out.append(
            guide_slices(
                volume,
                request.targets,
                bundle.card.phase_names,
                single,
                single.denoise,
                bundle.schedule,
                noise.select([i]),
                numbers,
                bundle.card.training_means,
                report,
                inference,
            )
        )
    return out
