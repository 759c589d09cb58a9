"""`mesoforge models`: which bundles there are."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.terminal import table
from engine.errors import InputError


def models(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[BUNDLE]...", help="Only these, by name or path.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """List the bundles that ship, those in the folders of MESOFORGE_BUNDLES, or those named.

    Each is checked against its card's sha256. A damaged one is listed with what is wrong; if it was named, that is an
    error.

    \b
    Examples:
      mesoforge models
      mesoforge models my_bundle --json
    """
    from engine.models.bundle import find_bundles

    rows = [_described(path) for path in paths] if paths else [_listed(folder) for folder in find_bundles()]
    if json_output:
        print(json.dumps({"bundles": rows}, indent=1, ensure_ascii=False))
        return
    headers = ["name", "material", "phases (fraction)", "voxel (um)", "weights (MB)", "where"]
    keys = ["name", "material", "phases", "voxel_size_um", "size_mb", "folder"]
    print(table(headers, [[_text(row[key]) for key in keys] for row in rows]))
    for row in rows:
        if row["fault"]:
            print(f"damaged: {row['fault']}")
    if not rows:
        print("no bundle is installed; train one with 'mesoforge train'")


def _described(where: "str | Path") -> dict[str, Any]:
    """A bundle that is whole; raises InputError for another."""
    from engine.models.bundle import check_weights, read_card

    card = read_card(where)
    weights = check_weights(card)
    return {
        "name": card.folder.resolve().name,
        "material": card.material,
        "phases": {phase.name: round(phase.fraction, 4) for phase in card.phases},
        "voxel_size_um": card.voxel_size_um,
        "size_mb": round(weights.stat().st_size / 1e6, 1),
        "hash": card.hash,
        "folder": str(card.folder),
        "fault": "",
    }


def _listed(folder: Path) -> dict[str, Any]:
    """A bundle, or what is wrong with it."""
    try:
        return _described(folder)
    except InputError as error:
        nothing = dict.fromkeys(("phases", "voxel_size_um", "size_mb", "hash"))
        return {"name": folder.name, "material": "damaged", **nothing, "folder": str(folder), "fault": str(error)}


def _text(value: Any) -> Any:
    """Phases as text, of which grey-level images have none; anything else as it is."""
    if value == {}:
        return "grey values"
    return ", ".join(f"{name} {share:.3g}" for name, share in value.items()) if isinstance(value, dict) else value
