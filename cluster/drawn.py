"""Folders of images or volumes that are drawn, not designed: `mesoforge synth` and `mesoforge sample`.

The structures of one command line and the folder they go to. Ids and seeds are functions of the recipe, the shape, the
seed and the number, so the same command finds what it has already drawn, and a higher count adds to it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.structures import contents
from cluster.terminal import kept_on_interrupt, phase, table
from engine.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from actors.rows import Row

    Labels = NDArray[np.uint8]

ROWS = 64  # written at once at least, where the batches are small
SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class DrawnSet:
    """What is drawn, and where it goes."""

    out: Path
    recipe: str
    """Everything that decides the pixels but shape and seed."""
    origin: str
    """For the rows' column `bundle`."""
    title: str
    """What is going on, for the progress bar."""
    phases: Mapping[str, int]
    """Label of each phase; none of grey-level images."""
    shape: tuple[int, ...]
    """(y, x) or (z, y, x)."""
    seed: int
    count: int
    draw: "Callable[[Sequence[int]], Sequence[Labels]]"
    """Of seeds; whatever else is drawn with it, a seed gives the same labels."""
    batch: int = 1
    """Seeds drawn together."""
    attempt: Callable[[int], object] | None = None
    """Called with the first seed before anything else happens: raises where nothing can be drawn."""

    def id_of(self, number: int) -> str:
        from engine.request import structure_id

        return structure_id(f"{self.recipe}/{self.shape}/{self.seed}", 0, number)

    def seed_of(self, number: int) -> int:
        from engine.request import structure_seed

        return structure_seed("", self.seed, 0, number)

    def path(self, name: str) -> Path:
        return self.out / f"{name}.tif"

    def finished(self) -> "dict[str, Row]":
        """Rows of what is in the folder already, by id.

        Raises:
            InputError: the folder holds something else.
        """
        names, rows = contents(self.out)
        known = {self.id_of(number) for number in range(max(self.count, len(rows), len(names)))}
        for name in [*(str(row["structure_id"]) for row in rows), *(n.partition(".")[0] for n in names)]:
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

        dimensions = labels.ndim
        row: Row = {
            "structure_id": self.id_of(number),
            "seed": self.seed_of(number),
            "shape_z": 1 if dimensions == 2 else labels.shape[0],
            "shape_y": labels.shape[-2],
            "shape_x": labels.shape[-1],
            "bundle": self.origin,
            "code_version": code_version(),
            "status": str(DesignOutcome.UNGUIDED),
            "reason": "",
            "device": "cpu",
            "volume_sha256": volume_sha256(labels if dimensions == 3 else labels[None]),
        }
        if not self.phases:
            return row
        fractions = volume_fractions(labels, list(self.phases.values()), space_dims=dimensions).tolist()
        for (name, label), fraction in zip(self.phases.items(), fractions, strict=True):
            area = float(surface_area(labels == label, space_dims=dimensions))
            for metric, value in ((Metric("fraction", name), fraction), (Metric("surface_area", name), area)):
                row[metric.column] = value
                row[f"{metric.column}_outcome"] = str(Outcome.MEASURED if fraction else Outcome.ABSENT)
        return row


def complete(wanted: DrawnSet) -> "list[Row]":
    """Draw what is missing; returns the rows of all, in order."""
    from engine.export.images import write_image
    from engine.export.volumes import write_volume
    from studies.folder import check_place
    from studies.table import append_rows

    write = write_image if len(wanted.shape) == 2 else write_volume
    finished = wanted.finished()
    missing = [number for number in range(wanted.count) if wanted.id_of(number) not in finished]
    if missing:
        check_place(wanted.out)
        if wanted.attempt is not None:
            wanted.attempt(wanted.seed_of(missing[0]))
    kept = f"what the table lists is in {wanted.out}; give the same command again for the rest"
    done, fresh = wanted.count - len(missing), []
    with kept_on_interrupt(kept), phase(wanted.title, wanted.count, unit="samples") as bar:
        for start in range(0, len(missing), wanted.batch):
            bar.update(done + start)
            numbers = missing[start : start + wanted.batch]
            drawn = wanted.draw([wanted.seed_of(number) for number in numbers])
            wanted.out.mkdir(parents=True, exist_ok=True)
            for number, labels in zip(numbers, drawn, strict=True):
                write(labels, wanted.path(wanted.id_of(number)))
                fresh.append(wanted.row(number, labels))
            if len(fresh) >= ROWS or numbers[-1] == missing[-1]:
                append_rows(wanted.out, fresh, tuple(wanted.phases))
                finished |= {str(row["structure_id"]): row for row in fresh}
                fresh = []
        bar.update(wanted.count)
    return [finished[wanted.id_of(number)] for number in range(wanted.count)]


def print_fractions(rows: "Sequence[Row]", wanted: DrawnSet) -> None:
    """The first rows with their phase fractions; nothing of grey-level images."""
    if not wanted.phases:
        return
    columns = [f"fraction_{name}" for name in wanted.phases]
    shown = rows[:SHOWN]
    print(table(["structure", *columns], [[row["structure_id"], *(row[name] for name in columns)] for row in shown]))
    if len(rows) > len(shown):
        print(f"... and {len(rows) - len(shown)} more")


def next_steps(wanted: DrawnSet, material: str) -> str:
    """The last lines of a command: what is there, and how to look at it."""
    noun = "image" if len(wanted.shape) == 2 else "volume"
    labels = ", ".join(f"{label} {name}" for name, label in wanted.phases.items())
    values = f"labels: {labels}" if wanted.phases else "grey values 0 to 255"
    return (
        f'\nall columns: mesoforge query {wanted.out} "SELECT * FROM structures"\n'
        f"{wanted.count} {noun}{'s' if wanted.count > 1 else ''} of {material} in {wanted.out}; {values}"
    )
