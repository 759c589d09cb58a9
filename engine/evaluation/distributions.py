"""Distances between two sets of feature vectors: Frechet distance, precision and recall, with their yardsticks.

All three depend on the number of samples, so each is also measured between disjoint halves of the truth, with as many
samples on either side: what an honest set would get.

Legend: N, M vectors of either set, F features.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError

Vectors = NDArray[np.float64]

DRAWS = 50
"""Random halves; the 95th percentile of the Frechet distances between them has an error of a few per cent."""
NEIGHBOURS = 3
"""k of Kynkaanniemi et al. 2019."""
LEAST = 8
"""Vectors on either side below which nothing is said."""


@dataclass(frozen=True, kw_only=True)
class FeatureComparison:
    """Ours against the truth in the space of named features."""

    features: str
    comparable: bool
    """With published Frechet distances: Inception features only."""
    frechet: float
    """Of the whole sets; falls with the number of samples."""
    count: int
    """Samples on either side of what follows."""
    observed: float
    """Frechet distance between random subsets of ours and of the truth, mean over draws."""
    null_median: float
    """Between disjoint random subsets of the truth."""
    null_p95: float
    passes: bool
    """observed <= null_p95."""
    precision: float
    """Share of ours that lies among the truth, at `count` samples."""
    recall: float
    """Share of the truth that lies among ours."""
    null_precision: float
    """The same between disjoint subsets of the truth (precision and recall are then one law)."""


def frechet_distance(first: Vectors, second: Vectors) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of the Gaussians fitted to two sets (Heusel et al. 2017; Lee and
    Yun, eq. 18).

    With C = A^T A / (n - 1), A the centred vectors, the trace of the root is the sum of the singular values of
    A1 A2^T / sqrt((n1 - 1) (n2 - 1)): exact, and no root of a singular matrix is taken.

    Args:
        first, second: [N, F], [M, F]; at least two vectors each.

    Raises:
        InputError: sets of other shapes.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise InputError(f"Frechet distance: needs two sets [N, F] of at least 2, got {first.shape}, {second.shape}")
    apart = float(((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum())
    one, two = _root(first), _root(second)
    common = float(np.linalg.norm(one @ two.T, ord="nuc"))
    return max(0.0, apart + float((one**2).sum()) + float((two**2).sum()) - 2 * common)


def precision_recall(ours: Vectors, truth: Vectors, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """Share of ours within the truth's manifold, and of the truth within ours (Kynkaanniemi et al. 2019; Lee and Yun,
    eqs. 19 and 20): within reach of a point's k-th nearest neighbour in its own set.

    Raises:
        InputError: a set of k vectors or fewer.
    """
    if min(len(ours), len(truth)) <= neighbours:
        raise InputError(f"precision and recall: need more than {neighbours} vectors in each set")
    between = _distances(ours, truth)
    reach_truth, reach_ours = (np.sort(_distances(each, each), axis=1)[:, neighbours] for each in (truth, ours))
    inside_truth, inside_ours = between <= reach_truth[None], between <= reach_ours[:, None]
    return float(inside_truth.any(axis=1).mean()), float(inside_ours.any(axis=0).mean())


def compare_features(
    ours: Vectors, truth: Vectors, *, features: str, comparable: bool, draws: int = DRAWS, seed: int = 0
) -> FeatureComparison | None:
    """Ours against the truth, beside halves of the truth; None where there are too few samples for halves."""
    count = min(len(ours), len(truth) // 2)
    if count < LEAST:
        return None
    generator = np.random.default_rng(seed)
    observed, null, precise, recalled, honest = [], [], [], [], []
    for _ in range(draws):
        one = ours[generator.choice(len(ours), count, replace=False)]
        order = generator.permutation(len(truth))
        two, three = truth[order[:count]], truth[order[count : 2 * count]]
        observed.append(frechet_distance(one, two))
        null.append(frechet_distance(two, three))
        found = precision_recall(one, two)
        precise.append(found[0])
        recalled.append(found[1])
        honest.append(np.mean(precision_recall(two, three)))
    p95 = float(np.quantile(null, 0.95))
    return FeatureComparison(
        features=features,
        comparable=comparable,
        frechet=frechet_distance(ours, truth),
        count=count,
        observed=float(np.mean(observed)),
        null_median=float(np.median(null)),
        null_p95=p95,
        passes=float(np.mean(observed)) <= p95,
        precision=float(np.mean(precise)),
        recall=float(np.mean(recalled)),
        null_precision=float(np.mean(honest)),
    )


def _root(values: Vectors) -> Vectors:
    """R with R^T R the covariance, of no more rows than features."""
    centred = (values - values.mean(axis=0)) / np.sqrt(len(values) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r") if len(values) > values.shape[1] else centred)


def _distances(first: Vectors, second: Vectors) -> Vectors:
    squared = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    return np.asarray(np.sqrt(np.maximum(squared, 0)))
