"""The ways to bring targets about, by name, each on the volumes of one batch.

- `volume`: Gauss-Newton steps on the phases of the volume, planes redrawn in between (`engine.guidance.volume`).
- `volume-sds`: score distillation on the latent volume, normalised gradients (`engine.guidance.latent`).
- `sds-slices`: as MicroLad publishes it, slice by slice (`engine.guidance.slices`).

Shapes: `B` volumes, `C` latent channels, `K` phases, `d h w` latent space, `D H W` voxels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from torch import Tensor

from engine.guidance.choices import Guidance
from engine.guidance.latent import Finish, guide_latents
from engine.guidance.slices import guide_slices
from engine.guidance.targets import Target
from engine.guidance.volume import Guided, guide
from engine.models.bundle import Bundle
from engine.models.inference import Inference
from engine.sampling.multiplane import Noise, spectral
from engine.sampling.refine import redraw_planes
from engine.sampling.spectra import SpectralFilter

if TYPE_CHECKING:
    from engine.properties.materials import Materials
    from engine.properties.own import OwnProperty
    from engine.request import Request, Settings

GUIDANCE_TIMES = (160.0, 60.0)  # trained times of the prior's redraws, first and last


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B sampled volumes that are to be guided."""

    requests: "Sequence[Request]"
    """Of one shape, border and set of settings, each with targets."""
    bundle: Bundle
    inference: Inference
    latents: Tensor
    """[B, C, d, h, w]."""
    probabilities: Tensor
    """[B, K, D, H, W] of them, decoded and refined."""
    noise: Noise
    """Their streams."""
    finish: Finish
    """Refinement of a decoded volume."""
    draw: Callable[[Tensor, Sequence[int]], Tensor] | None = None
    """Draws the phases of some of the B volumes as they were drawn at first, from probabilities [b, K, D, H, W]."""
    on_step: Callable[[int, int], None] | None = None

    @property
    def settings(self) -> "Settings":
        return self.requests[0].settings

    @property
    def targets(self) -> list[tuple[Target, ...]]:
        return [request.targets for request in self.requests]

    @property
    def phases(self) -> tuple[str, ...]:
        return self.bundle.card.phase_names

    @property
    def known(self) -> "_Known":
        """What targets may need to be steered."""
        return {
            "materials": [request.materials for request in self.requests],
            "training": self.bundle.card.training_means,
            "properties": [request.properties for request in self.requests],
        }


class _Known(TypedDict):
    materials: "Sequence[Materials | None]"
    training: Mapping[str, Sequence[float]]
    properties: "Sequence[Sequence[OwnProperty]]"


def guide_batch(batch: Batch) -> list[Guided]:
    """Guide volumes by the method that their settings name."""
    return METHODS[batch.settings.guidance](batch)


def _on_volume(batch: Batch) -> list[Guided]:
    inference, bundle, periodic = batch.inference, batch.bundle, batch.requests[0].periodic
    iterations = batch.settings.guidance_iterations
    border, at_once = inference.border(periodic), inference.planes_at_once(batch.requests[0].shape)
    step = iter(np.linspace(*GUIDANCE_TIMES, iterations) * bundle.schedule.timesteps / 1_000)

    def redraw(current: Tensor, axis: int, which: Sequence[int]) -> Tensor:
        abar = bundle.schedule.abar_at(float(next(step)))
        fresh = batch.noise.select(which)
        redrawn = redraw_planes(
            current, axis, inference, inference.denoise, abar, fresh, border=border, at_once=at_once
        )
        return redrawn if batch.draw is None else batch.draw(redrawn, which)

    return guide(
        batch.probabilities,
        batch.targets,
        batch.phases,
        redraw,
        iterations,
        batch.on_step,
        periodic=periodic,
        **batch.known,
    )


def _on_latents(batch: Batch) -> list[Guided]:
    d, h, w = batch.latents.shape[2:]
    calibration = batch.bundle.calibration
    return guide_latents(
        batch.latents,
        batch.targets,
        batch.phases,
        batch.inference,
        spectral(batch.inference.denoise, SpectralFilter(calibration.autocovariance, (d, h, w))),
        batch.bundle.schedule,
        batch.noise,
        batch.finish,
        batch.settings.guidance_iterations,
        correlations=calibration.neighbour_correlation,
        on_step=batch.on_step,
        **batch.known,
    )


def _by_slices(batch: Batch) -> list[Guided]:
    """One volume after the other: each draws slices and noise levels of its own."""
    single, numbers = batch.inference.of_single_planes(), batch.settings.of_slices
    steps = numbers.steps * len(batch.requests)
    out = []
    for i, (targets, volume) in enumerate(zip(batch.targets, batch.probabilities, strict=True)):

        def report(done: int, _: int, before: int = i * numbers.steps) -> None:
            if batch.on_step is not None:
                batch.on_step(before + done, steps)

        out.append(
            guide_slices(
                volume,
                targets,
                batch.phases,
                single,
                single.denoise,
                batch.bundle.schedule,
                batch.noise.select([i]),
                numbers,
                batch.bundle.card.training_means,
                report,
                batch.inference,
            )
        )
    return out


METHODS: dict[Guidance, Callable[[Batch], list[Guided]]] = {
    "volume": _on_volume,
    "volume-sds": _on_latents,
    "sds-slices": _by_slices,
}
