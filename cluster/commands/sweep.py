"""`mesoforge sweep`: run a study on Ray, or go on with it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.connect import check_address, connected
from cluster.resources import PoolOptions
from cluster.terminal import Interrupted, duration, phase, say, table
from engine.errors import InputError
from engine.guidance.targets import Target
from engine.request import Request

if TYPE_CHECKING:
    from engine.models.bundle import Card
    from studies.config import StudyConfig
    from studies.summary import Progress, Summary

BEST_ROWS = 5
FRONT_ROWS = 20


def sweep(
    study: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="A YAML file, or the name of a recipe that ships.")
    ] = None,
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
    check: Annotated[
        bool, typer.Option("--check", help="Check everything, print the plan with time and disk; write nothing.")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of study files, for editors that complete YAML.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
) -> None:
    """Search a design space: generate, measure and certify structures, write them as Parquet, print the best.

    Stop it at any time (Ctrl-C, or even a kill): the same command goes on, nothing finished is lost or repeated. A
    finished study goes on with a higher --trials.

    \b
    Examples:
      mesoforge sweep berea_transport
      mesoforge sweep my_study.yaml --out runs/first --check
      mesoforge sweep --schema > study.schema.json
    """
    if schema:
        from studies.yaml_file import json_schema

        print(json.dumps(json_schema(), indent=1))
        return
    if study is None:
        raise InputError("sweep: give a study file or the name of a recipe, such as berea_transport")
    from actors.places import check_local, parse_store
    from cluster.plan import estimate, plan_lines
    from studies.doubts import doubts_of
    from studies.folder import check_folder
    from studies.reading import load_study

    config = load_study(study)
    if trials is not None:
        if trials < 1:
            raise InputError(f"--trials {trials}: must be at least 1")
        config = replace(config, budget=replace(config.budget, trials=trials))
    folder = out if out is not None else Path("runs") / config.name
    check_local(folder)
    goes_on = check_folder(config, folder)
    cards = _check_bundles(config)
    check_address(address)
    if volumes is not None:
        parse_store(volumes)
    doubts = doubts_of(config, cards)
    for text in doubts:
        say(f"warning: {text}")
    if check:
        lines = plan_lines(config, folder, estimate(config, folder), goes_on=goes_on, address=address)
        print("\n".join([config.text().rstrip(), "", *lines]))
        return
    options = PoolOptions(cpus_per_actor=cpus_per_actor, structure_timeout_s=structure_timeout_s, volumes=volumes)
    summary = _run(config, folder, address, nodes, options)
    best = best_table(config, folder, summary)
    if json_output:
        document = summary.document() | {"best_rows": best, "warnings": doubts}
        print(json.dumps(document, indent=1, default=str, allow_nan=False))
    else:
        lines = summary.lines()
        print("\n".join(lines[:-1] if summary.interrupted else lines))  # the last then says what `Interrupted` says
        if summary.coverage is not None and summary.coverage.picture:
            print("\n" + "\n".join(summary.coverage.picture))
        if best:
            print(f"\n{_title(config, summary)}:")
            print(table(list(best[0]), [list(row.values()) for row in best]))
        print(f'\nnext: mesoforge query {folder} "SELECT * FROM structures"')
    if summary.interrupted:
        raise Interrupted(f"every finished structure is kept in {folder}; give the same command again to go on")


def _check_bundles(config: "StudyConfig") -> "dict[str, Card]":
    """Refuse now what every worker would refuse: a damaged bundle, a shape or a target that cannot be generated.
    Returns the bundles' cards by the study's names."""
    from engine.design import check_request
    from engine.guidance.volume import check_guided
    from engine.models.bundle import load_bundle
    from engine.properties.own import check_properties
    from engine.selection import guided_targets

    cards = {}
    for bundle in config.bundles:
        card = cards[bundle.name] = load_bundle(bundle.name).card  # whole, and its weights fit
        for shape in config.shapes:
            check_request(Request(structure_id="any", bundle=bundle.name, shape=shape, seed=0), card)
        entries = [Target(metric=entry.metric, low=0.0) for entry in config.target_entries]
        for constants in config.constants:
            targets = guided_targets([*config.targets, *entries])
            check_guided(targets, bundle.phases, constants, card.training_means, config.properties)
        check_properties(config.properties, config.metrics, len(bundle.phases))
    return cards


def best_table(config: "StudyConfig", folder: Path, summary: "Summary") -> list[dict[str, Any]]:
    """The best structures of one objective, the trials of a Pareto front; empty for a map."""
    from studies.config import Mode

    if not summary.best:
        return []
    if config.mode is Mode.BEST:
        from studies.query import best_rows

        rows: list[dict[str, Any]] = best_rows(folder, BEST_ROWS).to_pylist()
        return rows
    names = [str(objective.metric) for objective in config.objectives]
    return [{"trial": best.trial, **dict(zip(names, best.values, strict=True))} for best in summary.best[:FRONT_ROWS]]


def _title(config: "StudyConfig", summary: "Summary") -> str:
    from studies.config import Mode

    if config.mode is Mode.BEST:
        return f"best structures by {config.objectives[0].metric}"
    shown = f", the first {FRONT_ROWS} of {len(summary.best)} trials" if len(summary.best) > FRONT_ROWS else ""
    return f"Pareto front, mean of each trial{shown}"


def _run(config: "StudyConfig", folder: Path, address: str, nodes: int, options: PoolOptions) -> "Summary":
    from cluster.resources import make_pool
    from engine.properties.own import sources
    from studies.folder import hold_study
    from studies.loop import run_study

    # first: of an address that is no Ray one line is said, the error's
    with connected(address, nodes, sources(config.properties)) as resources:
        names = ", ".join(bundle.name for bundle in config.bundles)
        bundles = f"bundle{'s' if len(config.bundles) > 1 else ''} {names}"
        say(f"study {config.name}: {config.budget}, {bundles}, into {folder}")
        say(str(resources))
        # The study is held before the pool exists: a second driver must not touch the folder of a running one.
        with (
            hold_study(config, folder),
            make_pool(
                folder, resources, [bundle.name for bundle in config.bundles], options, config.properties
            ) as pool,
            phase("sweep", config.budget.trials or 0, unit="trials", says_left=True) as bar,
        ):
            return run_study(config, folder, pool, lambda now: bar.update(now.trials_done, _note(now)))


def _note(now: "Progress") -> str:
    if now.stopping:
        return "stopping: what is generated is measured and kept; Ctrl-C again abandons it"
    parts = [f"{now.structures_per_s:.2f} structures/s"]
    if now.best:
        parts.append(f"best {now.best}" if " = " in now.best else now.best)
    if now.eta_s is not None and now.trials_done < (now.trials_total or 0):
        parts.append(f"{duration(now.eta_s)} left")
    if now.failures:
        parts.append(f"{now.failures} failed")
    return ", ".join(parts)
