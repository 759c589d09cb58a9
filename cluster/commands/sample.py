"""`mesoforge sample`: 2D images from a bundle."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.drawn import DrawnSet, complete, next_steps, print_fractions
from engine.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cluster.drawn import Labels
    from engine.images import ImageSettings
    from engine.models.bundle import Bundle, Card
    from engine.models.inference import Inference

BATCH = 32


def sample(
    model: Annotated[
        str, typer.Option("--model", metavar="M", help="Bundle: a name of `mesoforge models`, or a path.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the images and structures.parquet.")],
    count: Annotated[int, typer.Option("--count", metavar="N", help="How many images.")] = 1,
    size: Annotated[int, typer.Option("--size", metavar="V", help="Pixels on a side.")] = 64,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="The only source of randomness.")] = 0,
    label: Annotated[
        str | None, typer.Option("--class", metavar="C", help="Class, of a bundle that was trained with classes.")
    ] = None,
    plane: Annotated[
        str | None, typer.Option("--plane", metavar="xy|xz|yz", help="Plane, of a bundle whose planes differ.")
    ] = None,
    weight: Annotated[
        float,
        typer.Option("--guidance-weight", metavar="W", help="How much the class or plane counts (ω); 1: plainly."),
    ] = 1.0,
    solver: Annotated[
        str | None, typer.Option("--solver", metavar="NAME", help="ddim, ddpm or dpm++; default: the bundle's.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="Denoising steps; default: the bundle's.")
    ] = None,
    eta: Annotated[
        float | None, typer.Option("--eta", metavar="E", help="0 deterministic ... 1 ancestral; default: the bundle's.")
    ] = None,
) -> None:
    """Draw 2D images that look like a bundle's micrographs.

    Stopped and given again, the same command makes what is missing; a higher --count adds to it. A bundle of grey-level
    images draws grey values, and labels of those of its classes that were segmented.

    \b
    Examples:
      mesoforge sample --model berea --count 16 --size 128 --seed 1 --out images
      mesoforge sample --model six-materials --class alloy --guidance-weight 2 --count 100 --seed 1 --out alloy
    """
    from engine.images import ImageSettings, check_images, image_phases
    from engine.models.bundle import read_card
    from engine.request import Settings

    if count < 1:
        raise InputError(f"--count {count}: must be at least 1")
    if seed < 0:
        raise InputError(f"--seed {seed}: must be 0 or above")
    sampling = Settings(solver=solver, steps=steps, eta=eta)  # type: ignore[arg-type]  # checked there
    settings = ImageSettings(label=label, plane=plane, weight=weight, sampling=sampling)
    card = read_card(model)
    check_images(card, (size, size), settings)
    wanted = DrawnSet(
        out=out,
        recipe=f"{card.hash}/{settings}",
        origin=card.name,
        title=f"drawing images of {label or card.name}",
        phases=image_phases(card, settings),
        shape=(size, size),
        seed=seed,
        count=count,
        draw=_drawing(card, size, settings),
        batch=BATCH,
    )
    rows = complete(wanted)
    print_fractions(rows, wanted)
    print(next_steps(wanted, label or card.name))


def _drawing(card: "Card", size: int, settings: "ImageSettings") -> "Callable[[Sequence[int]], Sequence[Labels]]":
    """Draws images of seeds; loads the networks when the first is needed."""
    import torch

    from engine.images import sample_images
    from engine.models.bundle import load_bundle
    from engine.models.inference import Inference

    @cache
    def loaded() -> "tuple[Bundle, Inference]":
        bundle = load_bundle(card.folder, "cuda" if torch.cuda.is_available() else "cpu")
        return bundle, Inference(bundle)

    return lambda seeds: list(sample_images(*loaded(), (size, size), seeds, settings))
