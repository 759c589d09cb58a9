"""`mesoforge synth`: images and volumes of synthetic materials, whose truth is known."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.drawn import DrawnSet, complete, next_steps, print_fractions
from cluster.terminal import table
from engine.errors import InputError

if TYPE_CHECKING:
    from engine.micrographs.synthetic.grid import Material


def synth(
    material: Annotated[
        str | None, typer.Argument(metavar="MATERIAL", help="A name of the list that --list prints.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for the files and structures.parquet.")
    ] = None,
    count: Annotated[int, typer.Option("--count", metavar="N", help="How many structures.")] = 1,
    size: Annotated[
        int | None, typer.Option("--size", metavar="V", help="Voxels on a side.", show_default="64")
    ] = None,
    dimensions: Annotated[
        int | None,
        typer.Option("--dimensions", metavar="2|3", help="Images or volumes.", show_default="3"),
    ] = None,
    shape: Annotated[
        str | None, typer.Option("--shape", metavar="[Z,]Y,X", help="Sides, instead of --size and --dimensions.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="The only source of randomness.")] = 0,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the material, such as radius=8. May repeat."),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option("--like", metavar="IMAGE", help="Labelled image whose descriptors `matched` images have."),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Print materials, parameters and defaults.")] = False,
) -> None:
    """Draw images or volumes of a synthetic material. Every sample is periodic.

    Stopped and given again, the same command makes what is missing; a higher --count adds to it.

    \b
    Examples:
      mesoforge synth --list
      mesoforge synth spheres --count 8 --size 64 --seed 1 --out spheres --set fraction=0.3 --set radius=5
      mesoforge synth grains --count 1000 --size 64 --dimensions 2 --seed 1 --out alloy
      mesoforge synth matched --like carbonate.tif --count 100 --seed 1 --out carbonate
    """
    if listing:
        print(_listing())
        return
    if material is None or out is None:
        raise InputError("synth: needs a MATERIAL and --out DIR; see mesoforge synth --list")
    if count < 1:
        raise InputError(f"--count {count}: must be at least 1")
    if seed < 0:
        raise InputError(f"--seed {seed}: must be 0 or above")
    sides = _sides(size, dimensions, shape, default=2 if material == "matched" else 3)
    made, recipe = _material(material, setting or [], like, len(sides))
    from engine.micrographs.synthetic.grid import check_grid

    drawn = lru_cache(maxsize=1)(lambda each: made.sample(sides, each))
    wanted = DrawnSet(
        out=out,
        recipe=recipe,
        origin=f"synthetic:{recipe}",
        title=f"drawing {recipe.partition('(')[0]}",
        phases={name: label for label, name in enumerate(made.phases)},
        shape=check_grid(sides, seed),
        seed=seed,
        count=count,
        draw=lambda seeds: [drawn(each) for each in seeds],
        attempt=drawn,
    )
    rows = complete(wanted)
    print_fractions(rows, wanted)
    print(f"\nknown of this material\n{_known(made, sides)}")
    print(next_steps(wanted, recipe))


def _known(made: "Material", sides: tuple[int, ...]) -> str:
    from engine.micrographs.synthetic.truth import known_truth

    rows = [[each.quantity, each.value, each.unit] for each in known_truth(made, sides)]
    return table(["quantity", "value", "unit"], rows)


def _listing() -> str:
    from engine.micrographs.synthetic.materials import MATERIALS, describe, make_material

    rows = [[name, meaning] for name, (_, _, meaning) in MATERIALS.items()]
    rows.append(["matched", "images with the descriptors of a target image (--like), by gradient descent"])
    lines = [table(["material", "what it is"], rows), "", "parameters and defaults (3D):"]
    lines += [f"  {describe(name, make_material(name))}" for name in MATERIALS]
    lines.append("  matched(descriptors=s2,lineal_path, lags=16, iterations=200); descriptors may also hold gram")
    return "\n".join(lines)


def _material(name: str, settings: list[str], like: Path | None, dimensions: int) -> "tuple[Material, str]":
    """The material and its recipe: name and parameters, with the target's hash where there is one."""
    from engine.micrographs.synthetic.materials import describe, make_matched, make_material

    if name == "matched":
        if like is None:
            raise InputError("matched: needs --like IMAGE, a labelled image")
        return make_matched(like, settings)
    if like is not None:
        raise InputError(f"--like {like}: goes with the material matched only, not with {name}")
    material = make_material(name, settings, dimensions=dimensions)
    return material, describe(name, material)


def _sides(size: int | None, dimensions: int | None, shape: str | None, *, default: int) -> tuple[int, ...]:
    if shape is not None:
        if size is not None or dimensions is not None:
            raise InputError("--shape: stands for --size and --dimensions; give one or the other")
        try:
            sides = tuple(int(part) for part in shape.split(","))
        except ValueError:
            sides = ()
        if len(sides) not in (2, 3):
            raise InputError(f"--shape {shape}: must be two or three whole numbers, Y,X or Z,Y,X, such as 64,96,96")
        return sides
    count = default if dimensions is None else dimensions
    if count not in (2, 3):
        raise InputError(f"--dimensions {count}: must be 2 or 3")
    return (64 if size is None else size,) * count
