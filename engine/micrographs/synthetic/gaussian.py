"""Level cuts of stationary Gaussian random fields: phases by thresholds.

Threshold and fraction, field covariance and S2 belong together exactly: the joint law of the field at two points is
the bivariate normal of their correlation (Berk 1991; Teubner 1991; Lantuejoul, Geostatistical Simulation, 2002,
chapter 16). One cut gives blobs, two cuts give sheets, several fields give several phases (plurigaussian).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.micrographs.synthetic.grid import Labels, check_grid, must_lie_within

NORMAL = NormalDist()
QUADRATURE = np.polynomial.legendre.leggauss(64)
"""Nodes and weights on [-1, 1]; the integrands are smooth in the angle, so the error is below 1e-12."""

Covariance = Literal["gaussian", "exponential", "wave"]


def covariance(
    kind: Covariance, lags: NDArray[Any] | Sequence[NDArray[Any]], lengths: Sequence[float]
) -> NDArray[np.float64]:
    """Correlation of the field at a lag, 1 at lag 0; with s = |lag / length|, axis by axis:

    `gaussian` exp(-s^2), smooth surfaces; `exponential` exp(-s), rough ones whose area grows with the resolution;
    `wave` exp(-(s/3)^2) sin(pi s) / (pi s), a spacing of about two lengths, as in spinodal decomposition.

    Args:
        kind: one of the three; each is positive definite in 3D.
        lags: per axis, broadcast against each other, in voxels.
        lengths: per axis, in voxels.
    """
    s = np.sqrt(
        sum((np.asarray(lag, dtype=np.float64) / length) ** 2 for lag, length in zip(lags, lengths, strict=True))
    )
    if kind == "gaussian":
        return np.asarray(np.exp(-(s**2)))
    if kind == "exponential":
        return np.asarray(np.exp(-s))
    return np.asarray(np.exp(-((s / 3) ** 2)) * np.sinc(s))


def gaussian_field(
    shape: tuple[int, ...], lengths: Sequence[float], kind: Covariance, generator: np.random.Generator
) -> NDArray[np.float64]:
    """A periodic field of mean 0 and variance 1 whose covariance on the grid is that of `covariance`, summed over the
    periodic images (circulant embedding: white noise times the root of the covariance's transform)."""
    wrapped = np.zeros(shape)
    nearest = [np.arange(side) - side * (np.arange(side) > side // 2) for side in shape]
    for images in np.ndindex(*(3 for _ in shape)):  # the nearest images to either side; farther ones are below 1e-6
        lags = np.meshgrid(
            *(axis + (image - 1) * side for axis, image, side in zip(nearest, images, shape, strict=True)),
            indexing="ij",
            sparse=True,
        )
        wrapped += covariance(kind, lags, lengths)
    spectrum = np.maximum(np.fft.rfftn(wrapped).real, 0)  # negative by rounding only
    axes = tuple(range(len(shape)))
    field = np.fft.irfftn(np.fft.rfftn(generator.standard_normal(shape)) * np.sqrt(spectrum), s=shape, axes=axes)
    return np.asarray(field / math.sqrt(wrapped.flat[0]))


def band_s2(low: float, high: float, correlation: NDArray[Any]) -> NDArray[np.float64]:
    """Probability that two standard normal variables of this correlation both lie in [low, high].

    Its derivative by the correlation is the bivariate density summed over the corners of the square with signs
    (Plackett 1954); with correlation = sin(angle) the integral is smooth up to correlation 1.

    Args:
        low, high: either may be infinite.
        correlation: [...], within [-1, 1].
    """
    share = NORMAL.cdf(high) - NORMAL.cdf(low)
    nodes, weights = QUADRATURE
    top = np.arcsin(np.clip(np.asarray(correlation, dtype=np.float64), -1, 1))[..., None]
    angle = top * (nodes + 1) / 2
    total = np.zeros(angle.shape)
    for a, b, sign in ((low, low, 1), (low, high, -2), (high, high, 1)):
        if math.isfinite(a) and math.isfinite(b):
            # a^2 + b^2 - 2 a b sin over 2 cos^2, finite at cos = 0 for a = b
            if a == b:
                total += sign * np.exp(-(a**2) / (1 + np.sin(angle)))
            else:
                cosine_squared = np.maximum(np.cos(angle) ** 2, 1e-300)
                total += sign * np.exp(-(a**2 + b**2 - 2 * a * b * np.sin(angle)) / (2 * cosine_squared))
    return np.asarray(share**2 + (total * weights).sum(axis=-1) * top[..., 0] / (4 * math.pi))


@dataclass(frozen=True, kw_only=True)
class LevelCut:
    """Two phases by one or two thresholds of one Gaussian field."""

    phases: ClassVar[tuple[str, ...]] = ("matrix", "phase")

    fraction: float = 0.3
    """Of `phase`: the expected value, single samples scatter about it."""
    lengths: tuple[float, ...] = (8.0,)
    """Correlation length in voxels, one for all axes or one for each in array order (z, y, x)."""
    cuts: int = 1
    """1: `phase` where the field is above its threshold; 2: where its magnitude is below, which gives sheets."""
    covariance: Covariance = "gaussian"
    """gaussian, exponential or wave: see `covariance`."""

    def __post_init__(self) -> None:
        must_lie_within("fraction", self.fraction, 0, 1)
        for length in self.lengths:
            must_lie_within("lengths", length, 0, math.inf)
        if self.cuts not in (1, 2):
            raise InputError(f"cuts: must be 1 or 2, not {self.cuts}")
        if self.covariance not in ("gaussian", "exponential", "wave"):
            raise InputError(f"covariance: must be gaussian, exponential or wave, not '{self.covariance}'")

    @property
    def band(self) -> tuple[float, float]:
        """`phase` is where the field lies within these two values."""
        if self.cuts == 1:
            return NORMAL.inv_cdf(1 - self.fraction), math.inf
        top = NORMAL.inv_cdf((1 + self.fraction) / 2)
        return -top, top

    def sample(self, shape: tuple[int, ...], seed: int) -> Labels:
        """One sample, periodic.

        Raises:
            InputError: a shape or seed that cannot be, or lengths that do not go with the shape.
        """
        sides = check_grid(shape, seed)
        lengths = axis_lengths(self.lengths, sides, self.covariance)
        field = gaussian_field(sides, lengths, self.covariance, np.random.default_rng(seed))
        low, high = self.band
        return np.asarray((field > low) & (field < high), dtype=np.uint8)

    def s2(self, lags: NDArray[Any], axis: int, dimensions: int) -> NDArray[np.float64]:
        """Two-point correlation of `phase` along one axis, for lags in voxels."""
        return band_s2(*self.band, self._correlation(lags, axis, dimensions))

    def crossings(self, axis: int, dimensions: int) -> float:
        """Interface crossings per voxel along an axis of the continuous structure (Rice): sqrt(-C''(0)) / pi times
        exp(-threshold^2 / 2) for each threshold. Times 2 it is the surface area of an isotropic material.

        Raises:
            InputError: the exponential covariance, whose surfaces have no finite area.
        """
        if self.covariance == "exponential":
            raise InputError("crossings: surfaces of an exponential covariance have no finite area")
        length = _spread(self.lengths, dimensions)[axis]
        # C = 1 - m s^2 + ... with s = lag / length: m = 1 for gaussian, 1/9 + pi^2/6 for wave
        curvature = 2 * (1.0 if self.covariance == "gaussian" else 1 / 9 + math.pi**2 / 6) / length**2
        return math.sqrt(curvature) / math.pi * sum(math.exp(-(t**2) / 2) for t in self.band if math.isfinite(t))

    def _correlation(self, lags: NDArray[Any], axis: int, dimensions: int) -> NDArray[np.float64]:
        return covariance(self.covariance, [np.asarray(lags)], [_spread(self.lengths, dimensions)[axis]])


@dataclass(frozen=True, kw_only=True)
class Plurigaussian:
    """Three phases from two independent Gaussian fields (Armstrong et al., Plurigaussian Simulations in Geosciences,
    2011): `a` where the first is low; elsewhere the second decides between `b` and `c`. All three pairs touch."""

    phases: ClassVar[tuple[str, ...]] = ("a", "b", "c")

    fractions: tuple[float, ...] = (0.3, 0.3, 0.4)
    """Expected values of the three phases; they sum to 1."""
    lengths: tuple[float, ...] = (8.0,)
    """Correlation length in voxels of both fields, one for all axes or one for each in array order (z, y, x)."""

    def __post_init__(self) -> None:
        if len(self.fractions) != 3 or min(self.fractions) <= 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise InputError(f"fractions: must be three positive numbers with sum 1, not {self.fractions}")
        for length in self.lengths:
            must_lie_within("lengths", length, 0, math.inf)

    @property
    def thresholds(self) -> tuple[float, float]:
        """Of the first and of the second field."""
        a, b, c = self.fractions
        return NORMAL.inv_cdf(a), NORMAL.inv_cdf(b / (b + c))

    def sample(self, shape: tuple[int, ...], seed: int) -> Labels:
        """One sample, periodic.

        Raises:
            InputError: a shape or seed that cannot be, or lengths that do not go with the shape.
        """
        sides = check_grid(shape, seed)
        lengths = axis_lengths(self.lengths, sides, "gaussian")
        generator = np.random.default_rng(seed)
        first, second = (gaussian_field(sides, lengths, "gaussian", generator) for _ in range(2))
        low, split = self.thresholds
        return np.where(first < low, 0, np.where(second < split, 1, 2)).astype(np.uint8)

    def s2(self, lags: NDArray[Any], phase: int, axis: int, dimensions: int) -> NDArray[np.float64]:
        """Two-point correlation of a phase along one axis: the fields are independent, so probabilities multiply."""
        c = covariance("gaussian", [np.asarray(lags)], [_spread(self.lengths, dimensions)[axis]])
        low, split = self.thresholds
        if phase == 0:
            return band_s2(-math.inf, low, c)
        second = (-math.inf, split) if phase == 1 else (split, math.inf)
        return band_s2(low, math.inf, c) * band_s2(*second, c)


def axis_lengths(lengths: tuple[float, ...], shape: tuple[int, ...], kind: Covariance) -> tuple[float, ...]:
    """One length per axis.

    Raises:
        InputError: neither one length nor one per axis, or a correlation that does not die out within the shape.
    """
    spread = _spread(lengths, len(shape))
    for length, side in zip(spread, shape, strict=True):
        half = float(covariance(kind, [np.asarray(side / 2)], [length]))
        if abs(half) > 0.1:
            raise InputError(
                f"lengths: at half of a side of {side} voxels the correlation is still {half:.2f} for a length of "
                f"{length:g}; it must be below 0.1: use a shorter length or a larger shape"
            )
    return spread


def _spread(lengths: tuple[float, ...], dimensions: int) -> tuple[float, ...]:
    if len(lengths) == 1:
        return lengths * dimensions
    if len(lengths) != dimensions:
        raise InputError(f"lengths: give one, or one for each of the {dimensions} axes, not {len(lengths)}")
    return lengths
