"""`mesoforge evaluate`: a set of volumes or images against another."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.terminal import Bar, duration, phase, table
from engine.errors import InputError

if TYPE_CHECKING:
    from engine.evaluation.compare import Comparison, ScalarComparison
    from engine.evaluation.evaluate import Evaluation
    from engine.evaluation.features import FeatureExtractor


def evaluate(
    ours: Annotated[str, typer.Argument(metavar="A", help="The set to judge: a file, folder or pattern.")],
    against: Annotated[str, typer.Option("--against", metavar="B", help="The set to judge it by: the truth.")],
    train: Annotated[
        list[str] | None,
        typer.Option("--train", metavar="PATH", help="What A was trained on, if that is not B; for copying."),
    ] = None,
    phases: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Names of the labels of B in ascending order.")
    ] = None,
    block: Annotated[
        int | None,
        typer.Option(metavar="V", help="Side of the blocks everything is cut to; default: the shortest side."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="Take the features of this bundle's denoiser.")
    ] = None,
    inception: Annotated[
        Path | None,
        typer.Option(
            "--inception", metavar="FILE", help="Take Inception features: pt_inception-2015-12-05-6726825d.pth."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Of resampling.")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Judge volumes or images by true ones: every number beside what another true set would get.

    \b
    Examples:
      mesoforge evaluate volumes --against rock.tif --phases pore,solid
      mesoforge evaluate volumes --against unseen.tif --train training.tif --json > judged.json
    """
    from engine.evaluation.evaluate import STEPS
    from engine.evaluation.evaluate import evaluate as judge
    from engine.evaluation.sets import read_sets

    if seed < 0:
        raise InputError(f"--seed {seed}: must be 0 or above")
    names = phases.split(",") if phases is not None else None
    one, two, trained = read_sets([ours], [against], phases=names, block=block, training=train)
    extractor = _extractor(model, inception, len(two.phases))
    with phase("evaluating", len(STEPS), unit="steps") as bar:
        found = judge(one, two, training=trained, extractor=extractor, seed=seed, on_step=_progress(bar))
        bar.update(len(STEPS))
    if json_output:
        document = asdict(found) | {"a": ours, "against": against, "phases": list(two.phases)}
        if found.copying is not None:
            document["copying"]["passes"] = found.copying.passes
        print(json.dumps(_finite(document), indent=1, allow_nan=False))
        return
    noun = "images" if found.dimensions == 2 else "volumes"
    side = "x".join([str(found.side)] * found.dimensions)
    print(f"{ours}: {found.ours} {noun} of {side}, against {against}: {found.truth}\n")
    for part in (_numbers, _curves, _features, _errors, _copying, _spread):
        print(part(found) + "\n")
    passed, count = found.attained
    print(
        "apart: between the means of A and B; median, 95 %: between sets drawn from B; curves of one phase go together"
    )
    print(f"{passed} of {count} curves and numbers within what 95 % of true sets of this size would get")


def _progress(bar: Bar) -> Callable[[int, str, float], None]:
    """Shows the step and, once a tenth of it is done, the time that is left of it."""
    started: dict[int, float] = {}

    def update(step: int, name: str, share: float) -> None:
        spent = time.monotonic() - started.setdefault(step, time.monotonic())
        left = f", {duration(spent * (1 - share) / share)} left" if 0.1 <= share < 1 else ""
        bar.update(step, f"{name}{left}")

    return update


def _extractor(model: str | None, inception: Path | None, phases: int) -> "FeatureExtractor | None":
    from engine.evaluation.features import denoiser_features, inception_features

    if model is not None and inception is not None:
        raise InputError("--model, --inception: features come from one network; give one of them")
    if inception is not None:
        return inception_features(inception)
    if model is None:
        return None
    from engine.models.bundle import load_bundle, read_card

    card = read_card(model)
    if len(card.phases) != phases:
        raise InputError(f"--model {model}: has {len(card.phases)} phases, the images have {phases}")
    return denoiser_features(load_bundle(card.folder, "cpu"))


def _finite(value: object) -> object:
    """The document with null for numbers without a finite value (a ratio to a spread of zero)."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(found: "Evaluation") -> str:
    rows = []
    for each in found.judged:
        if each.ours is None:
            continue
        row: list[object] = [each.name, each.ours, each.truth]
        row += _verdict(each.comparison, each.remark)
        spread = each.spread
        row += ["-", "-"] if spread is None else [_percent(spread.relative_mean_shift), _within(spread)]
        rows.append(row)
    headers = ["number", "A", "B", "apart", "median", "95 %", "verdict", "bias", "spread A/B"]
    return table(headers, rows)


def _within(spread: "ScalarComparison") -> str:
    low, high = spread.sd_ratio_interval
    return f"{spread.sd_ratio:.2f} ({low:.2f} to {high:.2f})"


def _curves(found: "Evaluation") -> str:
    rows = []
    for each in found.judged:
        if each.ours is None:
            bias = "-" if each.comparison is None else _percent(each.comparison.signed_bias)
            rows.append([each.name, *_verdict(each.comparison, each.remark), bias])
    return table(["curve", "apart", "median", "95 %", "verdict", "bias"], rows)


def _verdict(comparison: "Comparison | None", remark: str) -> list[str]:
    """Discrepancy, what true sets have (median and 95th percentile), and whether it is within."""
    if comparison is None:
        return ["-", "-", "-", remark or "-"]
    values = (comparison.observed, comparison.null_median, comparison.null_p95)
    return [*(_percent(value, signed=False) for value in values), "within" if comparison.passes else "BEYOND"]


def _percent(value: float, *, signed: bool = True) -> str:
    return f"{100 * value:+.2f} %" if signed else f"{100 * value:.2f} %"


def _features(found: "Evaluation") -> str:
    each = found.features
    if each is None:
        return "Frechet distance, precision, recall: too few or too small blocks"
    rows = [
        ["Frechet distance", each.observed, each.null_median, each.null_p95, "within" if each.passes else "BEYOND"],
        ["precision", each.precision, each.null_precision, None, ""],
        ["recall", each.recall, each.null_precision, None, ""],
    ]
    note = "" if each.comparable else "; NOT comparable with published distances, which use Inception"
    head = (
        f"features: {each.features}{note}\n{each.count} slices a side; of all slices the distance is {each.frechet:.4g}"
    )
    return f"{head}\n" + table(["", "A and B", "B and B", "95 %", "verdict"], rows)


def _errors(found: "Evaluation") -> str:
    each = found.errors
    if each is None:
        return "E_S, E_G, E_px: blocks too small"
    rows = [
        ["E_S (three-point)", each.e_s, each.reference_e_s],
        ["E_G (Gram features)", each.e_g, each.reference_e_g],
        ["E_px (pixels)", each.e_px, each.reference_e_px],
    ]
    return f"median error to the nearest of {each.training_images} training images, %\n" + table(["", "A", "B"], rows)


def _copying(found: "Evaluation") -> str:
    each = found.copying
    if each is None:
        return "copying: the slices hold too little interface to tell"
    verdict = "nothing copied" if each.passes else "COPIED" if each.copies else "NEARER than true images"
    rows = [["A", each.nearest, each.median], ["B", each.reference_nearest, each.reference_median]]
    head = (
        f"copying: {verdict} ({each.copies} copies, p = {each.p_value:.2g}); squares of {each.side} from {each.images} "
        f"slices of A and {each.reference_images} of B, searched in {each.training_images} training images; shares of "
        "differing pixels"
    )
    return f"{head}\n" + table(["", "nearest", "median"], rows)


def _spread(found: "Evaluation") -> str:
    rows: list[list[object]] = []
    for each in found.representativity:
        for size in each.sizes:
            low, high = size.truth_interval
            rows.append([each.phase, size.side, size.ours, size.truth, f"{low:.3g} to {high:.3g}"])
    notes = [
        f"{each.phase}: {each.representative_side:.0f} voxels a side for 5 % (integral range {each.integral_range:.3g})"
        for each in found.representativity
    ]
    head = "spread of the fraction among pieces of one size"
    return f"{head}\n{table(['phase', 'side', 'A', 'B', '95 % interval of B'], rows)}\n" + "\n".join(notes)
