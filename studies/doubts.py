"""What is not to be expected of a study, said once before it begins: what `design` says of a request, here for all."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

from engine.errors import InputError
from studies.config import StudyConfig
from studies.search import ChoiceSearch, TargetSearch
from studies.space import Params, requests_of

if TYPE_CHECKING:
    from engine.models.bundle import Card

MOST_ENDS = 8
"""Searched targets that are taken to both of their ends, in every combination; any beyond stay at their low ends."""


def doubts_of(config: StudyConfig, cards: "Mapping[str, Card]") -> list[str]:
    """A sentence for each thing that is doubtful at a corner of the search, and one where a corner cannot be met.

    Args:
        cards: of the bundles, by the name that the study has.
    """
    from engine.design import warnings_of

    found: dict[str, list[tuple[str, Params]]] = {}  # by what the sentence is about
    corners = list(_corners(config))
    for params in corners:
        try:
            request = requests_of(config, 0, params)[0]
            texts = warnings_of(request, cards[request.bundle])
        except InputError as error:
            found.setdefault("", []).append((f"{error}; no trial is spent there", params))
            continue
        for text in texts:
            found.setdefault(text.partition(": ")[0], []).append((text, params))
    return [_told(cases, len(corners)) for cases in found.values()]


def _corners(config: StudyConfig) -> Iterator[Params]:
    """Of what decides the targets: the ends of the searched ones, every choice of bundle and materials."""
    options: dict[str, tuple[Any, ...]] = {}
    for parameter in config.parameters:
        if isinstance(parameter, TargetSearch):
            ends = (parameter.range.low, parameter.range.high)
            options[parameter.parameter] = ends if len(options) < MOST_ENDS else ends[:1]
        elif isinstance(parameter, ChoiceSearch) and parameter.parameter in ("bundle", "materials"):
            options[parameter.parameter] = parameter.range.values
    for values in product(*options.values()):
        yield dict(zip(options, values, strict=True))


def _told(cases: list[tuple[str, Params]], corners: int) -> str:
    """The first of the sentences on one thing, with where in the search it holds unless that is everywhere."""
    text, params = cases[0]
    if len(cases) == corners:
        return text
    common = {name: value for name, value in params.items() if all(other[name] == value for _, other in cases)}
    places = [
        f"{name} at {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in (common or params).items()
    ]
    return f"{text} (in part of the search, as with {', '.join(places)})"
