"""`mesoforge characterize`: what a volume of any origin is, and what it conducts."""

import json
import re
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.terminal import phase, table
from engine.errors import InputError

if TYPE_CHECKING:
    from engine.design import Measurement
    from engine.models.bundle import Phase

BETWEEN_METRICS = re.compile(r",(?![^\[]*\])")
"""A comma outside brackets."""


def characterize(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Labelled volumes: TIFF or NPY.")],
    phases: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Names of the labels in ascending order; default: the labels."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="METRIC,METRIC", help="Show these only, such as 'fraction[pore],diffusivity[pore,z]'."),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, curves included, instead of tables.")
    ] = False,
) -> None:
    """Measure labelled volumes: fractions, surface area, diffusivity along z, y and x (certified by TauFactor), S2.

    \b
    Examples:
      mesoforge characterize rock.tif --phases pore,solid
      mesoforge characterize volumes/*.tif --json > measured.json
    """
    from engine.design import measure
    from engine.export.volumes import read_labels
    from engine.metrics import parse_metric

    read = []
    for file in files:
        labels = read_labels(file)
        read.append((file, labels, _phases(file, labels, phases)))
    wanted: list[str] = []
    for _, _, found in read:
        names = [each.name for each in found]
        wanted = [str(parse_metric(text, names)) for text in BETWEEN_METRICS.split(metrics)] if metrics else []

    documents = []
    with phase("measuring", len(read), unit="volumes") as bar:
        for done, (file, labels, found) in enumerate(read):
            bar.update(done, file)
            measurement = measure(labels, found)
            document = {"file": file, "shape": list(labels.shape), **_document(measurement, found)}
            if wanted:
                document["metrics"] = {name: document["metrics"][name] for name in wanted}
            documents.append(document)
        bar.update(len(read))
    if json_output:
        print(json.dumps({"volumes": documents}, indent=1, allow_nan=False))
        return
    for document in documents:
        print(f"{document['file']}  {'x'.join(map(str, document['shape']))} voxels (z, y, x)")
        rows = [[name, entry["value"], entry["outcome"]] for name, entry in document["metrics"].items()]
        print(table(["metric", "value", "outcome"], rows))
        print()


def _phases(file: str, labels: "object", names: str | None) -> "list[Phase]":
    """The phases of a volume: one per label, named by the label or by the user."""
    import numpy as np

    from engine.models.bundle import Phase

    found, counts = np.unique(np.asarray(labels), return_counts=True)
    given = [str(label) for label in found] if names is None else [name.strip() for name in names.split(",")]
    if len(given) != len(found) or len(set(given)) != len(given):
        listed = ", ".join(map(str, found))
        raise InputError(f"{file}: {len(found)} labels ({listed}) but --phases names {len(given)}: {', '.join(given)}")
    total = counts.sum()
    return [
        Phase(name=name, label=int(label), fraction=float(count / total))
        for name, label, count in zip(given, found, counts, strict=True)
    ]


def _document(measurement: "Measurement", phases: "list[Phase]") -> dict:
    return {
        "phases": {found.name: found.label for found in phases},
        "metrics": {
            str(metric): {"value": measured.value, "outcome": str(measured.outcome)}
            for metric, measured in measurement.values.items()
        },
        "curves": {name: [float(value) for value in values] for name, values in measurement.curves.items()},
    }
