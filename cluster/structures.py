"""The output folder of `reconstruct` and `design`: volumes (`<structure_id>.tif`, ...) and `structures.parquet`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError
from engine.guidance.targets import Target, parse_target
from engine.metrics import Metric
from engine.request import Request, Settings, structure_id, structure_seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from actors.rows import Row
    from engine.design import Generated, Measurement
    from engine.models.bundle import Card
    from engine.outcomes import DesignOutcome
    from engine.properties.materials import Materials
    from engine.properties.own import OwnProperty


def contents(out: Path) -> "tuple[list[str], list[Row]]":
    """What a folder of one command's structures holds: names beside its table and its report, and the table's rows.

    Raises:
        InputError: it is a file, or its table cannot be read.
    """
    from studies.folder import REPORT_FILE
    from studies.table import SINGLE_FILE, read_structures

    if not out.exists():
        return [], []
    if not out.is_dir():
        raise InputError(f"--out {out}: is a file; name a folder")
    names = sorted(item.name for item in out.iterdir() if not item.name.startswith("."))
    rows: list[Row] = read_structures(out).to_pylist() if SINGLE_FILE in names else []
    return [name for name in names if name not in (SINGLE_FILE, REPORT_FILE)], rows


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
        periodic: bool = False,
        materials: "Materials | None" = None,
        properties: "tuple[OwnProperty, ...]" = (),
    ) -> None:
        if count < 1:
            raise InputError(f"--count {count}: must be at least 1")
        if seed < 0:
            raise InputError(f"--seed {seed}: must be 0 or above")
        self.out, self.count, self.formats = out, count, formats
        self._card, self._bundle, self._shape, self._seed = card, bundle, shape, seed
        texts = [str(target) for target in targets]
        # rounded to their texts, so that those in a row give the same request again
        self._targets, self._settings = tuple(parse_target(text) for text in texts), settings
        self._materials, self._periodic, self._properties = materials, periodic, properties
        made_of = "" if materials is None else f"/{materials.hash}"
        border = "/periodic" if periodic else ""
        own = "".join(f"/{each}" for each in properties)
        self._key = f"{card.hash}/{shape}/{texts}/{settings}/{seed}{made_of}{border}{own}"
        self.request(0)  # a shape that cannot be is refused here

    def request(self, number: int) -> Request:
        return Request(
            structure_id=structure_id(self._key, 0, number),
            bundle=self._bundle,
            shape=self._shape,
            seed=structure_seed("", self._seed, 0, number),
            targets=self._targets,
            settings=self._settings,
            periodic=self._periodic,
            materials=self._materials,
            properties=self._properties,
        )

    def finished(self) -> "dict[str, Row]":
        """Rows of structures that are in the folder already, by id, with or without their volumes. Writes nothing.

        Raises:
            InputError: the folder holds something else.
        """
        names, rows = contents(self.out)
        known = {self.request(n).structure_id for n in range(max(self.count, len(rows), len(names)))}
        if any(row["structure_id"] not in known for row in rows):
            raise InputError(
                f"--out {self.out}: holds structures that were made with other options; give the same ones or "
                "name another folder"
            )
        for name in names:
            if re.split(r"[._]", name)[0] not in known:
                raise InputError(f"--out {self.out}: holds something else ('{name}'); name a new or empty folder")
        return {str(row["structure_id"]): row for row in rows}

    def complete(self, rows: "dict[str, Row]") -> "dict[str, Row]":
        """Of these rows those that have their volumes in every format asked for.

        A format that is missing is written from a volume of another that is there, if it is the one of the row.
        """
        from actors.volumes import volume_sha256
        from engine.export.formats import export_paths
        from engine.export.volumes import FORMATS, read_volume

        found = {}
        for name, row in rows.items():
            phases = self._phases(row)
            missing = [each for each in self.formats if not all(p.is_file() for p in self._files(row, each))]
            for kept in FORMATS if missing else ():
                [path] = export_paths(self.out, name, kept, phases)
                try:
                    labels = read_volume(path).labels
                except InputError:
                    continue  # not there, or damaged
                if volume_sha256(labels) == row["volume_sha256"]:
                    for each in missing:
                        self._export(labels, row, each)
                    missing = []
                    break
            if not missing:
                found[name] = row
        return found

    def volume(self, row: "Row") -> "NDArray[np.uint8] | None":
        """Labels of a structure in the folder, from whichever file of it is a volume; None where none is."""
        from engine.export.formats import export_paths
        from engine.export.volumes import FORMATS, read_volume

        for each in FORMATS:
            [path] = export_paths(self.out, str(row["structure_id"]), each, self._phases(row))
            if path.is_file():
                return read_volume(path).labels
        return None

    def write(
        self, batch: "Sequence[tuple[Generated, Measurement, DesignOutcome]]", *, device: str, code_version: str
    ) -> "list[Row]":
        """Write the volumes, then their rows. Returns the rows."""
        from actors.rows import make_row
        from actors.volumes import volume_sha256
        from studies.table import append_rows

        self.out.mkdir(parents=True, exist_ok=True)
        rows = []
        for generated, measurement, outcome in batch:
            row = make_row(
                generated,
                measurement,
                self._card,
                outcome=outcome,
                device=device,
                code_version=code_version,
                volume_sha256=volume_sha256(generated.labels),
            )
            for each in self.formats:
                self._export(generated.labels, row, each)
            rows.append(row)
        append_rows(self.out, rows, self._card.phase_names)
        return rows

    def _export(self, labels: "NDArray[np.uint8]", row: "Row", format: str) -> None:
        from engine.export.formats import export

        name, size_um = str(row["structure_id"]), self._card.voxel_size_um
        export(labels, self._phases(row), self.out, name, format, voxel_size_um=size_um)

    def _files(self, row: "Row", format: str) -> list[Path]:
        from engine.export.formats import export_paths

        return export_paths(self.out, str(row["structure_id"]), format, list(self._phases(row)))

    def _phases(self, row: "Row") -> dict[str, int]:
        """Label by name of the phases that the structure has."""
        return {each.name: each.label for each in self._card.phases if row[Metric("fraction", each.name).column]}
