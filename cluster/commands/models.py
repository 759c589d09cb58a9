"""`mesoforge models`: which bundles there are."""

import json
from typing import Annotated, Any

import typer

from cluster.terminal import table


def models(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[BUNDLE]...", help="Only these, by name or path.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """List the bundles that ship, those in the folders of MESOFORGE_BUNDLES, or those named.

    \b
    Examples:
      mesoforge models
      mesoforge models my_bundle --json
    """
    from engine.models.bundle import WEIGHTS, find_bundles, read_card

    cards = [read_card(path) for path in paths] if paths else find_bundles()
    rows = []
    for card in cards:
        weights = card.folder / WEIGHTS
        row: dict[str, Any] = {
            "name": card.folder.resolve().name,
            "material": card.material,
            "phases": {phase.name: round(phase.fraction, 4) for phase in card.phases},
            "voxel_size_um": card.voxel_size_um,
            "size_mb": round(weights.stat().st_size / 1e6, 1) if weights.is_file() else None,
            "hash": card.hash,
            "folder": str(card.folder),
        }
        rows.append(row)
    if json_output:
        print(json.dumps({"bundles": rows}, indent=1, ensure_ascii=False))
        return
    headers = ["name", "material", "phases (fraction)", "voxel (um)", "weights (MB)", "where"]
    keys = ["name", "material", "phases", "voxel_size_um", "size_mb", "folder"]
    print(table(headers, [[_text(row[key]) for key in keys] for row in rows]))
    if not rows:
        print("no bundle is installed; train one with 'mesoforge train'")


def _text(value: Any) -> Any:
    """Phases as text; anything else as it is."""
    return ", ".join(f"{name} {share:.3g}" for name, share in value.items()) if isinstance(value, dict) else value
