"""`mesoforge report`: what came of a study as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.terminal import kept_on_interrupt, phase, say, size_text
from engine.errors import InputError, WorkError


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep, reconstruct or design.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file to write.", show_default="DIR/report.html"),
    ] = None,
    volumes: Annotated[
        int, typer.Option(metavar="N", help="Structures that can be turned and cut in the page, at most.")
    ] = 24,
    pictures: Annotated[
        int, typer.Option(metavar="N", help="Structures that show a picture under the mouse, at most.")
    ] = 150,
) -> None:
    """Write a report that opens in any browser, without network: one file to keep or to send.

    Structure-property map with the best compromises, attainment of targets, curves against the training data,
    coverage, convergence, failures by reason, provenance; a click on a point shows the structure in 3D.

    \b
    Examples:
      mesoforge report runs/berea_transport
      mesoforge report volumes --out volumes.html --volumes 50
    """
    from studies.folder import REPORT_FILE
    from studies.query import check_results
    from studies.report.page import write_report

    for name, count in (("--volumes", volumes), ("--pictures", pictures)):
        if count < 0:
            raise InputError(f"{name} {count}: must be 0 or above")
    check_results(folder)
    path = out if out is not None else folder / REPORT_FILE
    if path.is_dir():
        raise InputError(f"--out {path}: is a folder; name a file, such as {path / REPORT_FILE}")
    if path.exists() and not path.is_file():  # a device or a pipe would be replaced by the page
        raise InputError(f"--out {path}: is no ordinary file; name one, such as {REPORT_FILE}")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: the folder {path.parent} does not exist; make it first")
    try:
        with kept_on_interrupt("no report was written"), phase("pictures", 0, unit="volumes") as bar:
            written = write_report(
                folder,
                path,
                pictures=pictures,
                volumes=volumes,
                on_progress=lambda done, total: bar.update(done, total=total),
            )
    except OSError as error:
        raise WorkError(
            f"{path}: could not be written ({error.strerror or error}); free some space or give another --out"
        ) from error
    say(
        f"{written.structures} structures, {written.pictures} with a picture, {written.volumes} in 3D, "
        f"{size_text(written.bytes)}"
    )
    print(written.path)
