"""Traces that the making of a volume may leave in it: faces, a rhythm along the axes, repeats at the length of a tile.

Each has a size, relative to what is usual in the volume, and a score, in standard errors: within about 3 there is
nothing to see. Scores are approximate; tests show that they find what is there and are quiet where nothing is.

Shapes: `n` planes across an axis.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError

Labels = NDArray[Any]
Floats = NDArray[np.float64]

NEARBY = 4
"""Wave numbers within a share 1 / NEARBY of a rhythm's, three at least, say how strong it would be by chance: farther
away chance is much stronger on the one side, where waves are long."""
BUNDLE = 64
"""Voxels on a side of the bundles of lines whose repeats are taken as independent."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What was found of a trace."""

    size: float
    """Relative to what is usual; 0 without a trace."""
    score: float
    """In standard errors."""


def crossings_by_plane(labels: Labels, axis: int) -> Floats:
    """Share of the voxels that differ from the next one along an axis, by plane: [n], the last across the faces."""
    others = tuple(other for other in range(labels.ndim) if other != axis)
    shares: Floats = (labels != np.roll(labels, -1, axis)).mean(axis=others)
    return shares


def fractions_by_plane(labels: Labels, axis: int, phase: int) -> Floats:
    """Share of a phase in each plane across an axis, [n]."""
    others = tuple(other for other in range(labels.ndim) if other != axis)
    shares: Floats = (labels == phase).mean(axis=others)
    return shares


def face_trace(volumes: Sequence[Labels], period: int = 1) -> Trace:
    """Interfaces between opposite faces against those between neighbouring planes inside, all axes and volumes.

    Args:
        volumes: labels (z, y, x).
        period: of the latents' lattice; only planes that stand on it as the faces do are compared with.
    """
    scores, sizes = [], []
    for labels in volumes:
        for axis in range(labels.ndim):
            shares = crossings_by_plane(labels, axis)
            inside = shares[period - 1 : -1 : period]
            freedom = len(inside) - 1
            if freedom < 3 or not inside.std() > 0:
                continue
            # Student's ratio scatters more than a normal number where its spread comes of few planes.
            spread = inside.std(ddof=1) * math.sqrt(freedom / (freedom - 2))
            difference = shares[-1] - inside.mean()
            scores.append(difference / (spread * math.sqrt(1 + 1 / len(inside))))
            sizes.append(difference / inside.mean())
    if not scores:
        return Trace(size=0.0, score=0.0)
    return Trace(size=float(np.mean(sizes)), score=float(np.sum(scores) / math.sqrt(len(scores))))


def rhythm_trace(
    volumes: Sequence[Labels], period: int, what: Literal["interfaces", "fraction"] = "interfaces", phase: int = 0
) -> Trace:
    """A signal of a period along the axes, in the interfaces or in the fraction of a phase by plane.

    The power of the profile at this period and its harmonics against that at wave numbers nearby, which a volume of
    this size has by chance (both are sums of squares of normal numbers: their ratio has Fisher's F distribution).

    Args:
        volumes: labels (z, y, x); sides that the period does not divide are cut.
        period: voxels.

    Returns:
        size: amplitude of the fundamental over the mean, what chance gives taken off. score: of the strongest harmonic.
    """
    from scipy.stats import f, norm

    harmonics = range(1, period // 2 + 1)
    found = {harmonic: np.zeros(2) for harmonic in harmonics}  # power there, power nearby
    freedom = {harmonic: np.zeros(2) for harmonic in harmonics}
    squares, profiles = 0.0, 0
    for labels in volumes:
        for axis in range(labels.ndim):
            n = labels.shape[axis] // period * period
            whole = (
                crossings_by_plane(labels, axis) if what == "interfaces" else fractions_by_plane(labels, axis, phase)
            )
            profile = whole[:n]
            if not profile.mean() > 0:
                continue
            power = np.abs(np.fft.rfft(profile / profile.mean() - 1) / n) ** 2
            profiles += 1
            for harmonic in harmonics:
                place = harmonic * n // period
                reach = max(3, place // NEARBY)
                around = [k for k in range(place - reach, place + reach + 1) if 0 < k < n / 2 and abs(k - place) > 1]
                single = 2 * place == n  # the shortest wave is a real number
                found[harmonic] += power[place] * (1 if single else 2), 2 * power[around].sum()
                freedom[harmonic] += 1 if single else 2, 2 * len(around)
            first = n // period
            squares += 4 * float(power[first])
    if not profiles:
        return Trace(size=0.0, score=0.0)
    scores = []
    for harmonic in harmonics:
        (here, near), (few, many) = found[harmonic], freedom[harmonic]
        if near > 0 and many > 0:
            scores.append(float(norm.isf(f.sf((here / few) / (near / many), few, many))))
    chance = 4 * found[1][1] / max(freedom[1][1], 1)
    return Trace(size=math.sqrt(max(0.0, squares / profiles - chance)), score=min(max(scores, default=0.0), 99.0))


def repeat_trace(volumes: Sequence[Labels], tile: int, width: int = 12, phase: int = 0) -> Trace:
    """A peak of the autocovariance at the length of a tile: whether the volume repeats itself.

    C(tile) against the mean of C(tile - width) and C(tile + width), along the axes that are long enough; each bundle of
    lines has a value of its own, and their scatter gives the error.

    Args:
        volumes: labels (z, y, x).
        tile: lag in voxels.
        width: voxels, more than the correlation length.

    Returns:
        size: height of the peak in units of the variance phi - phi^2; the autocovariance of a copy would be 1.

    Raises:
        InputError: no side is longer than tile + width.
    """
    peaks: list[float] = []
    for labels in volumes:
        mask = (labels == phase).astype(np.float32)
        variance = float(mask.mean() * (1 - mask.mean()))
        for axis in range(3):
            lines = np.moveaxis(mask, axis, 0)
            if len(lines) <= tile + width or not variance > 0:
                continue
            for y in range(0, lines.shape[1], BUNDLE):
                for x in range(0, lines.shape[2], BUNDLE):
                    bundle = lines[:, y : y + BUNDLE, x : x + BUNDLE]
                    near, here, far = (_covariance(bundle, lag) for lag in (tile - width, tile, tile + width))
                    peaks.append((here - 0.5 * (near + far)) / variance)
    if not peaks:
        raise InputError(f"repeat_trace: needs a side longer than {tile + width} voxels")
    error = float(np.std(peaks, ddof=1)) / math.sqrt(len(peaks)) if len(peaks) > 1 else math.inf
    mean = float(np.mean(peaks))
    return Trace(size=mean, score=mean / error if error > 0 else math.copysign(99.0, mean))


def _covariance(bundle: NDArray[np.float32], lag: int) -> float:
    """Along axis 0, about the means of the two ends."""
    near, far = bundle[:-lag], bundle[lag:]
    return float((near * far).mean() - near.mean() * far.mean())


def curves_apart(some: Sequence[Floats], other: Sequence[Floats]) -> float:
    """Largest difference of two mean curves in combined standard errors; each sequence holds curves of independent
    volumes, [R]."""
    a, b = np.stack(some), np.stack(other)
    lags = min(a.shape[1], b.shape[1])
    errors = np.hypot(*(each.std(axis=0, ddof=1) / math.sqrt(len(each)) for each in (a[:, :lags], b[:, :lags])))
    difference = np.abs(a[:, :lags].mean(axis=0) - b[:, :lags].mean(axis=0))
    return float((difference / np.maximum(errors, np.finfo(float).tiny)).max())
