"""`mesoforge regenerate`: make a structure again from its row, and see whether it is the same."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.terminal import say, table
from engine.errors import InputError, WorkError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from actors.rows import Row
    from engine.models.bundle import Card
    from engine.request import Request


def regenerate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep, reconstruct or design.")],
    structure: Annotated[str, typer.Argument(metavar="STRUCTURE_ID", help="Structure to make again.")],
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="Bundle, where it is no longer found as it was named.")
    ] = None,
    own: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            metavar="NAME=MODULE:FUNCTION",
            help="Function of your own that the structure was made with; a table's own word for it is never run.",
        ),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print the comparison as one JSON document.")] = False,
) -> None:
    """Make a structure again from its row alone, and check the sha256 of its voxels. Writes nothing.

    Exit status 0: the same voxels. Exit status 1: other voxels, as another kind of device gives them; the share that
    agrees and the properties of both are printed then.

    \b
    Example:
      mesoforge regenerate runs/berea_transport 0a1b2c3d4e5f6071
    """
    import torch

    from actors.rows import request_of_row
    from actors.volumes import volume_sha256
    from engine.design import generate
    from engine.models.bundle import load_bundle
    from engine.properties.own import parse_property
    from engine.version import code_version

    row = _row(folder, structure)
    card = _bundle(folder, row, model)
    request = request_of_row(row, str(card.folder), [parse_property(text) for text in own or []])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    say(f"generating {structure} with {card.name} on {device}")
    labels = generate([request], load_bundle(card.folder, device))[0].labels
    same = volume_sha256(labels) == row["volume_sha256"]
    found: dict[str, Any] = {
        "structure_id": structure,
        "same_voxels": same,
        "sha256": volume_sha256(labels),
        "sha256_stored": row["volume_sha256"],
        "device": device,
        "device_stored": row["device"],
        "code_version": code_version(),
        "code_version_stored": row["code_version"],
    }
    if not same:
        found |= _compare(folder, row, request, card, labels)
    if json_output:
        print(json.dumps(found, indent=1, allow_nan=False))
    else:
        print("\n".join(_lines(found)))
    if not same:
        raise WorkError(f"structure {structure}: {_why(found)}")


def _row(folder: Path, structure: str) -> "Row":
    from actors.volumes import check_structure_id
    from studies.query import check_results
    from studies.table import read_structures

    check_structure_id(structure)
    check_results(folder)
    for row in read_structures(folder).to_pylist():
        if row["structure_id"] == structure:
            if row["volume_sha256"] is None:
                raise InputError(f"structure {structure}: failed and has no volume ({row['reason']}); choose another")
            found: Row = row
            return found
    raise InputError(
        f"{folder}: no structure is called '{structure}'; list them with mesoforge query {folder} "
        '"SELECT structure_id, status FROM structures"'
    )


def _bundle(folder: Path, row: "Row", model: str | None) -> "Card":
    """The bundle that made a structure: as given, as the study names it, or by its own name."""
    from engine.models.bundle import read_card

    names = [model] if model is not None else [*_named(folder), str(row["bundle"])]
    refused = ""
    for name in dict.fromkeys(names):
        try:
            card = read_card(name)
        except InputError as error:
            refused = refused or str(error)
            continue
        if card.hash == row["bundle_hash"]:
            return card
        refused = f"bundle '{name}' has the hash {card.hash[:12]}"
    raise InputError(
        f"structure {row['structure_id']}: was made with bundle '{row['bundle']}' of hash "
        f"{str(row['bundle_hash'])[:12]}, which is not found ({refused}); give it with --model"
    )


def _named(folder: Path) -> list[str]:
    """Bundles as the study of a folder names them; [] where there is none."""
    from studies.folder import STUDY_FILE
    from studies.yaml_file import read_yaml

    path = folder / STUDY_FILE
    try:
        document = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, InputError):
        return []
    return [str(name) for name in ([document["bundle"]] if "bundle" in document else document.get("bundles", []))]


def _compare(folder: Path, row: "Row", request: "Request", card: "Card", labels: "NDArray[np.uint8]") -> dict[str, Any]:
    """Voxels and properties of both."""
    from engine.design import measure_structure
    from studies.results import Results

    try:
        stored = Results(folder).volume(str(row["structure_id"]))
        agreement: float | None = float((stored == labels).mean())
    except InputError as error:
        say(f"the stored voxels cannot be compared: {error}")
        agreement = None
    values = measure_structure(labels, request, card).values
    properties = {
        str(metric): {"stored": row.get(metric.column), "made_again": measured.value}
        for metric, measured in values.items()
    }
    return {"voxel_agreement": agreement, "properties": properties}


def _lines(found: dict[str, Any]) -> list[str]:
    if found["same_voxels"]:
        return [f"{found['structure_id']}: the same voxels (sha256 {found['sha256'][:12]}), on {found['device']}"]
    rows = [[name, pair["stored"], pair["made_again"]] for name, pair in found["properties"].items()]
    lines = table(["property", "stored", "made again"], rows).splitlines()
    if found["voxel_agreement"] is not None:
        lines.append(f"voxels that agree: {found['voxel_agreement']:.2%}")
    return lines


def _why(found: dict[str, Any]) -> str:
    stored, here = found["device_stored"], found["device"]
    if str(stored).partition(":")[0] != here:
        return (
            f"other voxels on {here} than on {stored}, where it was made; only the same kind of device gives the same"
        )
    if found["code_version_stored"] != found["code_version"]:
        return f"other voxels with version {found['code_version']} than with {found['code_version_stored']}"
    return "other voxels on the same kind of device; another model of it, or other libraries, may round otherwise"
