"""The output folder of `reconstruct` and `design`: `<structure_id>.tif` files and `structures.parquet`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError
from engine.guidance.targets import Target
from engine.request import Request, Settings, structure_id, structure_seed

if TYPE_CHECKING:
    from actors.rows import Row
    from engine.design import Generated, Measurement
    from engine.models.bundle import Card
    from engine.outcomes import DesignOutcome


class StructureSet:
    """The structures that one command line asks for, numbered from 0; the folder they go to.

    Ids are a function of everything that decides the voxels, so the same command finds what it has already made, and
    a higher count adds to it. Seeds are a function of `seed` and the number alone.
    """

    def __init__(
        self,
        *,
        out: Path,
        card: "Card",
        bundle: str,
        shape: tuple[int, int, int],
        seed: int,
        count: int,
        targets: tuple[Target, ...],
        settings: Settings,
        formats: tuple[str, ...],
    ) -> None:
        if count < 1:
            raise InputError(f"--count {count}: must be at least 1")
        if seed < 0:
            raise InputError(f"--seed {seed}: must be 0 or above")
        self.out, self.count, self.formats = out, count, formats
        self._card, self._bundle, self._shape, self._seed = card, bundle, shape, seed
        self._targets, self._settings = targets, settings
        texts = [str(target) for target in targets]
        self._key = f"{card.hash}/{shape}/{texts}/{settings}/{seed}"
        self.request(0)  # a shape that cannot be is refused here

    def request(self, number: int) -> Request:
        return Request(
            structure_id=structure_id(self._key, 0, number),
            bundle=self._bundle,
            shape=self._shape,
            seed=structure_seed("", self._seed, 0, number),
            targets=self._targets,
            settings=self._settings,
        )

    def finished(self) -> "dict[str, Row]":
        """Rows of structures that are in the folder already, by id. Writes nothing.

        Raises:
            InputError: the folder holds something else.
        """
        from studies.table import SINGLE_FILE, read_structures

        if not self.out.exists():
            return {}
        if not self.out.is_dir():
            raise InputError(f"--out {self.out}: is a file; name a folder")
        names = sorted(item.name for item in self.out.iterdir() if not item.name.startswith("."))
        rows: list[Row] = read_structures(self.out).to_pylist() if SINGLE_FILE in names else []
        known = {self.request(n).structure_id for n in range(max(self.count, len(rows), len(names)))}
        if any(row["structure_id"] not in known for row in rows):
            raise InputError(
                f"--out {self.out}: holds structures that were made with other options; give the same ones or "
                "name another folder"
            )
        for name in names:
            if name != SINGLE_FILE and name.partition(".")[0] not in known:
                raise InputError(f"--out {self.out}: holds something else ('{name}'); name a new or empty folder")
        by_name = {str(row["structure_id"]): row for row in rows}
        return {name: row for name, row in by_name.items() if all(path.is_file() for path in self._files(name))}

    def write(
        self, batch: "Sequence[tuple[Generated, Measurement, DesignOutcome]]", *, device: str, code_version: str
    ) -> "list[Row]":
        """Write the volumes, then their rows. Returns the rows."""
        from actors.rows import make_row
        from actors.volumes import volume_sha256
        from engine.export.volumes import write_volume
        from studies.table import append_rows

        self.out.mkdir(parents=True, exist_ok=True)
        rows = []
        for generated, measurement, outcome in batch:
            for path in self._files(generated.request.structure_id):
                write_volume(generated.labels, path, voxel_size_um=self._card.voxel_size_um)
            rows.append(
                make_row(
                    generated,
                    measurement,
                    self._card,
                    outcome=outcome,
                    device=device,
                    code_version=code_version,
                    volume_sha256=volume_sha256(generated.labels),
                )
            )
        append_rows(self.out, rows, self._card.phase_names)
        return rows

    def _files(self, name: str) -> list[Path]:
        from engine.export.volumes import suffix_of

        return [self.out / f"{name}{suffix_of(each)}" for each in self.formats]
