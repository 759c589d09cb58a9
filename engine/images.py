"""2D images from a bundle: the plain reverse process, with classes and classifier-free guidance.

Of a bundle of phases, labels. Of one of grey-level images, grey values 0..255, or labels where the class asked for was
segmented: its grey values are cut half-way between those of its labels.

Shapes: `B` images, `C` latent channels, `K` phases, `H W` pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from engine.design import sampler_numbers
from engine.errors import InputError
from engine.micrographs.grey import WHITE, nearest_label
from engine.models.bundle import Bundle, Card
from engine.models.condition import Condition
from engine.models.inference import Inference
from engine.parallel import one_thread
from engine.request import Settings
from engine.sampling.multiplane import Noise
from engine.sampling.solvers import Ddpm, make_solver

SMALLEST_SIDE = 32  # pixels


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """How to sample images."""

    label: str | None = None
    """Class; None of all classes together."""
    plane: str | None = None
    """`xy`, `xz` or `yz`, of a bundle whose planes differ."""
    weight: float = 1.0
    """omega of classifier-free guidance: omega eps(x, y) + (1 - omega) eps(x); 1 is the condition alone."""
    sampling: Settings = field(default_factory=Settings)
    """Solver, steps and eta."""


def check_images(card: Card, size: tuple[int, int], settings: ImageSettings) -> Condition:
    """What the network is told.

    Raises:
        InputError: a size, class or plane that the bundle cannot have, or a weight without a condition.
    """
    from engine.micrographs.micrograph import PLANES

    if any(side % card.side_step or side < SMALLEST_SIDE for side in size):
        raise InputError(
            f"size {size[0]}x{size[1]}: every side must be a multiple of {card.side_step}, at least {SMALLEST_SIDE}"
        )
    label = plane = None
    if settings.label is not None:
        if settings.label not in card.classes:
            known = f"its classes are {', '.join(card.classes)}" if card.classes else "it was trained without classes"
            raise InputError(f"class '{settings.label}': not one of the bundle {card.name}; {known}")
        label = torch.tensor([card.classes.index(settings.label)])
    if settings.plane is not None:
        if settings.plane not in PLANES or not card.denoiser.planes:
            known = f"its planes are {', '.join(PLANES)}" if card.denoiser.planes else "its planes are all alike"
            raise InputError(f"plane '{settings.plane}': not one of the bundle {card.name}; {known}")
        plane = torch.tensor([PLANES.index(settings.plane)])
    if settings.weight != 1 and label is None and plane is None:
        raise InputError(f"guidance weight {settings.weight:g}: needs a class or a plane to weigh")
    if not 0 <= settings.weight <= 100:
        raise InputError(f"guidance weight: must lie within [0, 100], not {settings.weight:g}")
    return Condition(plane=plane, label=label)


def image_phases(card: Card, settings: ImageSettings) -> dict[str, int]:
    """Label of each phase of the images that `sample_images` draws; empty of grey values."""
    if card.grey:
        return {f"phase_{label}": label for label in _labels(card, settings)}
    return {phase.name: phase.label for phase in card.phases}


def _labels(card: Card, settings: ImageSettings) -> tuple[int, ...]:
    """Of the class asked for, where it was segmented."""
    return () if settings.label is None else card.class_labels[card.classes.index(settings.label)]


@torch.no_grad()
def sample_images(
    bundle: Bundle,
    inference: Inference,
    size: tuple[int, int],
    seeds: Sequence[int],
    settings: ImageSettings | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> NDArray[np.uint8]:
    """Labelled or grey images [B, H, W], one per seed; an image depends on its seed alone.

    Raises:
        InputError: as `check_images`.
    """
    settings = settings or ImageSettings()
    condition = check_images(bundle.card, size, settings)
    numbers = sampler_numbers(settings.sampling, bundle)
    solver = make_solver(numbers.solver, numbers.eta)
    noise = Noise(seeds, bundle.device)
    shape = (bundle.card.denoiser.channels, size[0] // bundle.factor, size[1] // bundle.factor)
    with one_thread():
        x = noise(shape)
        for step, (abar, following) in enumerate(pairwise(bundle.schedule.trajectory(numbers.steps))):
            clean, share = inference.estimate(x, abar, condition, settings.weight)
            fresh = noise(shape) if solver.stochastic and following < 1 else None
            if isinstance(solver, Ddpm):
                x = solver.step(x, clean, abar, following, fresh, share)
            else:
                x = solver.step(x, clean, abar, following, fresh)
            if on_step is not None:
                on_step(step + 1, numbers.steps)
        decoded = inference.decode(x).cpu()
    if bundle.card.grey:
        values, of_class = decoded[:, 0].numpy(), _labels(bundle.card, settings)
        return nearest_label(values, of_class) if of_class else np.round(values * WHITE).astype(np.uint8)
    labels: NDArray[np.uint8] = np.array([phase.label for phase in bundle.card.phases], dtype=np.uint8)
    return np.take(labels, decoded.argmax(dim=1).numpy())
