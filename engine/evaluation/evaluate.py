"""Everything that a set is judged by, in one call."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from engine.evaluation.copying import Copying, copying
from engine.evaluation.distributions import FeatureComparison, compare_features
from engine.evaluation.features import FeatureExtractor, random_features
from engine.evaluation.nearest import NearestErrors, nearest_errors
from engine.evaluation.representativity import Representativity, representativity
from engine.evaluation.sets import BlockSet
from engine.evaluation.statistics import Judged, judge

LEAST_NETWORK_SIDE = 24
"""Pixels that the random filters need."""
STEPS = ("curves and numbers", "features", "nearest training images", "copying", "representativity")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A set against the truth. Parts are None where the blocks are too few or too small for them."""

    side: int
    dimensions: int
    ours: int
    """Number of blocks."""
    truth: int
    judged: tuple[Judged, ...]
    features: FeatureComparison | None
    errors: NearestErrors | None
    copying: Copying | None
    representativity: tuple[Representativity, ...]

    @property
    def attained(self) -> tuple[int, int]:
        """How many curves and numbers lie within the null's 95th percentile, of how many."""
        found = [each.comparison.passes for each in self.judged if each.comparison is not None]
        return sum(found), len(found)


def evaluate(
    ours: BlockSet,
    truth: BlockSet,
    *,
    training: BlockSet | None = None,
    extractor: FeatureExtractor | None = None,
    seed: int = 0,
    on_step: Callable[[int, str, float], None] | None = None,
) -> Evaluation:
    """Judge a set by another.

    Args:
        ours, truth: blocks of one shape.
        training: what ours were trained on, for copying and the nearest errors; None takes the truth for it.
        extractor: features of the Frechet distance; None for random filters.
        seed: of resampling.
        on_step: called with the number and name of the step and the share of it that is done (0 before it).
    """

    def begin(step: int, share: float = 0.0) -> None:
        if on_step is not None:
            on_step(step, STEPS[step], share)

    phases, one, two = len(truth.phases), ours.slices(), truth.slices()
    trained = None if training is None else training.slices()
    begin(0)
    judged = tuple(judge(ours, truth, seed=seed))
    begin(1)
    large = truth.side >= LEAST_NETWORK_SIDE
    features = None
    if large or extractor is not None:
        chosen = random_features(phases) if extractor is None else extractor
        vectors = (chosen(each, phases) for each in (one, two))
        features = compare_features(*vectors, features=chosen.name, comparable=chosen.comparable, seed=seed)
    begin(2)
    errors = nearest_errors(one, two, phases, trained) if large else None
    begin(3)
    copied = copying(ours, truth, training, on_progress=partial(begin, 3))
    begin(4)
    spreads = tuple(
        representativity(ours.blocks == index, truth.blocks == index, name, seed=seed)
        for index, name in enumerate(truth.phases)
    )
    return Evaluation(
        side=truth.side,
        dimensions=truth.dimensions,
        ours=len(ours),
        truth=len(truth),
        judged=judged,
        features=features,
        errors=errors,
        copying=copied,
        representativity=spreads,
    )
