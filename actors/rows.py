"""The row of a structure: plain scalars, one per column, the same from a pool and from the command line."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from actors.messages import Failure
from engine.errors import InputError
from engine.guidance.targets import Target, parse_target
from engine.metrics import Metric, all_metrics, mean_metrics
from engine.outcomes import DesignOutcome, Measured
from engine.request import Request, Settings

if TYPE_CHECKING:
    from engine.design import Generated, Measurement
    from engine.models.bundle import Card
    from engine.properties.materials import Materials
    from engine.properties.own import OwnProperty

Row = dict[str, object]


def make_row(
    generated: "Generated",
    measurement: "Measurement",
    card: "Card",
    *,
    outcome: DesignOutcome,
    device: str,
    code_version: str,
    volume_sha256: str,
) -> Row:
    """Row of a structure that exists.

    Args:
        generated: the structure and the request that made it.
        measurement: its certified values; each becomes `<column>` (None without a value) and `<column>_outcome`.
        card: of the bundle.
        outcome: against the targets, judged on the certified values.
        device: that generated it.
        code_version: of the code that made it.
        volume_sha256: of its labels.
    """
    row = _head(generated.request, code_version, card)
    row |= {
        "device": device,
        "status": str(outcome),
        "reason": _reason(generated.request, measurement) if outcome is DesignOutcome.MISSED else "",
        "generate_wall_time_s": generated.wall_time_s,
        "measure_wall_time_s": measurement.wall_time_s,
        "volume_sha256": volume_sha256,
    }
    for metric, measured in measurement.values.items():
        row[metric.column] = measured.value
        row[f"{metric.column}_outcome"] = str(measured.outcome)
    return row


def make_failed_row(request: Request, failure: Failure, *, code_version: str, card: "Card | None" = None) -> Row:
    """Row of a structure that could not be made: status `failed`, no measured column, the error as its reason."""
    row = _head(request, code_version, card)
    row |= {
        "device": None,
        "status": str(DesignOutcome.FAILED),
        "reason": f"{failure.error_type}: {failure.message} (attempt {failure.attempt})",
        "generate_wall_time_s": None,
        "measure_wall_time_s": None,
        "volume_sha256": None,
    }
    return row


def request_columns(request: Request) -> Row:
    """The columns that say what was asked; with the bundle's hash and the code version they decide the voxels and what
    is measured of them."""
    materials = request.materials
    return {
        "structure_id": request.structure_id,
        "seed": request.seed,
        "shape_z": request.shape[0],
        "shape_y": request.shape[1],
        "shape_x": request.shape[2],
        "periodic": request.periodic,
        "targets": [str(target) for target in request.targets],
        "properties": [str(own) for own in request.properties],
        **asdict(request.settings),
        "materials": None if materials is None else materials.name,
        "materials_hash": None if materials is None else materials.hash,
        "materials_constants": None if materials is None else json.dumps(materials.document(), sort_keys=True),
    }


def request_of_row(row: Mapping[str, Any], bundle: str, properties: "Sequence[OwnProperty]" = ()) -> Request:
    """The request that a row answers, to be made again with `bundle`.

    Args:
        row: of a table.
        bundle: name or path.
        properties: the functions of the user's own that the row names. They are not taken from the row: a table says
            what was asked, and never which code is to run.

    Raises:
        InputError: the row does not hold all of it (an older version wrote it), or functions are missing.
    """
    stored = {text.partition("=")[0]: text for text in row.get("properties") or ()}
    missing = [text for name, text in stored.items() if name not in [own.name for own in properties]]
    if missing:
        raise InputError(
            f"structure {row['structure_id']}: was made with code of its user's own, {', '.join(missing)}; it is not "
            "run because a table names it: give it yourself with --property NAME=MODULE:FUNCTION if you trust it"
        )
    names = [field.name for field in fields(Settings)]
    # Older tables have no such columns: there was one way to guide, and one to refine.
    later = ("guidance", "slice_numbers", "refinement", "route", "guidance_weight", "candidates")
    row = {name: None for name in later} | dict(row)
    row["guidance"], row["route"] = row["guidance"] or Settings.guidance, row["route"] or Settings.route
    if row["guidance_weight"] is None:
        row["guidance_weight"] = Settings.guidance_weight
    row["candidates"] = row["candidates"] or 1
    absent = [name for name in (*names, "seed", "targets") if name not in row]
    if absent or row["guidance_iterations"] is None:
        raise InputError(
            f"structure {row['structure_id']}: its row does not say how it was made "
            f"({', '.join(absent) or 'guidance_iterations'} missing); an older version of mesoforge wrote it"
        )
    constants = row.get("materials_constants")
    return Request(
        structure_id=row["structure_id"],
        bundle=bundle,
        shape=(row["shape_z"], row["shape_y"], row["shape_x"]),
        seed=row["seed"],
        targets=tuple(parse_target(text) for text in row["targets"] or ()),
        settings=Settings(**{name: row[name] for name in names}),
        periodic=bool(row.get("periodic")),  # null in the rows of older versions
        materials=None if constants is None else _materials(constants, row["structure_id"]),
        properties=tuple(own for own in properties if own.name in stored),
        metrics=tuple(_on_request(row)),
    )


def _materials(constants: str, structure_id: str) -> "Materials":
    from engine.properties.materials import parse_materials

    return parse_materials(json.loads(constants), f"of structure {structure_id}")


def _on_request(row: Mapping[str, Any]) -> Iterator[Metric]:
    """The metrics of a row that are measured on request alone."""
    phases = [name.removeprefix("fraction_") for name in row if re.fullmatch(r"fraction_.+(?<!_outcome)", name)]
    for metric in (*all_metrics(phases), *mean_metrics(phases)):
        if (metric.is_mean or metric.kind.needs == "request") and row.get(f"{metric.column}_outcome") is not None:
            yield metric


def _head(request: Request, code_version: str, card: "Card | None") -> Row:
    return request_columns(request) | {
        "bundle": request.bundle if card is None else card.name,
        "bundle_hash": None if card is None else card.hash,
        "voxel_size_um": None if card is None else card.voxel_size_um,
        "code_version": code_version,
    }


def _reason(request: Request, measurement: "Measurement") -> str:
    """Every target that does not hold, with the value found."""
    checked = [(target, measurement.values.get(target.metric)) for target in request.targets]
    missed = [_miss(target, found) for target, found in checked if found is None or not target.holds(found.value)]
    return "; ".join(missed)


def _miss(target: Target, found: Measured | None) -> str:
    if found is None:
        return f"wanted {target}, which was not measured"
    value = "no value" if found.value is None else f"{found.value:.4g}"
    remedy = f" ({found.outcome}: {found.outcome.remedy})" if found.outcome.remedy else ""
    return f"wanted {target}, got {value}{remedy}"
