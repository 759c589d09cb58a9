"""`mesoforge train`: micrographs in, a bundle out."""

import os
import shlex
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.terminal import Bar, duration, kept_on_interrupt, phase, say
from engine.errors import InputError

if TYPE_CHECKING:
    from engine.micrographs.doctor import Finding
    from engine.micrographs.micrograph import Micrographs
    from engine.models.presets import TrainingConfig
    from engine.models.training import TrainingProgress

OF_CALIBRATION = ("networks", "images", "more", "phases", "segment", "region", "voxel_size_um", "out")
"""What goes with --from."""
LINE = 110
"""Columns of the findings of --check."""


def train(
    context: typer.Context,
    images: Annotated[
        list[str] | None,
        typer.Option(
            "--images",
            metavar="PATH...",
            help="TIFF, PNG or NPY files, folders or patterns; a volume trains on its slices. Where planes differ: "
            "xy=PATH, xz,yz=PATH. May be repeated.",
        ),
    ] = None,
    phases: Annotated[
        str | None,
        typer.Option("--phases", metavar="NAME,NAME", help="Names of the labels in ascending order: pore,solid."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="BUNDLE", help="Folder of the new bundle.")] = None,
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    preset: Annotated[
        str, typer.Option(help="Settings: cpu, gpu, paper-001, paper-002, paper-003.", metavar="NAME")
    ] = "cpu",
    steps: Annotated[
        int | None, typer.Option(help="Denoiser steps instead of the preset's.", metavar="N", show_default=False)
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Another setting than the preset's, such as prediction=epsilon; a wrong name lists them all.",
        ),
    ] = None,
    grey: Annotated[
        bool,
        typer.Option(
            "--grey", help="Learn the grey values themselves, without phases: a bundle of 2D images (mesoforge sample)."
        ),
    ] = False,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME=PATH", help="Images of one of several classes, instead of --images."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.", metavar="S")] = 0,
    voxel_size_um: Annotated[
        float | None,
        typer.Option("--voxel-size-um", metavar="V", help="Side of a voxel in um, where the files do not say."),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(metavar="x=0:256", help="Train on this part only; axes z, y, x of the array, end excluded."),
    ] = None,
    segment: Annotated[
        str | None,
        typer.Option(
            metavar="RULE", help="Makes phases of grey images: otsu, or thresholds:V1,V2,... (darkest first)."
        ),
    ] = None,
    material: Annotated[
        str, typer.Option(metavar="TEXT", help="What it is, for the bundle's card; default: the folder's name.")
    ] = "",
    source: Annotated[str, typer.Option(metavar="TEXT", help="Where the images come from, for the card.")] = "",
    licence: Annotated[str, typer.Option(metavar="TEXT", help="Licence of the images, for the card.")] = "",
    networks: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="BUNDLE",
            help="Take the networks of this finished bundle, trained on the same images, and calibrate them anew.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            metavar="BUNDLE",
            help="Train on from the networks of this bundle, of whatever material; layers that depend on the number of "
            "phases start anew.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Examine the images and say what they are good for; train nothing.")
    ] = False,
) -> None:
    """Train a bundle on labelled micrographs: autoencoder, denoiser, lines, calibration.

    Stop it at any time (Ctrl-C, or even a kill): the same command goes on from the last checkpoint.

    \b
    Examples:
      mesoforge train --images rock.tif --phases pore,solid --out my_bundle
      mesoforge train --images slices/*.png --phases pore,solid --segment otsu --out my_bundle --preset gpu
      mesoforge train --images xy=top.tif --images xz,yz=sides/*.png --phases pore,solid --out layered
      mesoforge train --check rock.tif
      mesoforge train --images sem/*.png --grey --out grey_bundle
      mesoforge train --start berea --steps 1500 --images rock.tif --phases pore,solid --out my_bundle
      mesoforge train --from my_bundle --images rock.tif --phases pore,solid --out calibrated
    """
    from engine.micrographs.grey import read_grey
    from engine.micrographs.read import read_micrographs
    from engine.train import check_folder
    from engine.train import train as train_bundle
    from studies.folder import check_place

    if networks is not None:
        _check_calibration(context, networks)
    paths = [*(images or []), *(more or [])]
    by_class = _by_class(classes or [])
    if not paths and not by_class:
        raise InputError("--images: no image is named; give files, folders or patterns (see mesoforge train --help)")
    if grey and (phases is not None or segment is not None or check):
        other = "--phases" if phases is not None else "--segment" if segment is not None else "--check"
        raise InputError(f"--grey: learns grey values as they are, without phases; leave out {other} or --grey")
    if not check and ((phases is None and not grey) or out is None):
        missing = "--phases" if phases is None and not grey else "--out"
        raise InputError(f"{missing}: is needed to train (mesoforge train --check examines images without it)")
    if out is not None:
        check_folder(out)
        check_place(out)
    config = _configuration(preset, steps, seed, setting or [])
    names = phases.split(",") if phases is not None else []
    if check:
        if by_class:
            raise InputError("--check: examines one material; give the images of one class as --images")
        from engine.micrographs.doctor import diagnose

        found, findings = diagnose(
            paths, names, segment=segment, region=region, voxel_size_um=voxel_size_um, crop=config.crop
        )
        print("\n".join([*_plan(found, config, out), "", *_diagnosis(findings)]))
        return
    assert out is not None
    from engine.models.bundle import load_bundle

    finished = None if networks is None else load_bundle(networks)
    first = None if start is None else load_bundle(start)
    if grey:
        micrographs = read_grey(
            paths, region=region, voxel_size_um=voxel_size_um, minimum=config.crop, classes=by_class
        )
    else:
        micrographs = read_micrographs(
            paths,
            names,
            segment=segment,
            region=region,
            voxel_size_um=voxel_size_um,
            minimum=config.crop if finished is None else finished.card.crop,
            classes=by_class,
        )
    command = shlex.join(["mesoforge", *context.obj])
    if finished is not None:
        from engine.train import calibrate

        print(micrographs.describe())
        with kept_on_interrupt(f"what was measured is in {out}; the same command goes on"), _Stages() as stages:
            calibrate(finished, micrographs, out, command=command, on_progress=stages.report)
        print(f"wrote {out}")
        return
    speaks = int(os.environ.get("RANK", "0")) == 0  # of several processes (torchrun) one does
    if speaks:
        print("\n".join(_plan(micrographs, config, out)))
    with kept_on_interrupt(f"a checkpoint is in {out}; give the same command again to go on"), _Stages() as stages:
        train_bundle(
            micrographs,
            out,
            config,
            material=material,
            command=command,
            source=source,
            licence=licence,
            start=first,
            on_progress=stages.report,
        )
    if not speaks:
        return
    print(f"wrote {out}")
    if grey or by_class:
        of_class = f" --class {next(iter(by_class))}" if by_class else ""
        print(f"try it: mesoforge sample --model {out}{of_class} --count 16 --out {out.name}_images")
    else:
        print(f"try it: mesoforge reconstruct --model {out} --count 4 --size 64 --seed 1 --out {out.name}_volumes")


def _check_calibration(context: typer.Context, networks: str) -> None:
    """Refuse what a calibration anew would pass over: the card of the bundle says how it was trained, and of what."""
    for parameter in context.command.params:
        name, option = parameter.name or "", next(iter(parameter.opts), "")
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and name not in OF_CALIBRATION:
            raise InputError(f"--from {networks}: its card says how it was trained, and of what; leave out {option}")


def _by_class(given: list[str]) -> dict[str, list[str | Path]]:
    """Paths by class, from NAME=PATH texts."""
    out: dict[str, list[str | Path]] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not (equals and path and name.replace("-", "_").isidentifier()):
            raise InputError(f"--class {text}: must be NAME=PATH, such as alloy=images/alloy/*.png")
        out.setdefault(name, []).append(path)
    return out


def _configuration(preset: str, steps: int | None, seed: int, settings: list[str]) -> "TrainingConfig":
    from engine.metrics import nearest
    from engine.models.presets import PRESETS

    if preset not in PRESETS:
        raise InputError(f"--preset {preset}: there is no such preset{nearest(preset, list(PRESETS))}")
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed {seed}: must lie within [0, 2**63)")
    config = replace(PRESETS[preset], seed=seed)
    if steps is not None:
        config = replace(config, denoiser_steps=steps)
    for text in settings:
        name, _, value = text.partition("=")
        known = {field.name: field.type for field in fields(config) if field.name != "seed"}
        if name not in known:
            raise InputError(
                f"--set {text}: no training setting is called '{name}'; there are {', '.join(sorted(known))}"
            )
        config = replace(config, **{name: _parsed(text, value, getattr(config, name), known[name])})
    if config.device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise InputError(f"--preset {preset}: needs a CUDA device and none is here; use --preset cpu")
    return config


def _parsed(text: str, value: str, like: object, kind: object) -> Any:
    """A setting's value, of the type that it has in the preset."""
    try:
        if kind == tuple[str, ...]:
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(like, bool):
            return {"true": True, "false": False}[value.lower()]
        if isinstance(like, tuple) or like is None:  # levels of the U-Net
            return tuple(int(part) for part in value.split(","))
        return type(like)(value)  # type: ignore[call-arg]
    except (ValueError, KeyError):
        example = {bool: "true", int: "4", float: "0.5", str: "linear"}.get(type(like), "1,2,4")
        raise InputError(f"--set {text}: '{value}' is no value for it; give one such as {example}") from None


def _plan(micrographs: "Micrographs", config: "TrainingConfig", out: Path | None) -> list[str]:
    shares = zip(micrographs.phases, micrographs.labels, micrographs.fractions, strict=True)
    size = "not known" if micrographs.voxel_size_um is None else f"{micrographs.voxel_size_um:g} um"
    if micrographs.grey is not None:
        values = "grey values: 0 to 255 stand for {:g} to {:g} of the files".format(*micrographs.grey)
        cut = [name for name, labels in zip(micrographs.classes, micrographs.class_labels, strict=True) if labels]
        values += f"; segmented classes: {', '.join(cut)}" if cut else ""
    else:
        values = "phases: " + ", ".join(f"{name} = label {label} ({share:.4f})" for name, label, share in shares)
    lines = f", lines {config.line_steps} steps" if config.has_lines(micrographs) else ""
    return [
        micrographs.describe(),
        values,
        f"voxel size: {size}; crops of {config.crop}x{config.crop}, batches of {config.batch}, on {config.device}",
        f"autoencoder {config.autoencoder_steps} steps, denoiser {config.denoiser_steps} steps{lines}, "
        f"seed {config.seed}" + (f", into {out}" if out is not None else ""),
    ]


def _diagnosis(findings: "list[Finding]") -> list[str]:
    """Verdict, topic and text of each finding, its remedy below, and what they come to."""
    from engine.micrographs.doctor import Verdict

    verdicts, topics = max(len(each) for each in Verdict), max(len(found.topic) for found in findings)
    lines: list[str] = []
    for found in findings:
        head = f"{found.verdict:<{verdicts}}  {found.topic:<{topics}}  "
        lines += wrap(found.text, LINE, initial_indent=head, subsequent_indent=" " * len(head))
        if found.remedy:
            lines += wrap(found.remedy, LINE, initial_indent=" " * len(head) + "-> ", subsequent_indent=" " * len(head))
    counts = {verdict: sum(found.verdict is verdict for found in findings) for verdict in Verdict}
    if counts[Verdict.POOR]:
        end = "training would run, but do not trust its result before what is poor is mended"
    elif counts[Verdict.CAUTION]:
        end = "can be trained; mind the cautions when you use the bundle"
    else:
        end = "fit for training"
    return [*lines, "", f"{', '.join(f'{count} {verdict}' for verdict, count in counts.items() if count)}: {end}"]


class _Stages:
    """One bar for each stage of the training."""

    def __init__(self) -> None:
        self._stage, self._stack = "", ExitStack()
        self._bar: Bar | None = None

    def __enter__(self) -> "_Stages":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._stack.__exit__(kind, error, None)

    def report(self, progress: "TrainingProgress") -> None:
        if progress.stage != self._stage or self._bar is None:
            self._stack.close()
            if progress.step > 1:
                say(f"{progress.stage}: goes on from step {progress.step - 1}")
            self._stage = progress.stage
            self._bar = self._stack.enter_context(phase(progress.stage, progress.steps, unit="steps", says_left=True))
        left = f", {duration(progress.eta_s)} left" if progress.step < progress.steps else ""
        self._bar.update(progress.step, f"loss {progress.loss:.4f}{left}", progress.steps)
