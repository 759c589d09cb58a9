"""`mesoforge characterize`: what a volume or image of any origin is, and what a volume conducts."""

import json
import math
import re
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.measured_files import LabelledFile, check_picture, draw_page, read_labelled, reference_blocks
from cluster.terminal import phase, table
from engine.errors import InputError

if TYPE_CHECKING:
    from engine.measure import Measurement
    from engine.metrics import Metric

BETWEEN_METRICS = re.compile(r",(?![^\[]*\])")
"""A comma outside brackets."""


def characterize(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Labelled volumes or images: TIFF, NPY or PNG.")
    ],
    phases: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Names of the labels in ascending order; default: the labels."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="METRIC,METRIC", help="Measure these only, such as 'fraction[pore],diffusivity[pore,z]'."),
    ] = None,
    materials: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.yaml",
            help="What the phases are made of (docs/properties.md): adds conductivity, elastic moduli, expansion.",
        ),
    ] = None,
    periodic: Annotated[
        bool,
        typer.Option(
            "--periodic",
            help="The structure goes on beyond its border, as those of synth do: nothing is cut, sides are not sealed.",
        ),
    ] = False,
    certify: Annotated[
        bool,
        typer.Option(
            help="Solve the diffusivities with TauFactor, beside our own solver; without, by the latter alone (sooner)."
        ),
    ] = True,
    voxel_size_um: Annotated[
        float | None,
        typer.Option(metavar="V", help="Side of a voxel in micrometres; default: what the file says."),
    ] = None,
    picture: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.png", help="Draw one page on one FILE: slices, curves, the field of a solve (PNG, PDF, SVG)."
        ),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="With --picture: a volume or image whose blocks give the curves a band. May be repeated.",
        ),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, curves included, instead of tables.")
    ] = False,
) -> None:
    """Measure labelled volumes and images: fractions, surface, chords, pore and grain sizes, connectivity, Euler
    number, triple lines, the curves S2, lineal path and chord lengths; diffusivity, with --materials conductivity,
    elastic moduli and thermal expansion, and permeability where --metrics asks for it. Of an image, the properties are
    those of a body that has this section everywhere.

    \b
    Examples:
      mesoforge characterize rock.tif --phases pore,solid --picture rock.png
      mesoforge characterize volumes/*.tif --json > measured.json
    """
    from engine.measure import measure
    from engine.metrics import parse_metric
    from engine.properties.materials import load_materials

    substances = load_materials(materials) if materials is not None else None
    if voxel_size_um is not None and not (math.isfinite(voxel_size_um) and voxel_size_um > 0):
        raise InputError(f"--voxel-size-um: must be a positive length in micrometres, not {voxel_size_um}")
    if picture is not None:
        check_picture(picture, files)
    elif reference:
        raise InputError("--reference: is drawn in the picture; add --picture FILE.png")
    read = [read_labelled(file, phases, voxel_size_um) for file in files]
    compared = reference_blocks(reference or [], read[0])
    wanted: list[Metric] = []
    for each in read:
        names = [found.name for found in each.phases]
        wanted = [parse_metric(text, names) for text in BETWEEN_METRICS.split(metrics)] if metrics else []
        for metric in wanted:
            if each.labels.ndim == 2 and "z" in (metric.axis or ""):
                raise InputError(f"{each.file}: is an image, which has no {metric}; leave it out or give a volume")

    documents = []
    with phase("measuring", len(read), unit="volumes" if read[0].labels.ndim == 3 else "images") as bar:
        for done, each in enumerate(read):

            def note(what: str, done: int = done, file: str = each.file) -> None:
                bar.update(done, f"{file}: {what}")

            measurement = measure(
                each.labels,
                each.phases,
                metrics=wanted or None,
                materials=substances,
                certify=certify,
                periodic=periodic,
                note=note,
            )
            documents.append({**_document(each, measurement, wanted), "periodic": periodic})
            if picture is not None:
                note("picture")
                draw_page(each, measurement, compared, picture, periodic)
        bar.update(len(read))
    if json_output:
        print(json.dumps({"volumes": documents}, indent=1, allow_nan=False))
        return
    for each, document in zip(read, documents, strict=True):
        print(_text(each, document))
        print()


def _document(read: LabelledFile, measurement: "Measurement", wanted: "list[Metric]") -> dict:
    """What is known of one file, as JSON."""
    from engine.metrics import in_micrometres

    dims = read.labels.ndim
    values = {metric: measurement.values[metric] for metric in wanted or measurement.values}
    document: dict = {
        "file": read.file,
        "shape": list(read.labels.shape),
        "voxel_size_um": read.voxel_size_um,
        "phases": {found.name: found.label for found in read.phases},
        "metrics": {
            str(metric): {"value": measured.value, "outcome": str(measured.outcome)}
            for metric, measured in values.items()
        },
        "units": {str(metric): metric.kind.unit_of(dims) for metric in values},
        "curves": {name: [float(value) for value in curve] for name, curve in measurement.curves.items()},
    }
    if read.voxel_size_um is not None:
        size = read.voxel_size_um
        scaled = {
            str(metric): in_micrometres(measured.value, metric.kind.unit_of(dims), size)
            for metric, measured in values.items()
            if measured.value is not None
        }
        document["in_micrometres"] = {
            name: {"value": each[0], "unit": each[1]} for name, each in scaled.items() if each is not None
        }
    return document


def _text(read: LabelledFile, document: dict) -> str:
    """Title, table, and below it what can be done about outcomes that are not good."""
    from engine.outcomes import Outcome

    axes = "z, y, x" if read.labels.ndim == 3 else "y, x"
    size = "" if read.voxel_size_um is None else f", voxel {read.voxel_size_um:g} um"
    lines = [f"{read.file}  {'x'.join(map(str, read.labels.shape))} voxels ({axes}){size}"]
    headers = ["metric", "value", "unit"]
    scaled = document.get("in_micrometres")
    rows = []
    for name, entry in document["metrics"].items():
        row = [name, entry["value"], document["units"][name]]
        if scaled:
            row += [scaled[name]["value"], scaled[name]["unit"]] if name in scaled else [None, ""]
        rows.append([*row, entry["outcome"]])
    headers += ["in um", ""] if scaled else []
    lines.append(table([*headers, "outcome"], rows))
    seen = dict.fromkeys(Outcome(entry["outcome"]) for entry in document["metrics"].values())
    lines += [f"{outcome}: {outcome.remedy}" for outcome in seen if outcome.remedy]
    return "\n".join(lines)
