"""`mesoforge compact`: many small result files into few."""

import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cluster.terminal import Bar, kept_on_interrupt, phase, size_text, table


def compact(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep.")],
    json_output: Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")] = False,
) -> None:
    """Merge the many small files of a sweep into few; every row and volume stays as it is.

    Makes queries over thousands of structures faster, and copying the folder too. Not while a sweep works in the
    folder. It may be stopped or killed at any moment: no row is lost, none counts twice; the same command goes on.

    \b
    Example:
      mesoforge compact runs/berea_transport
    """
    from studies.compact import compact as run_compact

    with ExitStack() as bars, kept_on_interrupt("no row was lost; give the same command again to go on"):
        running: dict[str, Bar] = {}

        def on_progress(name: str, done: int, total: int) -> None:
            if name not in running:
                bars.close()  # of the kind before
                running[name] = bars.enter_context(phase(name, total, unit="files"))
            running[name].update(done)

        results = run_compact(folder, on_progress)
    if json_output:
        print(json.dumps([asdict(result) for result in results], indent=1))
        return
    rows = [
        [
            result.name,
            result.rows,
            result.files_before,
            result.files_after,
            size_text(result.bytes_before),
            size_text(result.bytes_after),
        ]
        for result in results
    ]
    print(table(["kind", "rows", "files before", "after", "size before", "after"], rows))
