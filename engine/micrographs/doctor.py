"""The micrograph doctor: what a set of images is good for, said before hours go into training.

    micrographs, findings = diagnose(["rock.tif"])
    for finding in findings:
        print(finding.verdict, finding.topic, finding.text, finding.remedy)

Each finding is a measurement with a verdict. Nothing is refused here: what cannot be trained at all (unreadable files,
images smaller than the crop, one phase) is refused where files are read.

The yardsticks:

* Mean chord of a phase along an axis: 2 * fraction / (interface crossings per pixel).
* Integral range A (Lantuejoul 1991; Kanit et al. 2003, eq. 12): the integral of the autocovariance rho(r) over the
  plane (or volume). The fraction found in a field of size S scatters by sqrt(f (1 - f) A / S) about the material's.
* Scatter between parts of the field: standard errors of per-axis figures come from blocks of the images themselves.
"""

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.metrics import AXES
from engine.micrographs.files import distinct_values, read_array
from engine.micrographs.micrograph import Micrographs
from engine.micrographs.read import MOST_LABELS, find_planes, read_micrographs
from engine.micrographs.segment import otsu_thresholds
from engine.micrographs.yardsticks import (
    DECAYED,
    MOST_PIXELS,
    blocks,
    bounded,
    chords_per_axis,
    correlations,
    decay_length,
    mean_over_axes,
    s2_difference,
)


class Verdict(StrEnum):
    """How a finding bears on training."""

    GOOD = "good"
    CAUTION = "caution"  # training works; what the text says limits the result
    POOR = "poor"  # training runs, but its result cannot be trusted for this reason


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    verdict: Verdict
    text: str
    """What was measured."""
    remedy: str = ""
    """What to do about it; empty where nothing is needed."""


COARSE_CHORD = 4.0
"""Pixels. A sphere is measured within 8 % in surface area from a radius of 4 pixels on (`descriptors.surface`), and the
autoencoder has one latent pixel per 4: thinner features are at the mercy of the pixels."""
LEAST_CHORD = 2.0
"""Pixels. Below, phases alternate almost from pixel to pixel: no shape is resolved."""
GOOD_ERROR, POOR_ERROR = 0.05, 0.15
"""Relative standard error of the rarest phase's fraction: 5 % is the tolerance that targets usually ask for."""
ANISOTROPY = 1.10
"""Ratio of mean chords between axes from which a difference matters (if it is no chance)."""
SIGNIFICANT = 3.0
"""Standard errors from which a difference is no chance."""
SHIFTED = 0.05
"""Share of the range of grey values by which two people's thresholds may well differ."""
CLEAR_SHARE, OVERLAP_SHARE = 0.85, 0.75
"""Of the variance explained by Otsu's cut: well above, and at, what it explains where there are no phases."""
UNSURE_FRACTION = 0.02
"""Change of a fraction that a target's usual tolerance would notice."""
MANY_CROPS, FEW_CROPS = 100, 16
"""Disjoint crops. The papers train on 300 images of each plane, or on 1,000 images; a training of 10,000 steps of 32
shows each of 16 disjoint crops (one image of 256 x 256) 20,000 times, if in other cuts and orientations."""
SPECKLE = 0.02
"""Share of a phase's pixels that lie in specks of at most MOST_SPECK of them."""
MOST_SPECK = 3


def diagnose(
    paths: Sequence[str | Path],
    phases: Sequence[str] = (),
    *,
    segment: str | None = None,
    region: str | None = None,
    voxel_size_um: float | None = None,
    crop: int = 64,
) -> tuple[Micrographs, list[Finding]]:
    """Read images of which nothing need be known yet, and examine them.

    Args:
        paths, segment, region, voxel_size_um: as for `read_micrographs`; grey images without a rule are segmented by
            Otsu's for the examination, and a finding says how well that does.
        phases: names; empty names them a, b, c, ... by the labels found, or two of grey images.
        crop: side of the training crops; every image must hold one.

    Raises:
        InputError: what training itself would refuse.
    """
    files, _ = find_planes(paths)
    held = read_array(files[0])
    values = distinct_values(held.array)
    grey = held.is_colour or held.array.dtype.kind == "f" or len(values) > max(MOST_LABELS, len(phases))
    findings = []
    if segment is None and grey:
        segment = "otsu"
        names = tuple(phases) or ("a", "b")
        findings.append(grey_finding(held.array, otsu_thresholds(held.array, len(names), where=str(files[0]))))
    elif not phases and not grey:
        labels = set(values.tolist()).union(*(distinct_values(read_array(file).array).tolist() for file in files[1:]))
        names = tuple(string.ascii_lowercase[: len(labels)])
    else:
        names = tuple(phases) or ("a", "b")
    micrographs = read_micrographs(
        paths, names, segment=segment, region=region, voxel_size_um=voxel_size_um, minimum=crop
    )
    return micrographs, [*findings, *examine(micrographs, crop=crop)]


def examine(micrographs: Micrographs, *, crop: int = 64) -> list[Finding]:
    """Look at everything that decides whether training can go well.

    Args:
        micrographs: phase indices, already read or segmented.
        crop: side of the training crops.

    Returns:
        findings, in the order in which to read them.
    """
    arrays = micrographs.arrays
    chords = chords_per_axis(arrays, len(micrographs.phases))
    rho, integral_ranges = correlations(arrays, len(micrographs.phases))
    findings = [
        _fractions(micrographs),
        _resolution(micrographs, chords, rho, crop),
        _representative(micrographs, integral_ranges),
        _isotropy(micrographs, chords),
        _amount(micrographs, crop),
    ]
    return [*findings, *_even(micrographs, integral_ranges), *_speckle(micrographs), *_twice(micrographs)]


def grey_finding(values: NDArray[Any], thresholds: Sequence[float]) -> Finding:
    """How well grey values fall into phases at thresholds.

    The measure is Otsu's (1979): the share of the variance of the grey values that lies between the phases. It is 1
    where each phase has a grey value of its own, 0.75 for two halves of an even spread of values, 0.64 for two halves
    of one bell curve: at those there are no phases to be seen.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    flat = flat[:: max(1, flat.size // MOST_PIXELS)]
    index = np.searchsorted(np.asarray(thresholds), flat, side="left")
    groups = [flat[index == k] for k in range(len(thresholds) + 1)]
    between = sum(len(group) * (group.mean() - flat.mean()) ** 2 for group in groups if len(group)) / len(flat)
    share = float(between / flat.var()) if flat.var() > 0 else 0.0
    step = SHIFTED * float(np.percentile(flat, 99) - np.percentile(flat, 1))
    moved = max(float(np.mean(np.abs(flat - threshold) <= step)) / 2 for threshold in thresholds)
    text = (
        f"grey values, not labels; Otsu's rule for {len(groups)} phases cuts at "
        f"{', '.join(f'{threshold:.4g}' for threshold in thresholds)} and explains {share:.0%} of their variance; a "
        f"cut moved by {step:.3g} ({SHIFTED:.0%} of the range) moves a fraction by {moved:.3f}"
    )
    if share >= CLEAR_SHARE and moved < UNSURE_FRACTION:
        remedy = "train with --segment otsu; or with --grey for 2D images of these grey values, without phases"
        return Finding(topic="grey values", verdict=Verdict.GOOD, text=text, remedy=remedy)
    return Finding(
        topic="grey values",
        verdict=Verdict.POOR if share < OVERLAP_SHARE else Verdict.CAUTION,
        text=text,
        remedy="the phases overlap in grey value: segment with a tool that sees texture and edges (ilastik, Weka, "
        "watershed) and train on its labels; a bundle is only as right as the segmentation. For 2D images without "
        "phases train on the grey values themselves (--grey)",
    )


def _fractions(micrographs: Micrographs) -> Finding:
    shares = zip(micrographs.phases, micrographs.labels, micrographs.fractions, strict=True)
    text = ", ".join(f"{name} = label {label}, {share:.4f}" for name, label, share in shares)
    if len(micrographs.arrays) > 1:
        rare = int(np.argmin(micrographs.fractions))
        each = [float((array == rare).mean()) for array in micrographs.arrays]
        text += f"; {micrographs.phases[rare]} between {min(each):.4f} and {max(each):.4f} in single images"
    if min(micrographs.fractions) < 0.01:
        remedy = "a phase below 1 % is hardly ever in a crop: leave it out, or join it with another"
        return Finding(topic="phases", verdict=Verdict.CAUTION, text=text, remedy=remedy)
    return Finding(topic="phases", verdict=Verdict.GOOD, text=text)


def _resolution(micrographs: Micrographs, chords: NDArray[np.float64], rho: NDArray[np.float64], crop: int) -> Finding:
    """Features against the pixel below, against the crop above."""
    names, axes = micrographs.phases, AXES[-micrographs.arrays[0].ndim :]
    means = [mean_over_axes(per_axis) for per_axis in chords]
    listed = ", ".join(f"{name} {_length(mean, micrographs)}" for name, mean in zip(names, means, strict=True))
    finest, along = np.unravel_index(np.argmin(chords), chords.shape)
    thickness = float(chords[finest, along])
    gone = decay_length(rho)
    if gone is None:
        reach = f"the autocovariance is still above {DECAYED:g} at {rho.shape[-1] - 1} pixels"
    else:
        reach = f"the autocovariance falls below {DECAYED:g} within {gone} pixels"
    text = f"mean chords {listed}; {reach}, the crop has {crop}"
    if thickness < COARSE_CHORD:
        return Finding(
            topic="resolution",
            verdict=Verdict.POOR if thickness < LEAST_CHORD else Verdict.CAUTION,
            text=text,
            remedy=f"{names[finest]} is {thickness:.1f} pixels thick along {axes[along]} on average: image it at a "
            f"higher magnification, so that it has {COARSE_CHORD:g} or more; its surface and transport will be off",
        )
    if gone is None or gone > crop // 2:
        times = 2 if gone is None else math.ceil(2 * gone / crop)
        enough = thickness / times >= COARSE_CHORD
        remedy = (
            f"structure is longer than half a crop, so the model cannot learn it: shrink the images {times} times "
            "(labels by majority, never by interpolation)"
            if enough
            else "structure is longer than half a crop, and the finest phase too thin to shrink the images: the "
            "longest waves will be missing from generated volumes"
        )
        return Finding(topic="resolution", verdict=Verdict.CAUTION, text=text, remedy=remedy)
    return Finding(topic="resolution", verdict=Verdict.GOOD, text=text)


def _representative(micrographs: Micrographs, integral_ranges: NDArray[np.float64]) -> Finding:
    """The standard error of each fraction that follows from integral range and size of the field."""
    size = float(sum(array.size for array in micrographs.arrays))
    shares = np.array(micrographs.fractions)
    errors = np.sqrt(shares * (1 - shares) * integral_ranges / size)
    relative = errors / shares
    worst = int(np.argmax(relative))
    text = "fractions are known to " + ", ".join(
        f"{name} {share:.4f} ± {error:.4f}"
        for name, share, error in zip(micrographs.phases, shares, errors, strict=True)
    )
    text += f" (standard error; {size / integral_ranges[worst]:,.0f} independent pieces)"
    if relative[worst] <= GOOD_ERROR:
        return Finding(topic="field of view", verdict=Verdict.GOOD, text=text)
    more = (relative[worst] / GOOD_ERROR) ** 2
    what = "volume" if micrographs.is_volume else "area"
    return Finding(
        topic="field of view",
        verdict=Verdict.POOR if relative[worst] > POOR_ERROR else Verdict.CAUTION,
        text=text,
        remedy=f"not representative for {micrographs.phases[worst]} ({relative[worst]:.0%} of its fraction): "
        f"{more:.1f} times the {what} brings {GOOD_ERROR:.0%}; the bundle will have this sample's fraction, not the "
        "material's",
    )


def _isotropy(micrographs: Micrographs, chords: NDArray[np.float64]) -> Finding:
    """Mean chords and S2 along the axes, against their scatter between blocks of the images."""
    if micrographs.is_anisotropic:
        return _told_apart(micrographs)
    names, axes = micrographs.phases, AXES[-micrographs.arrays[0].ndim :]
    parts = [chords_per_axis([part], len(names)) for array in micrographs.arrays for part in blocks(array)]
    widest, sigmas, which = 1.0, 0.0, 0
    for phase, whole in enumerate(chords):
        if not bounded(whole):
            if _endless(whole):  # layers or fibres along an axis: no scatter between blocks says more
                widest, sigmas, which = math.inf, math.inf, phase
                break
            continue
        longest, shortest = int(np.argmax(whole)), int(np.argmin(whole))
        ratio = float(whole[longest] / whole[shortest])
        logs = [math.log(part[phase, longest] / part[phase, shortest]) for part in parts if bounded(part[phase])]
        error = float(np.std(logs, ddof=1)) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
        if ratio > widest:
            widest, which = ratio, phase
            sigmas = math.log(ratio) / error if error > 0 else math.inf
    listed = "; ".join(
        f"{name} " + ", ".join(f"{axis} {value:.1f}" for axis, value in zip(axes, chords[phase], strict=True))
        for phase, name in enumerate(names)
    )
    differ = s2_difference(micrographs.arrays, which)
    text = f"mean chords in pixels: {listed}; S2 of {names[which]} differs by {differ:.1%} between axes"
    if widest < ANISOTROPY:
        return Finding(topic="isotropy", verdict=Verdict.GOOD, text=f"isotropic: {text}")
    if sigmas < SIGNIFICANT:
        return Finding(
            topic="isotropy",
            verdict=Verdict.CAUTION,
            text=f"no telling: {names[which]} differs by {widest:.2f}, {sigmas:.1f} standard errors; {text}",
            remedy="more images would show whether the material or chance has this direction; a bundle trained on "
            "these is isotropic",
        )
    how = f"{names[which]} by {widest:.2f}, {sigmas:.1f} standard errors"
    if math.isinf(widest):
        how = f"{names[which]} runs through without an end along some axes (inf)"
    return Finding(
        topic="isotropy",
        verdict=Verdict.POOR if widest > 1.5 else Verdict.CAUTION,
        text=f"anisotropic, {how}: {text}",
        remedy="tell the planes apart (--images xy=... --images xz,yz=...); a bundle trained without is isotropic: its "
        "volumes have the mean of the directions" + (", which is none of them" if widest > 1.5 else ""),
    )


def _told_apart(micrographs: Micrographs) -> Finding:
    """Mean chords along each axis, from the planes that show it."""
    names = micrographs.phases
    found: dict[int, list[NDArray[np.float64]]] = {0: [], 1: [], 2: []}  # axis -> mean chords [K] of each array
    for slicing in micrographs.slicings():
        chords = chords_per_axis([slicing.array], len(names))
        for position, shown in enumerate(axis for axis in range(3) if axis != slicing.plane):
            found[shown].append(chords[:, position if slicing.axis < 0 else shown])
    means = np.stack([np.mean(found[axis], axis=0) for axis in range(3)], axis=1)  # [K, 3]
    listed = "; ".join(
        f"{name} " + ", ".join(f"{axis} {value:.1f}" for axis, value in zip(AXES, means[phase], strict=True))
        for phase, name in enumerate(names)
    )
    widest = max((float(row.max() / row.min()) for row in means if bounded(row) or _endless(row)), default=1.0)
    differ = "without an end along some (inf)" if math.isinf(widest) else f"the axes differ by {widest:.2f} at most"
    text = f"planes are told apart; mean chords in pixels: {listed}; {differ}"
    if widest < ANISOTROPY:
        return Finding(
            topic="isotropy",
            verdict=Verdict.CAUTION,
            text=text,
            remedy="the planes look alike: without their names each crop teaches all three, in eight orientations",
        )
    return Finding(topic="isotropy", verdict=Verdict.GOOD, text=text)


def _endless(chords: NDArray[np.float64]) -> bool:
    """Whether a phase meets interfaces along some axes and none along others."""
    there = bool((chords > 0).all())
    return there and bool(np.isinf(chords).any()) and bool(np.isfinite(chords).any())


def _amount(micrographs: Micrographs, crop: int) -> Finding:
    """How many disjoint crops there are; slices of a volume a crop's depth apart count as different."""
    count = 0
    for array in micrographs.arrays:
        for axis in (-1,) if array.ndim == 2 else (0, 1, 2):
            plane = [n // crop for a, n in enumerate(array.shape) if a != axis]
            layers = 1 if axis < 0 else max(1, array.shape[axis] // crop)
            count += math.prod(plane) * layers
    megapixels = sum(array.size for array in micrographs.arrays) / 1e6
    what = "voxels" if micrographs.is_volume else "pixels"
    text = f"{megapixels:.2g} million {what}, {count} disjoint crops of {crop}x{crop}"
    if count >= MANY_CROPS:
        return Finding(topic="amount", verdict=Verdict.GOOD, text=text)
    remedy = (
        f"{MANY_CROPS} or more are advisable: add images; volumes will vary less than the material, and may repeat "
        "pieces of the images"
    )
    return Finding(
        topic="amount", verdict=Verdict.POOR if count <= FEW_CROPS else Verdict.CAUTION, text=text, remedy=remedy
    )


def _even(micrographs: Micrographs, integral_ranges: NDArray[np.float64]) -> list[Finding]:
    """Whether halves of a field differ by more than chance: a gradient, uneven light, or a layered sample."""
    found = []
    for array, source in zip(micrographs.arrays, micrographs.sources, strict=True):
        for axis, name in enumerate(AXES[-array.ndim :]):
            middle = array.shape[axis] // 2
            halves = np.array_split(array, [middle], axis=axis)
            for phase, share in enumerate(micrographs.fractions):
                low, high = (float((half == phase).mean()) for half in halves)
                error = math.sqrt(share * (1 - share) * integral_ranges[phase] * 4 / array.size)
                if abs(high - low) > SIGNIFICANT * error and abs(high - low) > GOOD_ERROR * share:
                    found.append((abs(high - low) / error, source.name, name, phase, low, high))
    if not found:
        return []
    sigmas, file, axis_name, phase, low, high = max(found)
    return [
        Finding(
            topic="evenness",
            verdict=Verdict.CAUTION,
            text=f"{file}: {micrographs.phases[phase]} is {low:.4f} in the first half along {axis_name} and {high:.4f} "
            f"in the second, {sigmas:.1f} standard errors apart",
            remedy="uneven light, a gradient of the material, or a field too small: compare with the grey image; crop "
            "with --region to the part that you mean",
        )
    ]


def _speckle(micrographs: Micrographs) -> list[Finding]:
    """Specks of a few pixels are noise of the segmentation more often than material."""
    from scipy import ndimage

    worst, which = 0.0, 0
    for phase in range(len(micrographs.phases)):
        specks = total = 0
        for array in micrographs.arrays:
            # slices of a volume as the network sees them; a few are enough
            for image in array[None] if array.ndim == 2 else array[:: max(1, len(array) // 8)]:
                clusters, _ = ndimage.label(image == phase)
                sizes = np.bincount(clusters.ravel())[1:]
                specks += int(sizes[sizes <= MOST_SPECK].sum())
                total += int(sizes.sum())
        if total and specks / total > worst:
            worst, which = specks / total, phase
    if worst < SPECKLE:
        return []
    return [
        Finding(
            topic="speckle",
            verdict=Verdict.CAUTION,
            text=f"{worst:.1%} of {micrographs.phases[which]} lies in specks of at most {MOST_SPECK} pixels",
            remedy="if the grey image does not show them, filter it (median, non-local means) before it is segmented; "
            "the network learns specks as material, and surface area counts them",
        )
    ]


def _twice(micrographs: Micrographs) -> list[Finding]:
    names: dict[tuple[str, str], list[str]] = {}
    for source in micrographs.sources:
        names.setdefault((source.sha256, source.region), []).append(source.name)
    same = [group for group in names.values() if len(group) > 1]
    if not same:
        return []
    text = "; ".join(" = ".join(group) for group in same)
    remedy = "leave the copies out: they count twice and add nothing"
    return [
        Finding(topic="copies", verdict=Verdict.CAUTION, text=f"files with the same content: {text}", remedy=remedy)
    ]


def _length(pixels: float, micrographs: Micrographs) -> str:
    size = micrographs.voxel_size_um
    text = "unbounded" if not math.isfinite(pixels) else f"{pixels:.1f} pixels"
    return text if size is None or not math.isfinite(pixels) else f"{text} ({pixels * size:.3g} um)"
