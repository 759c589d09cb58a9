"""`mesoforge synth`: images and volumes of synthetic materials, whose truth is known."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.structures import contents
from cluster.terminal import kept_on_interrupt, phase, table
from engine.errors import InputError

if TYPE_CHECKING:
    from actors.rows import Row
    from engine.micrographs.synthetic.grid import Labels, Material

BATCH = 64
"""Structures between two writings of the table; their files are written one by one."""


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
    rows = _run(_Set(out=out, material=made, recipe=recipe, shape=sides, seed=seed, count=count))
    names = made.phases
    columns = [f"fraction_{name}" for name in names]
    shown = rows[:10]
    print(table(["structure", *columns], [[row["structure_id"], *(row[name] for name in columns)] for row in shown]))
    if len(rows) > len(shown):
        print(f"... and {len(rows) - len(shown)} more")
    print(f"\nknown of this material\n{_known(made, sides)}")
    print(f'\nall columns: mesoforge query {out} "SELECT * FROM structures"')
    noun = "image" if len(sides) == 2 else "volume"
    print(
        f"{len(rows)} {noun}{'s' if len(rows) > 1 else ''} of {recipe} in {out}; labels: "
        + ", ".join(f"{label} {name}" for label, name in enumerate(names))
    )


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


class _Set:
    """The structures of one command line and the folder they go to. Ids and seeds are functions of the recipe, the
    shape, the seed and the number."""

    def __init__(
        self, *, out: Path, material: "Material", recipe: str, shape: tuple[int, ...], seed: int, count: int
    ) -> None:
        from engine.micrographs.synthetic.grid import check_grid
        from engine.request import structure_id, structure_seed

        self.out, self.material, self.recipe = out, material, recipe
        self.shape, self.count = check_grid(shape, seed), count
        key = f"{recipe}/{shape}/{seed}"
        self._id = lambda number: structure_id(key, 0, number)
        self.seeds = [structure_seed("", seed, 0, number) for number in range(count)]
        self.ids = [self._id(number) for number in range(count)]

    def path(self, name: str) -> Path:
        return self.out / f"{name}.tif"

    def finished(self) -> "dict[str, Row]":
        """Rows of what is in the folder already, by id.

        Raises:
            InputError: the folder holds something else.
        """
        names, rows = contents(self.out)
        known = {self._id(number) for number in range(max(self.count, len(rows), len(names)))}
        for name in [*(row["structure_id"] for row in rows), *(n.partition(".")[0] for n in names)]:
            if name not in known:
                raise InputError(
                    f"--out {self.out}: holds something else ('{name}'); give the options it was made with, or name a "
                    "new or empty folder"
                )
        return {str(row["structure_id"]): row for row in rows if self.path(str(row["structure_id"])).is_file()}

    def row(self, number: int, labels: "Labels") -> "Row":
        """Row of a structure: its geometry alone is measured; `characterize` does the rest."""
        from actors.volumes import volume_sha256
        from engine.descriptors.fractions import volume_fractions
        from engine.descriptors.surface import surface_area
        from engine.metrics import Metric
        from engine.outcomes import DesignOutcome, Outcome
        from engine.version import code_version

        dimensions, names = labels.ndim, self.material.phases
        row: Row = {
            "structure_id": self.ids[number],
            "seed": self.seeds[number],
            "shape_z": 1 if dimensions == 2 else labels.shape[0],
            "shape_y": labels.shape[-2],
            "shape_x": labels.shape[-1],
            "bundle": f"synthetic:{self.recipe}",
            "code_version": code_version(),
            "status": str(DesignOutcome.UNGUIDED),
            "reason": "",
            "device": "cpu",
            "volume_sha256": volume_sha256(labels if dimensions == 3 else labels[None]),
        }
        fractions = volume_fractions(labels, range(len(names)), space_dims=dimensions).tolist()
        for label, (name, fraction) in enumerate(zip(names, fractions, strict=True)):
            area = float(surface_area(labels == label, space_dims=dimensions))
            for metric, value in ((Metric("fraction", name), fraction), (Metric("surface_area", name), area)):
                row[metric.column] = value
                row[f"{metric.column}_outcome"] = str(Outcome.MEASURED if fraction else Outcome.ABSENT)
        return row


def _run(wanted: _Set) -> "list[Row]":
    """Make what is missing; returns the rows of all, in order."""
    from engine.export.images import write_image
    from engine.export.volumes import write_volume
    from studies.folder import check_place
    from studies.table import append_rows

    write = write_image if len(wanted.shape) == 2 else write_volume
    finished = wanted.finished()
    missing = [number for number, name in enumerate(wanted.ids) if name not in finished]
    if not missing:
        return [finished[name] for name in wanted.ids]
    check_place(wanted.out)
    kept = f"what the table lists is in {wanted.out}; give the same command again for the rest"
    done, fresh = wanted.count - len(missing), []
    first = wanted.material.sample(
        wanted.shape, wanted.seeds[missing[0]]
    )  # what cannot be shows before a folder is made
    wanted.out.mkdir(parents=True, exist_ok=True)
    with (
        kept_on_interrupt(kept),
        phase(f"drawing {wanted.recipe.partition('(')[0]}", wanted.count, unit="samples") as bar,
    ):
        for place, number in enumerate(missing):
            bar.update(done + place)
            labels = first if place == 0 else wanted.material.sample(wanted.shape, wanted.seeds[number])
            write(labels, wanted.path(wanted.ids[number]))
            fresh.append(wanted.row(number, labels))
            if len(fresh) == BATCH or place == len(missing) - 1:
                append_rows(wanted.out, fresh, wanted.material.phases)
                finished |= {str(row["structure_id"]): row for row in fresh}
                fresh = []
        bar.update(wanted.count)
    return [finished[name] for name in wanted.ids]
