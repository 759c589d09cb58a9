"""The report: everything that the page needs as one document, and the page around it.

The page holds the drawing library, the data, pictures, and the voxels of a bounded number of structures, and its
content security policy forbids it to load anything: what it shows is in it. Every name from a study reaches the page
through Jinja's escaping or as JSON that the page's script puts into text nodes.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import InputError
from engine.models.bundle import Card, read_card
from engine.outcomes import Outcome
from engine.plots.style import phase_colour
from engine.version import code_version
from studies.report.choose import Axes, best_first, choose_axes, feasible, front, spread_out
from studies.report.curves import BAND, curve_sets
from studies.report.embed import column, embed
from studies.report.judge import attainment, failures, outcomes_of
from studies.report.rows import STATUSES, Rows
from studies.results import Results
from studies.trials import trials_table

GALLERY = 8  # best structures shown as cards
FRONT = 12  # of the best compromises, so many get their voxels into the page before others
Report = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a report came to be."""

    path: Path
    bytes: int
    structures: int
    pictures: int
    volumes: int
    """Structures whose voxels are in the page."""


def write_report(
    out: Path,
    path: Path,
    *,
    pictures: int = 150,
    volumes: int = 24,
    on_progress: Report = lambda done, total: None,
) -> Written:
    """Write the report of a results folder as one HTML file, whole or not at all.

    Args:
        out: folder of a sweep, `reconstruct` or `design`.
        path: the file to write.
        pictures: most structures that get a picture.
        volumes: most structures that can be turned and cut in the page.
        on_progress: called with volumes read and volumes to read.

    Raises:
        InputError: the folder holds no results.
        OSError: the file could not be written.
    """
    results, rows = Results(out), Rows(out)
    document, shown = _document(rows, results, pictures, volumes, on_progress)
    text = render(document, shown)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return Written(
        path=path,
        bytes=len(text.encode()),
        structures=len(rows),
        pictures=len(document["pictures"]),
        volumes=len(document["volumes"]),
    )


def render(document: dict[str, Any], shown: dict[str, Any]) -> str:
    """The page.

    Args:
        document: for the script; any text in it may be hostile.
        shown: for the template.
    """
    import jinja2
    from plotly.offline import get_plotlyjs

    folder = resources.files("studies.report")
    files = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "page.css")}
    scripts = [folder.joinpath(name).read_text(encoding="utf-8") for name in ("viewer.js", "charts.js", "page.js")]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(files["page.html"]).render(
        shown,
        css=files["page.css"],
        plotly=get_plotlyjs(),
        script="\n".join(scripts),
        data=_script_json(document),
    )


def _script_json(document: dict[str, Any]) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _document(
    rows: Rows, results: Results, pictures: int, volumes: int, on_progress: Report
) -> tuple[dict[str, Any], dict[str, Any]]:
    card = _card(rows)
    axes, best = choose_axes(rows), best_first(rows)
    x, y = rows.columns[axes.x].values, rows.columns[axes.y].values
    good = feasible(rows)
    on_front = front(np.where(good, x, np.nan), np.where(good, y, np.nan), more_x=axes.more_x, more_y=axes.more_y)
    points = np.stack([rows.columns[place].values for place in dict.fromkeys((axes.x, axes.y, *axes.matrix))], axis=1)
    stored = results.stored()
    there = np.array([name in stored for name in rows.ids])
    first = [row for row in [*best[:GALLERY], *on_front[:FRONT]] if there[row]]
    points = np.where(there[:, None], points, np.nan)
    chosen = spread_out(points, first, volumes)
    pictured = spread_out(points, chosen, pictures) if pictures else []
    labels = [phase.label for phase in card.phases] if card else []
    images, voxels = embed(results, rows.ids, pictured, chosen, labels, on_progress)
    names = [phase.name for phase in card.phases] if card else rows.phases
    document = {
        "ids": rows.ids,
        "trial": [int(value) if np.isfinite(value) else -1 for value in rows.numbers("trial")],
        "seed": rows.texts("seed"),
        "status": rows.status.tolist(),
        "statuses": list(STATUSES),
        "columns": [
            {"label": each.label, "unit": each.unit, "meaning": each.meaning, "values": column(each.values)}
            for each in rows.columns
        ],
        "asked": [
            {"label": str(metric), "column": rows.place(str(metric))}
            | dict(zip(("low", "high"), (column(_finite(limit)) for limit in rows.asked(metric)), strict=True))
            for metric in rows.targeted
        ],
        "constraints": [
            {"column": rows.place(str(target.metric)), "low": _limit(target.low), "high": _limit(target.high)}
            for target in rows.constraints
        ],
        "axes": _axes(axes),
        "phases": [{"name": name, "colour": phase_colour(index)} for index, name in enumerate(names)],
        "voxel_size_um": _voxel_size(rows),
        "curves": curve_sets(rows, best, card),
        "band": list(BAND),
        "trials": _trials(rows),
        "pictures": images,
        "volumes": voxels,
        "folder": str(rows.out),
    }
    return document, _shown(rows, card, best[:GALLERY], images, document)


def _card(rows: Rows) -> Card | None:
    """Of the bundle that made the structures, where it is still at hand and the same."""
    hashes = rows.distinct("bundle_hash")
    for name in [str(rows.study.get("bundle") or ""), *rows.distinct("bundle")]:
        try:
            card = read_card(name) if name else None
        except InputError:
            continue
        if card is not None and (not hashes or card.hash in hashes):
            return card
    return None


def _finite(limit: np.ndarray) -> np.ndarray:
    """An open side becomes a number that float32 and JSON hold, beyond anything measured."""
    return np.nan_to_num(limit, nan=np.nan, posinf=3e38, neginf=-3e38)


def _limit(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _axes(axes: Axes) -> dict[str, Any]:
    return {"x": axes.x, "y": axes.y, "more_x": axes.more_x, "more_y": axes.more_y, "matrix": list(axes.matrix)}


def _voxel_size(rows: Rows) -> float | None:
    sizes = rows.numbers("voxel_size_um")
    known = sizes[np.isfinite(sizes)]
    return float(known[0]) if len(known) and (known == known[0]).all() else None


def _trials(rows: Rows) -> dict[str, Any]:
    """Objectives by trial, for the convergence."""
    table = trials_table(rows.out)
    names: list[str] = []
    for metric, _ in rows.objectives:  # of several, the trial's means are its values
        mean = f"of {metric} over"
        achieved = [
            field.name for field in table.schema if mean in (field.metadata or {}).get(b"meaning", b"").decode()
        ]
        names += ["value"] if len(rows.objectives) == 1 else achieved[:1]
    return {
        "trial": table["trial"].to_pylist(),
        "feasible": table["feasible"].to_pylist(),
        "values": [table[name].to_pylist() for name in names],
        "objectives": [{"label": str(metric), "more": more} for metric, more in rows.objectives]
        if len(names) == len(rows.objectives)
        else [],
    }


def _shown(
    rows: Rows, card: Card | None, best: list[int], images: dict[int, str], document: dict[str, Any]
) -> dict[str, Any]:
    counts = {name: int((rows.status == place).sum()) for place, name in enumerate(STATUSES)}
    trials = document["trials"]
    rated = attainment(rows)
    axes = document["axes"]
    keys = list(dict.fromkeys((axes["y"], axes["x"], *axes["matrix"])))[:3]
    return {
        "title": str(rows.study.get("name") or rows.out.resolve().name),
        "kind": "study" if rows.study else "folder",
        "material": card.material if card else "",
        "structures": len(rows),
        "counts": {name: count for name, count in counts.items() if count},
        "trials": len(trials["trial"]),
        "objectives": [f"{'maximise' if more else 'minimise'} {metric}" for metric, more in rows.objectives],
        "constraints": [str(target) for target in rows.constraints],
        "attainment": rated,
        "together": rated[-1] if rated else None,
        "failures": failures(rows),
        "outcomes": outcomes_of(rows),
        "best": [
            {
                "row": row,
                "id": rows.ids[row],
                "picture": images.get(row, ""),
                "status": STATUSES[rows.status[row]],
                "values": [
                    (rows.columns[key].label, f"{rows.columns[key].values[row]:.4g}", rows.columns[key].unit)
                    for key in keys
                    if np.isfinite(rows.columns[key].values[row])
                ],
            }
            for row in best
        ],
        "provenance": _provenance(rows, card),
        "study_text": rows.study_text,
        "embedded": len(document["volumes"]),
        "pictured": len(images),
        "converges": bool(trials["objectives"])
        and any(value is not None for values in trials["values"] for value in values),
        "curves": len(document["curves"]),
        "has_training": any(entry["training"] for entry in document["curves"]),
        "asked": len(document["asked"]),
        "folder": str(rows.out),
        "remedies": {str(outcome): outcome.remedy for outcome in Outcome},
    }


def _provenance(rows: Rows, card: Card | None) -> list[tuple[str, str]]:
    sides = np.stack([rows.numbers(f"shape_{axis}") for axis in "zyx"], axis=1)
    shapes = {" × ".join(f"{side:.0f}" for side in shape) for shape in sides if np.isfinite(shape).all()}
    size = _voxel_size(rows)
    generated, measured = rows.numbers("generate_wall_time_s"), rows.numbers("measure_wall_time_s")
    facts = [
        ("folder", str(rows.out)),
        ("bundle", ", ".join(rows.distinct("bundle"))),
        ("bundle sha256", ", ".join(rows.distinct("bundle_hash"))),
        ("material", card.material if card else ""),
        ("training data", card.source if card else ""),
        ("licence of the data", card.licence if card else ""),
        ("trained by", str(card.training.get("command", "")) if card else ""),
        ("shape (z, y, x)", ", ".join(sorted(shapes))),
        ("voxel size", f"{size:g} µm" if size else ""),
        ("sampler", ", ".join(rows.distinct("sampler"))),
        ("device", ", ".join(rows.distinct("device"))),
        ("code version", ", ".join(rows.distinct("code_version"))),
        ("generation per structure", _seconds(generated)),
        ("measurement per structure", _seconds(measured)),
        ("report", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, mesoforge {code_version()}"),
    ]
    return [(name, text) for name, text in facts if text]


def _seconds(times: np.ndarray) -> str:
    known = times[np.isfinite(times)]
    if not len(known):
        return ""
    return f"{np.median(known):.3g} s (median), {np.sum(known) / 3600:.2g} h in all"
