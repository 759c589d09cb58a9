"""`mesoforge reconstruct` and `mesoforge design`: volumes from a bundle, without and with targets."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.structures import StructureSet
from cluster.terminal import kept_on_interrupt, phase, say, table
from engine.errors import InputError
from engine.guidance.targets import parse_target
from engine.metrics import Metric
from engine.request import Settings

if TYPE_CHECKING:
    from actors.rows import Row
    from engine.design import Generated, Measurement
    from engine.models.bundle import Card
    from engine.outcomes import DesignOutcome

BATCH = 8
"""Structures generated together: the networks of one batch share their calls, and a batch is kept when it is done."""

Model = Annotated[str, typer.Option("--model", metavar="M", help="Bundle: a name of `mesoforge models`, or a path.")]
Count = Annotated[int, typer.Option("--count", metavar="N", help="How many structures.")]
Size = Annotated[int | None, typer.Option("--size", metavar="V", help="Voxels on a side of a cube.", show_default="64")]
Shape = Annotated[
    str | None, typer.Option("--shape", metavar="Z,Y,X", help="Voxels along each axis, instead of --size.")
]
Periodic = Annotated[
    bool, typer.Option("--periodic", help="Opposite faces join; the volume is measured as a periodic one too.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="S", help="The only source of randomness.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the volumes and structures.parquet.")]
Format = Annotated[
    str, typer.Option("--format", metavar="tiff,npy,...", help="Files of the volumes: tiff, npy, vti, stl, inp.")
]
Sampler = Annotated[
    str,
    typer.Option("--sampler", metavar="NAME", help="spectral; mpdd or harmonized (published multi-plane procedures)."),
]
Solver = Annotated[
    str | None, typer.Option("--solver", metavar="NAME", help="ddim, ddpm or dpm++; default: the bundle's.")
]
Steps = Annotated[int | None, typer.Option("--steps", metavar="N", help="Denoising steps; default: the bundle's.")]
Eta = Annotated[
    float | None, typer.Option("--eta", metavar="E", help="0 deterministic ... 1 ancestral; default: the bundle's.")
]
Passes = Annotated[
    int, typer.Option("--harmonizing-passes", metavar="N", help="With harmonized: repeats of each step (n_h).")
]
Blend = Annotated[
    float, typer.Option("--harmonizing-blend", metavar="G", help="With harmonized: share of the re-noised volume (γ).")
]

Guided = Annotated[
    str,
    typer.Option("--guidance", metavar="NAME", help="volume; volume-sds; sds-slices (published, slice by slice)."),
]
SliceNumbers = Annotated[
    str | None,
    typer.Option(
        "--slice-numbers",
        metavar="NAME=N,...",
        help="With sds-slices: steps, rate, rounds and weights; default: published.",
    ),
]
Refining = Annotated[
    str | None,
    typer.Option("--refinement", metavar="NAME", help="What a pass after decoding does: sdedit, or rounds (MicroLad)."),
]
RefinePasses = Annotated[
    int | None, typer.Option("--refine-passes", metavar="N", help="Passes after decoding; default: the bundle's.")
]
Routed = Annotated[
    str,
    typer.Option("--route", metavar="NAME", help="guided, conditioned, sampler, conditioned+guided or auto."),
]
Weight = Annotated[
    float,
    typer.Option("--guidance-weight", metavar="W", help="Weighs what the network is told (omega); 1 is that alone."),
]


def reconstruct(
    model: Model,
    out: Out,
    count: Count = 1,
    size: Size = None,
    shape: Shape = None,
    periodic: Periodic = False,
    seed: Seed = 0,
    format: Format = "tiff",
    sampler: Sampler = "spectral",
    solver: Solver = None,
    steps: Steps = None,
    eta: Eta = None,
    harmonizing_passes: Passes = Settings.harmonizing_passes,
    harmonizing_blend: Blend = Settings.harmonizing_blend,
    refinement: Refining = None,
    refine_passes: RefinePasses = None,
    guidance_weight: Weight = Settings.guidance_weight,
) -> None:
    """Generate 3D volumes that look like the bundle's material, and measure them.

    Stopped and given again, the same command makes what is missing; a higher --count adds to it.

    \b
    Examples:
      mesoforge reconstruct --model berea --count 4 --size 64 --seed 1 --out volumes
      mesoforge reconstruct --model my_bundle --shape 64,96,96 --seed 1 --out slabs --format tiff,vti,stl
      mesoforge reconstruct --model berea --size 128 --periodic --out cells
    """
    settings = Settings(
        sampler=sampler,  # type: ignore[arg-type]  # checked there, as are the solver and the refinement
        solver=solver,  # type: ignore[arg-type]
        steps=steps,
        eta=eta,
        harmonizing_passes=harmonizing_passes,
        harmonizing_blend=harmonizing_blend,
        refinement=refinement,  # type: ignore[arg-type]
        refine_passes=refine_passes,
        guidance_weight=guidance_weight,
    )
    card, structures = _prepare(model, out, count, size, shape, periodic, seed, format, settings, [], None, [])
    rows = _run(card, structures)
    metrics = [Metric("fraction", name) for name in card.phase_names]
    metrics += [Metric("diffusivity", name, axis) for name in card.phase_names for axis in ("z", "y", "x")]
    # A full table would be too wide for more phases; it is in the file.
    shown = metrics if len(card.phase_names) == 2 else metrics[: len(card.phase_names)]
    print(
        table(
            ["structure", *map(str, shown)],
            [[row["structure_id"], *(row[metric.column] for metric in shown)] for row in rows],
        )
    )
    _print_next(out)
    print(f"{len(rows)} volume{'s' if len(rows) > 1 else ''} in {out}")


def design(
    model: Model,
    out: Out,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="T", help="METRIC=V±t, =V±p%, >=V, <=V or =[lo,hi]; +- for ±. May repeat."),
    ] = None,
    maximize: Annotated[
        str | None, typer.Option("--maximize", metavar="METRIC", help="As much of it as the targets let it have.")
    ] = None,
    minimize: Annotated[
        str | None, typer.Option("--minimize", metavar="METRIC", help="As little of it as the targets let it have.")
    ] = None,
    materials: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.yaml",
            help="What the phases are made of, for targets on conductivity or stiffness; or a name.",
        ),
    ] = None,
    own: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            metavar="NAME=MODULE:FUNCTION",
            help="A differentiable function of your own, imported and run; targets may be on NAME. May repeat.",
        ),
    ] = None,
    count: Count = 1,
    size: Size = None,
    shape: Shape = None,
    periodic: Periodic = False,
    seed: Seed = 0,
    format: Format = "tiff",
    sampler: Sampler = "spectral",
    solver: Solver = None,
    steps: Steps = None,
    eta: Eta = None,
    harmonizing_passes: Passes = Settings.harmonizing_passes,
    harmonizing_blend: Blend = Settings.harmonizing_blend,
    refinement: Refining = None,
    refine_passes: RefinePasses = None,
    guidance: Guided = Settings.guidance,
    slice_numbers: SliceNumbers = None,
    route: Routed = Settings.route,
    guidance_weight: Weight = Settings.guidance_weight,
    candidates: Annotated[
        int,
        typer.Option("--candidates", metavar="N", help="Most volumes tried for targets that no gradient leads to."),
    ] = Settings.candidates,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="IMAGES", help="The bundle's training images, to search for copies of them."),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Generate 3D volumes that have the targets, certified on the finished voxels.

    A missed target is a row with a reason, not an error; the last line says how many were attained. Before it stand
    what each target reached, how sure that is, and what was not asked for: surface, S2, copies of training images.

    \b
    Examples:
      mesoforge design --model berea --target 'fraction[pore]=0.20±0.01' --target 'diffusivity[pore,z]=0.05±5%' \\
          --count 4 --seed 1 --out designed
      mesoforge design --model berea --materials rock.yaml --target 'elastic_modulus_gpa[z]=40±2%' --out stiff
      mesoforge design --model berea --target 'fraction[pore]<=0.2' --maximize 'diffusivity[pore,z]' --out open
    """
    from cluster.design_summary import DesignSummary
    from engine.design import warnings_of
    from engine.evaluation.designed import TrainingImages

    extremes = {"maximize": maximize, "minimize": minimize}
    asked = [*(target or []), *(f"{which} {metric}" for which, metric in extremes.items() if metric is not None)]
    if not asked:
        raise InputError("design: give at least one --target, --maximize or --minimize; reconstruct has none")
    settings = Settings(
        sampler=sampler,  # type: ignore[arg-type]  # checked there, as are the solver and the refinement
        solver=solver,  # type: ignore[arg-type]
        steps=steps,
        eta=eta,
        harmonizing_passes=harmonizing_passes,
        harmonizing_blend=harmonizing_blend,
        refinement=refinement,  # type: ignore[arg-type]
        refine_passes=refine_passes,
        guidance=guidance,  # type: ignore[arg-type]
        slice_numbers=slice_numbers,
        route=route,  # type: ignore[arg-type]
        guidance_weight=guidance_weight,
        candidates=candidates,
    )
    card, structures = _prepare(
        model, out, count, size, shape, periodic, seed, format, settings, asked, materials, own or []
    )
    trained_on = TrainingImages(against, card.phases) if against is not None else None
    doubts = warnings_of(structures.request(0), card)
    for text in doubts:
        say(f"warning: {text}")
    rows = _run(card, structures)
    summary = DesignSummary(rows, structures, card, against=trained_on, warnings=doubts)
    if json_output:
        print(json.dumps(summary.document(), indent=1, allow_nan=False))
        return
    print(summary.text())
    _print_next(out)
    print(summary.last_line)


def _prepare(
    model: str,
    out: Path,
    count: int,
    size: int | None,
    shape: str | None,
    periodic: bool,
    seed: int,
    formats: str,
    settings: Settings,
    targets: list[str],
    materials: str | None,
    own: list[str],
) -> "tuple[Card, StructureSet]":
    """Everything that can be wrong with the input is found here, before anything is loaded or written."""
    from engine.design import check_request
    from engine.export.formats import known_format
    from engine.models.bundle import check_makes_volumes, read_card
    from engine.properties.materials import load_materials
    from engine.properties.own import parse_property, spelled

    card = read_card(model)
    check_makes_volumes(card)
    properties = tuple(parse_property(text) for text in own)
    parsed = tuple(parse_target(spelled(text, properties), card.phase_names) for text in targets)
    structures = StructureSet(
        out=out,
        card=card,
        bundle=model,
        shape=_shape(size, shape),
        periodic=periodic,
        seed=seed,
        count=count,
        targets=parsed,
        materials=load_materials(materials) if materials is not None else None,
        properties=properties,
        settings=settings,
        formats=tuple(known_format(name.strip()) for name in formats.split(",")),
    )
    check_request(structures.request(0), card)
    return card, structures


def _shape(size: int | None, shape: str | None) -> tuple[int, int, int]:
    if size is not None and shape is not None:
        raise InputError("--size and --shape: give one of them, not both")
    if shape is None:
        side = 64 if size is None else size
        return (side, side, side)
    try:
        z, y, x = (int(part) for part in shape.split(","))
    except ValueError:
        raise InputError(f"--shape {shape}: must be three whole numbers Z,Y,X, such as 64,96,96") from None
    return z, y, x


def _run(card: "Card", structures: StructureSet) -> "list[Row]":
    """Make what is missing, in batches; returns the rows of all, in order."""
    finished = structures.complete(structures.finished())
    requests = [structures.request(number) for number in range(structures.count)]
    missing = [request for request in requests if request.structure_id not in finished]
    if missing:
        import torch

        from engine.design import generate, judge, measure
        from engine.models.bundle import load_bundle
        from engine.version import code_version
        from studies.folder import check_place

        check_place(structures.out)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        bundle = load_bundle(card.folder, device)
        done = len(requests) - len(missing)
        title = f"generating with {card.name} on {device}"
        kept = f"every finished batch is in {structures.out}; give the same command again for the rest"
        with kept_on_interrupt(kept), phase(title, len(requests), unit="volumes") as bar:
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                bar.update(done)

                def report(stage: str, step: int, steps: int, done: int = done) -> None:
                    bar.update(done, f"{stage} {step}/{steps}")

                made = generate(batch, bundle, report)
                measured: list[tuple[Generated, Measurement, DesignOutcome]] = []
                for number, generated in enumerate(made):
                    bar.update(done, f"measuring {number + 1}/{len(made)}")
                    measurement = measure(
                        generated.labels,
                        card.phases,
                        materials=generated.request.materials,
                        also=generated.request.asked,
                        periodic=generated.request.periodic,
                        training=card.training_means,
                        properties=generated.request.properties,
                    )
                    measured.append((generated, measurement, judge(generated.request.targets, measurement)))
                for row in structures.write(measured, device=device, code_version=code_version()):
                    finished[str(row["structure_id"])] = row
                done += len(batch)
                bar.update(done)
    return [finished[request.structure_id] for request in requests]


def _print_next(out: Path) -> None:
    print(f'\nall columns: mesoforge query {out} "SELECT * FROM structures"')
