"""`mesoforge sweep`: run a study on Ray, or go on with it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.connect import check_address, connected
from cluster.resources import PoolOptions
from cluster.terminal import Interrupted, duration, phase, say, table
from engine.errors import InputError
from engine.guidance.targets import Target
from engine.metrics import Metric
from engine.request import Request

if TYPE_CHECKING:
    from studies.config import StudyConfig
    from studies.summary import Progress, Summary

BEST_ROWS = 5


def sweep(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A YAML file, or the name of a recipe that ships.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Results folder.", show_default="runs/<name of the study>"),
    ] = None,
    address: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="local starts a fresh Ray here; auto, host:port or ray://host:port join one."
        ),
    ] = "local",
    nodes: Annotated[
        int, typer.Option(metavar="N", min=1, help="Of a cluster: begin once it has N nodes.", show_default=False)
    ] = 1,
    cpus_per_actor: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Cores per design actor, where there is no GPU.", show_default="those of a node"
        ),
    ] = None,
    volumes: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Volumes go to s3://BUCKET/PREFIX or gs://…; rows stay in the folder."),
    ] = None,
    structure_timeout_s: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=1.0, help="Give a structure up that takes longer.", show_default="3600"),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(metavar="N", help="Trials to finish, instead of the study's own number.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Check everything and print the plan; run nothing.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
) -> None:
    """Search a design space: generate, measure and certify structures, write them as Parquet, print the best.

    Stop it at any time (Ctrl-C, or even a kill): the same command goes on, nothing finished is lost or repeated.

    \b
    Examples:
      mesoforge sweep berea_transport
      mesoforge sweep my_study.yaml --out runs/first --check
    """
    from actors.places import check_local, parse_store
    from engine.design import check_request
    from engine.guidance.volume import check_guided
    from engine.models.bundle import load_bundle
    from studies.config import load_study
    from studies.folder import check_folder
    from studies.query import best_rows

    config = load_study(study)
    if trials is not None:
        if trials < 1:
            raise InputError(f"--trials {trials}: must be at least 1")
        config = replace(config, trials=trials)
    folder = out if out is not None else Path("runs") / config.name
    check_local(folder)
    goes_on = check_folder(config, folder)
    load_bundle(config.bundle)  # whole, and fits its card: seen here, not by every worker
    check_request(Request(structure_id="any", bundle=config.bundle, shape=config.shape, seed=0), config.phases)
    check_guided([*config.targets, *(Target(metric=metric, low=0.0) for metric in _searched(config))])
    check_address(address)
    if volumes is not None:
        parse_store(volumes)
    if check:
        print(_plan(config, folder, goes_on=goes_on, address=address))
        return
    options = PoolOptions(cpus_per_actor=cpus_per_actor, structure_timeout_s=structure_timeout_s, volumes=volumes)
    summary = _run(config, folder, address, nodes, options)
    best = best_rows(folder, BEST_ROWS).to_pylist() if summary.best else []
    if json_output:
        print(json.dumps(summary.document() | {"best_rows": best}, indent=1, default=str, allow_nan=False))
    else:
        lines = summary.lines()
        print("\n".join(lines[:-1] if summary.interrupted else lines))  # the last then says what `Interrupted` says
        if best:
            print(f"\nbest structures by {config.objective.metric}:")
            print(table(list(best[0]), [list(row.values()) for row in best]))
        print(f'\nnext: mesoforge query {folder} "SELECT * FROM structures"')
    if summary.interrupted:
        raise Interrupted(f"every finished structure is kept in {folder}; give the same command again to go on")


def _searched(config: "StudyConfig") -> list[Metric]:
    from studies.search import TargetSearch

    return [entry.metric for entry in config.search if isinstance(entry, TargetSearch)]


def _plan(config: "StudyConfig", folder: Path, *, goes_on: bool, address: str) -> str:
    count = config.trials * config.samples
    where = "goes on with the study there" if goes_on else "new"
    return (
        f"{config.text().rstrip()}\n\n"
        f"plan: {config.trials} trials of {config.samples} structure{'s' if config.samples > 1 else ''} "
        f"({count} volumes of {'x'.join(map(str, config.shape))}), on Ray at {address}, into {folder} ({where})"
    )


def _run(config: "StudyConfig", folder: Path, address: str, nodes: int, options: PoolOptions) -> "Summary":
    from cluster.resources import make_pool
    from studies.folder import hold_study
    from studies.loop import run_study

    with connected(address, nodes) as resources:  # first: of an address that is no Ray one line is said, the error's
        say(f"study {config.name}: {config.trials} trials, bundle {config.bundle}, into {folder}")
        say(str(resources))
        # The study is held before the pool exists: a second driver must not touch the folder of a running one.
        with (
            hold_study(config, folder),
            make_pool(folder, resources, [config.bundle], options) as pool,
            phase("sweep", config.trials, unit="trials") as bar,
        ):
            return run_study(config, folder, pool, lambda now: bar.update(now.trials_done, _note(now)))


def _note(now: "Progress") -> str:
    parts = [f"{now.structures_per_s:.2f} structures/s"]
    if now.best is not None:
        parts.append(f"best {now.best[1]}")
    if now.eta_s is not None and now.trials_done < now.trials_total:
        parts.append(f"{duration(now.eta_s)} left")
    if now.failures:
        parts.append(f"{now.failures} failed")
    return ", ".join(parts)
