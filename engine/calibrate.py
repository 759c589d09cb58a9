"""Calibration of a trained bundle: what sampling in 3D needs to know, measured on 2D training data and on volumes.

First the statistics of the latents (autocovariance, composition), then the numbers of the sampler, chosen by generated
volumes against the 2D statistics of the training data, and the moment correction that goes with them. No 3D truth is
used.

Shapes: `M` crops, `C` latent channels, `K` phases, `R` lags in voxels, `A` axes that are told apart (1 or 3).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.descriptors.chords import chord_lengths
from engine.descriptors.discrepancy import relative_area
from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.surface import surface_area
from engine.descriptors.two_point import directional_s2
from engine.design import decode_latents, draw_of, sample_latents
from engine.micrographs.crops import CropSampler, one_hot
from engine.micrographs.micrograph import Micrographs, Slicing
from engine.models.bundle import Bundle
from engine.models.inference import Inference
from engine.models.presets import TrainingConfig
from engine.sampling.composition import Composition, fit_composition
from engine.sampling.draw import SURER
from engine.sampling.kikuchi import sample_points
from engine.sampling.moments import MomentMatching, bin_count
from engine.sampling.multiplane import Calibration, MirroredNoise, Noise, SamplerNumbers
from engine.sampling.spectra import plane_autocovariance, radial_autocovariance, volume_spectrum

TAPER = 13 / 16  # of a crop's side: the autocovariance ends inside what was seen, where there still are pairs of pixels
LAGS = 32
ROUNDS = 4
"""Of moving the latent mean at most, until the fractions are `ENOUGH`."""
ENOUGH = 0.003
"""Relative error of the worst phase's fraction in the calibration's volumes."""
RESPONSES = (0.3, 1.5)
"""Between which the fractions of volumes follow a shift of their mean, relative to those of crops (Berea: .6)."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What a set of micrographs or volumes looks like; everything that 2D images show of a material."""

    fraction: NDArray[np.float64]
    """[K] mean."""
    surface: NDArray[np.float64]
    """[K, A]: specific surface area, 1/voxel; where the axes differ, interfaces crossed along each, 1/voxel."""
    s2: NDArray[np.float64]
    """[K, A, R]."""
    lineal: NDArray[np.float64]
    """[K, A, R]."""
    chords: NDArray[np.float64]
    """[K, A, R], shares of chord lengths."""

    @property
    def autocovariance(self) -> NDArray[np.float64]:
        """[K, A, R] normalised, (S2 - phi^2)/(phi - phi^2): the correlation whatever the fraction, 0 if absent."""
        phi = self.fraction[:, None, None]
        variance = np.maximum(phi - phi**2, np.finfo(float).tiny)
        out: NDArray[np.float64] = (self.s2 - phi**2) / variance
        return out


def latent_statistics(
    inference: Inference, crops: CropSampler, phases: int, seed: int, count: int
) -> tuple[Tensor, Composition, Tensor | None]:
    """Autocovariance [C, L] or [C, 3, L, L] of the normalised latents, composition and, where there is a network of
    lines, single latents [M, C], from `count` training crops."""
    drawn = crops.draw(count, np.random.default_rng([seed, 2]))
    hot = one_hot(drawn.indices, phases).to(inference.device)
    latents = inference.encode(hot).cpu()  # [M, C, h, w]
    centred = latents - latents.mean(dim=(0, 2, 3))[:, None, None]
    taper = TAPER * latents.shape[-1]
    if crops.anisotropic:
        autocovariance = plane_autocovariance(centred, drawn.planes, taper)
    else:
        autocovariance = radial_autocovariance(centred, taper)
    points = sample_points(latents) if inference.has_lines else None
    return autocovariance, fit_composition(latents, hot.mean(dim=(2, 3)).cpu()), points


def uncorrected(
    autocovariance: Tensor, side: int, numbers: SamplerNumbers | None = None, points: Tensor | None = None
) -> Calibration:
    """A calibration that corrects nothing yet; `side` latent pixels to a crop."""
    kinds = autocovariance.shape[: autocovariance.ndim // 2]  # [C], or [C, 3]
    return Calibration(
        autocovariance=autocovariance,
        shift=torch.zeros(1, kinds[0]),
        log_gain=torch.zeros(1, *kinds, bin_count(side)),
        numbers=numbers or SamplerNumbers(),
        points=points,
    )


def image_statistics(micrographs: Micrographs) -> Statistics:
    """Of the training data: in-plane statistics; along all axes for a volume (each axis lies in two planes)."""
    phases = len(micrographs.phases)
    if not micrographs.is_anisotropic:
        return _average([_alike(_statistics(array, phases)) for array in micrographs.arrays])
    return _average([_plane_statistics(slicing, phases) for slicing in micrographs.slicings()])


def volume_statistics(volumes: Sequence[NDArray[np.uint8]], phases: int, *, by_axis: bool = False) -> Statistics:
    """Of generated volumes of phase indices; `by_axis` tells the axes apart."""
    if not by_axis:
        return _average([_alike(_statistics(volume, phases)) for volume in volumes])
    return _average([_crossings(_statistics(volume, phases)) for volume in volumes])


def _statistics(array: NDArray[np.uint8], phases: int) -> Statistics:
    """One array's own; curves along each of its axes, one surface for all."""
    masks = [array == k for k in range(phases)]
    dims, lags = array.ndim, min(LAGS, *array.shape)
    return Statistics(
        fraction=np.array([mask.mean() for mask in masks]),
        surface=np.array([[float(surface_area(mask, space_dims=dims))] for mask in masks]),
        s2=np.stack([directional_s2(mask, lags, space_dims=dims).numpy() for mask in masks]),
        lineal=np.stack([lineal_path(mask, lags, space_dims=dims) for mask in masks]),
        chords=np.stack([chord_lengths(mask, lags, space_dims=dims) for mask in masks]),
    )


def _alike(found: Statistics) -> Statistics:
    """All axes as one."""
    means = {name: getattr(found, name).mean(axis=1, keepdims=True) for name in ("s2", "lineal", "chords")}
    return replace(found, **means)


def _crossings(found: Statistics) -> Statistics:
    """With the interfaces that a line along each axis crosses instead of the surface: 2 (S2(0) - S2(1))."""
    return replace(found, surface=2 * (found.s2[..., 0] - found.s2[..., 1]))


def _plane_statistics(slicing: Slicing, phases: int) -> Statistics:
    """Of the images of one plane; NaN along the axis across it."""
    found = _average([_crossings(_statistics(slicing.image(i), phases)) for i in range(slicing.images)])
    return Statistics(
        fraction=found.fraction,
        surface=np.insert(found.surface, slicing.plane, np.nan, axis=1),
        s2=np.insert(found.s2, slicing.plane, np.nan, axis=1),
        lineal=np.insert(found.lineal, slicing.plane, np.nan, axis=1),
        chords=np.insert(found.chords, slicing.plane, np.nan, axis=1),
    )


def _average(parts: Sequence[Statistics]) -> Statistics:
    """Mean of the parts; along each axis of those that show it (the others have NaN there)."""
    lags = min(part.s2.shape[-1] for part in parts)
    return Statistics(
        fraction=np.mean([part.fraction for part in parts], axis=0),
        surface=np.nanmean([part.surface for part in parts], axis=0),
        s2=np.nanmean([part.s2[..., :lags] for part in parts], axis=0),
        lineal=np.nanmean([part.lineal[..., :lags] for part in parts], axis=0),
        chords=np.nanmean([part.chords[..., :lags] for part in parts], axis=0),
    )


def mismatch(found: Statistics, wanted: Statistics) -> dict[str, float]:
    """Relative errors of the worst phase and axis: fraction and surface area (signed), curves (areas)."""

    def worst(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        """Of [K, A]."""
        # By the mean of the axes, since along one there may be none, as along fibres.
        relative = ((a - b) / b.mean(axis=-1, keepdims=True)).ravel()
        return float(relative[np.abs(relative).argmax()])

    def curve(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        lags = min(a.shape[-1], b.shape[-1])
        return float(relative_area(a[..., :lags], b[..., :lags]).max())

    return {
        "fraction": worst(found.fraction[:, None], wanted.fraction[:, None]),
        "surface_area": worst(found.surface, wanted.surface),
        "s2": curve(found.s2, wanted.s2),
        "lineal_path": curve(found.lineal, wanted.lineal),
        "autocovariance": curve(found.autocovariance, wanted.autocovariance),
        "chord_length": _chord_error(found.chords, wanted.chords),
    }


def _chord_error(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """Of [K, A, R]: area between the worst pair of distributions; 0 where the training has no whole chords, as along
    fibres. Of chords up to the last lag alone, since what is longer a small volume never shows."""
    lags = min(found.shape[-1], wanted.shape[-1])
    ours, theirs = found[..., :lags], wanted[..., :lags]
    there = theirs.sum(axis=-1) > 0
    ours, theirs = ours[there], theirs[there]
    ours = ours / np.maximum(ours.sum(axis=-1, keepdims=True), np.finfo(float).tiny)
    theirs = theirs / theirs.sum(axis=-1, keepdims=True)
    return float(np.abs(ours - theirs).sum(axis=-1).max(initial=0.0))


def rhythm(volumes: Sequence[NDArray[np.uint8]], period: int) -> float:
    """How unevenly interfaces fall on the lattice of the latents; 0 where they do not know of it.

    Half the range of the share of steps along an axis that cross an interface, by position modulo the period, relative
    to its mean.
    """
    shares = np.zeros(period)
    for volume in volumes:
        for axis in range(3):
            crosses = np.diff(volume.astype(np.int8), axis=axis) != 0
            by_position = crosses.mean(axis=tuple(other for other in range(3) if other != axis))
            shares += [by_position[start::period].mean() for start in range(period)]
    return float(np.ptp(shares) / 2 / shares.mean()) if shares.any() else 0.0


def sample_indices(
    bundle: Bundle,
    inference: Inference,
    numbers: SamplerNumbers,
    seeds: Sequence[int],
    side: int = 64,
    batch: int = 8,
    sampler: str = "spectral",
) -> list[NDArray[np.uint8]]:
    """Unguided cubes of phase indices."""
    out: list[NDArray[np.uint8]] = []
    for start in range(0, len(seeds), batch):
        noise = Noise(seeds[start : start + batch], bundle.device)
        latents = sample_latents(bundle, inference, (side, side, side), numbers, noise, sampler)
        draw = draw_of(bundle, (side, side, side), numbers, noise)
        out += _indices(decode_latents(bundle, inference, latents, numbers, noise, draw))
    return out


def match_moments(
    bundle: Bundle,
    inference: Inference,
    numbers: SamplerNumbers,
    mean: Tensor,
    seeds: Sequence[int],
    side: int,
    lengths: Sequence[float],
) -> tuple[Calibration, dict[float, list[NDArray[np.uint8]]]]:
    """Measure the moment correction on generated volumes, all of them one batch: two of each seed, of mirrored noise.

    Args:
        mean: [C] that the latent volumes shall have.
        lengths: of the draw, instead of the one in `numbers`.

    Returns:
        the calibration and, for each length, the volumes of phase indices.
    """
    n = side // bundle.factor
    autocovariance = bundle.calibration.autocovariance
    power = volume_spectrum(autocovariance.cpu(), (n, n, n)).float().to(bundle.device)
    matching = MomentMatching(
        power, mean.to(bundle.device), side=bundle.card.latent_crop, by_axis=bundle.calibration.by_axis
    )
    noise = MirroredNoise(seeds, bundle.device)
    latents = sample_latents(bundle, inference, (side, side, side), numbers, noise, after_step=matching)
    calibration = Calibration(
        autocovariance=autocovariance,
        shift=torch.stack(matching.shifts),
        log_gain=torch.stack(matching.log_gains),
        numbers=numbers,
        points=bundle.calibration.points,
    )
    # A few at a time: decoded volumes are a thousand times larger than latent ones.
    volumes: dict[float, list[NDArray[np.uint8]]] = {length: [] for length in lengths}
    for start in range(0, len(latents), 8):
        some = latents[start : start + 8]
        fresh = Noise([*seeds, *seeds][start : start + 8], bundle.device)
        decoded = decode_latents(bundle, inference, some, numbers, fresh)
        for length in lengths:
            draw = draw_of(bundle, (side, side, side), replace(numbers, draw_length=length), fresh)
            volumes[length] += _indices(decoded if draw is None else draw(decoded.clone(), surer=SURER))
    return calibration, volumes


def match_composition(
    bundle: Bundle,
    inference: Inference,
    numbers: SamplerNumbers,
    wanted: Statistics,
    seeds: Sequence[int],
    side: int,
    lengths: Sequence[float] = (),
) -> tuple[Calibration, list[NDArray[np.uint8]]]:
    """`match_moments` with the latent mean at which the generated volumes have the fractions of the training data.

    Decoding is not linear, so mean 0 need not give exactly those. Each round moves the mean by what is missing, from
    the second on by what the last move has shown that it takes, until it is `ENOUGH`.

    Args:
        lengths: of the draw; the first round chooses that of the volumes most like the training data at their own
            fractions. Empty: the one in `numbers`.
    """
    mean = torch.zeros(bundle.card.autoencoder.latent_channels, device=bundle.device)
    phases, by_axis = len(bundle.card.phases), bundle.calibration.by_axis
    lengths = list(lengths or [numbers.draw_length])
    asked, before, response = None, np.zeros(0), 1.0
    for left in reversed(range(ROUNDS)):
        calibration, by_length = match_moments(bundle, inference, numbers, mean, seeds, side, lengths)
        if len(lengths) > 1:
            lengths = [min(by_length, key=lambda each: _unlike(by_length[each], wanted, phases, by_axis=by_axis))]
        volumes = by_length[lengths[0]]
        found = np.mean([[(volume == k).mean() for k in range(phases)] for volume in volumes], axis=0)
        missing = wanted.fraction - found
        if not left or np.abs(missing / wanted.fraction).max() < ENOUGH:
            break
        if asked is not None:
            response = float(np.clip((found - before) @ asked / (asked @ asked), *RESPONSES))
        asked, before = missing / response, found
        here = bundle.composition.offset.cpu().numpy() + (bundle.composition.slope @ mean).cpu().numpy()
        mean = mean + bundle.composition.shift(mean, {k: float(here[k] + asked[k]) for k in range(len(found) - 1)})
    return replace(calibration, numbers=replace(numbers, draw_length=lengths[0])), volumes


def _unlike(volumes: Sequence[NDArray[np.uint8]], wanted: Statistics, phases: int, *, by_axis: bool) -> float:
    """Score of volumes as if they had the wanted fractions."""
    errors = mismatch(_at_fractions(volume_statistics(volumes, phases, by_axis=by_axis), wanted.fraction), wanted)
    return _score({**errors, "rhythm": 0.0})


def _at_fractions(found: Statistics, fraction: NDArray[np.float64]) -> Statistics:
    """What statistics would be at other fractions [K], nearly: surfaces go with the square root of f (1 - f), lineal
    paths with f, autocovariances and chords stay."""
    there, here = fraction[:, None], found.fraction[:, None]
    to, of = there * (1 - there), np.maximum(here * (1 - here), np.finfo(float).tiny)
    return Statistics(
        fraction=fraction,
        surface=found.surface * np.sqrt(to / of),
        s2=found.autocovariance * to[..., None] + there[..., None] ** 2,
        lineal=found.lineal * (there / np.maximum(here, np.finfo(float).tiny))[..., None],
        chords=found.chords,
    )


def _indices(soft: Tensor) -> list[NDArray[np.uint8]]:
    """[B, K, D, H, W] -> B cubes of phase indices."""
    return list(soft.argmax(dim=1).to(torch.uint8).cpu().numpy())


LENGTHS = (0.0, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
"""Of the draw, in voxels, that a calibration chooses from."""

# In the order of what they cost a volume.
CHANGES: tuple[dict[str, Any], ...] = (
    {"snr_factor": 1.2},
    {"snr_factor": 1.5},
    {"eta": 1.0},
    {"refine_passes": 1, "refine_time": 50.0},
    {"refine_passes": 1, "refine_time": 100.0},
    {"refine_passes": 2, "refine_time": 100.0},
    {"steps": 32},
)
ERRORS = ("fraction", "surface_area", "s2", "lineal_path", "autocovariance", "chord_length", "rhythm")
"""Of a calibration's volumes, by their names in the card's curve."""
CLEARLY = 0.9
"""A change that costs time is kept where it brings the score below this share of the best so far: with a few volumes,
less may be noise. One that costs nothing is kept wherever the score is lower."""
FREE = {"snr_factor", "eta"}


def _score(errors: Mapping[str, Any]) -> float:
    """Root mean square of the errors, so that none can be bought with the others."""
    return math.sqrt(sum(errors[name] ** 2 for name in ERRORS) / len(ERRORS))


def choose_numbers(
    bundle: Bundle,
    inference: Inference,
    wanted: Statistics,
    config: TrainingConfig,
    known: Sequence[dict[str, Any]] = (),
    on_step: Callable[[int, int, list[dict[str, Any]]], None] | None = None,
) -> tuple[SamplerNumbers, list[dict[str, Any]]]:
    """Pick the sampler's numbers: from the defaults on, each change that improves the score (`CLEARLY`).

    Args:
        known: entries of a curve measured before the run was interrupted; they are not measured again.
        on_step: called after each candidate with (candidates done, candidates in all, curve so far).

    Returns:
        the numbers and the curve: every candidate with its mismatch and score.
    """
    curve: list[dict[str, Any]] = []

    def measured(numbers: SamplerNumbers) -> tuple[float, SamplerNumbers]:
        """The score, and the numbers with the draw that is best with them."""
        asked = {name: value for name, value in asdict(numbers).items() if name != "draw_length"}
        for entry in known:
            if set(ERRORS) <= entry.keys() and all(entry.get(name, value) == value for name, value in asked.items()):
                curve.append({**entry, "score": _score(entry)})
                return _score(entry), replace(numbers, draw_length=entry["draw_length"])
        seeds = [config.seed * 1_000 + i for i in range(max(1, config.calibration_volumes // 2))]
        calibration, volumes = match_composition(bundle, inference, numbers, wanted, seeds, config.crop, LENGTHS)
        numbers = calibration.numbers
        found = volume_statistics(volumes, len(bundle.card.phases), by_axis=bundle.calibration.by_axis)
        errors = mismatch(found, wanted)
        errors["rhythm"] = rhythm(volumes, bundle.factor)
        curve.append({**asdict(numbers), **errors, "score": _score(errors)})
        if on_step is not None:
            on_step(len(curve), 1 + len(CHANGES), curve)
        return _score(errors), numbers

    best_score, best = measured(bundle.calibration.numbers)
    for change in CHANGES:
        value, option = measured(replace(best, **change))
        if value < (best_score if change.keys() <= FREE else CLEARLY * best_score):
            best, best_score = option, value
    return best, curve
