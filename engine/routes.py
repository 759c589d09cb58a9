"""Routes to targets: what the network is told of them, and whether guidance follows.

| route | the network is told | during sampling | after it |
| --- | --- | --- | --- |
| `guided` | nothing | fractions by the latents' mean | guidance on the volume |
| `conditioned` | fractions and chords | the same | nothing |
| `conditioned+guided` | as far as it knows them | the same | guidance on the volume |
| `sampler` | nothing | every clean estimate is moved (`engine.guidance.inside`) | nothing |
| `auto` | as far as it knows them | fractions by the latents' mean | guidance on volumes that miss, and only those |

docs/routes.md says when to use which.

Shapes: `B` volumes, `D` descriptors.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine.errors import InputError
from engine.guidance.inside import SamplerGuidance
from engine.guidance.targets import Target
from engine.guidance.walk import Walk
from engine.metrics import AXES
from engine.models.bundle import Bundle, Card
from engine.models.crop_descriptors import DescriptorScale, normalised
from engine.models.inference import Inference
from engine.outcomes import DesignOutcome
from engine.request import Request
from engine.sampling.choices import Route

TELLING: tuple[Route, ...] = ("conditioned", "conditioned+guided", "auto")
INSIDE = 0.5  # standard deviations of a crop: how far inside a one-sided target the network is told to go


def check_route(request: Request, card: Card) -> None:
    """Refuse a route that cannot lead to the targets, or a weight that weighs nothing.

    Raises:
        InputError: naming what the bundle was not trained for.
    """
    settings, targets = request.settings, request.targets
    route = settings.route
    if settings.guidance_weight != 1 and not (card.denoiser.planes or card.descriptors):
        raise InputError(
            f"guidance_weight {settings.guidance_weight:g}: the network of {card.name} is told neither planes nor "
            "descriptors, so there is nothing to weigh; leave it at 1"
        )
    if not targets:
        return
    if route in ("conditioned", "conditioned+guided") and not card.descriptors:
        raise InputError(
            f"route {route}: the network of {card.name} was not trained to be told descriptors; choose guided, or "
            "train it with --set descriptors=fraction,mean_chord"
        )
    extreme = next((target for target in targets if target.extreme), None)
    if extreme is not None and route == "sampler":
        raise InputError(f"{extreme}: route {route} stops where the targets hold; choose guided")
    if route != "conditioned":
        return
    known = sorted({scale.name.partition("[")[0] for scale in card.descriptors})
    for target in targets:
        if target.metric.name not in known or target.extreme:
            raise InputError(
                f"target {target}: route conditioned can ask the network of {card.name} for {' and '.join(known)} "
                "alone; choose conditioned+guided or auto"
            )
    for scale, value in zip(card.descriptors, _asked(targets, card), strict=True):
        for found in value:
            if not scale.low <= found <= scale.high and not math.isnan(found):
                raise InputError(
                    f"{scale.name}={found:.4g}: the network of {card.name} has seen {scale.low:.4g} to "
                    f"{scale.high:.4g} in training; ask for that, or choose conditioned+guided"
                )


def told(requests: Sequence[Request], card: Card) -> Tensor | None:
    """What the network is told of the planes of each volume across z, y and x: [B, 3, D], normalised, NaN not told.

    None where nothing is told of any. Beyond what the network has seen in training it is told the last that it has.
    """
    if not card.descriptors or not any(request.targets for request in requests):
        return None
    if requests[0].settings.route not in TELLING:
        return None
    low, high = (torch.tensor([getattr(s, end) for s in card.descriptors])[:, None] for end in ("low", "high"))
    values = [torch.tensor(_asked(request.targets, card)).clamp(low, high) for request in requests]  # [D, 3] each
    return normalised(torch.stack(values).transpose(1, 2), card.descriptors)


def _asked(targets: Sequence[Target], card: Card) -> list[list[float]]:
    """Of each of D descriptors, what the planes across z, y and x shall have; NaN where no target says."""
    fractions = _fractions(targets, card)
    out = []
    for scale in card.descriptors:
        name, _, phase = scale.name.rstrip("]").partition("[")
        if name == "fraction":
            out.append([fractions.get(phase, math.nan)] * 3)
        else:
            out.append(_chords([t for t in targets if t.metric.name == name and t.metric.phase == phase], scale))
    return out


def _fractions(targets: Sequence[Target], card: Card) -> Mapping[str, float]:
    """Asked fractions of all phases but the last, by name.

    The network is told nothing of the last phase: what is left beside it is shared by the others that nothing is asked
    of, as in training.
    """
    scales = {scale.name: scale for scale in card.descriptors}
    goals: dict[str, float] = {}
    for target in targets:
        if target.metric.name == "fraction" and target.metric.phase is not None:
            value = _value(target, scales.get(str(target.metric)))
            if not math.isnan(value):
                goals[target.metric.phase] = value
    *others, last = card.phases
    if last.name in goals:
        free = [phase for phase in others if phase.name not in goals]
        left = max(0.0, 1 - sum(goals.values()))
        share = sum(phase.fraction for phase in free)
        goals |= {phase.name: left * phase.fraction / share for phase in free}
    return goals


def _chords(targets: Sequence[Target], scale: DescriptorScale) -> list[float]:
    """Mean chord of the lines in the planes across each axis: harmonic mean of what is asked along the two in them.

    Both axes have as many lines, and the number of chords is their length over the mean chord.
    """
    along: dict[str, float] = {}
    for target in targets:
        value = _value(target, scale)
        if not math.isnan(value):
            along |= dict.fromkeys(AXES if target.metric.axis is None else (target.metric.axis,), value)
    out = []
    for across in AXES:
        shown = [1 / value for axis, value in along.items() if axis != across and value > 0]
        out.append(len(shown) / sum(shown) if shown else math.nan)
    return out


def _value(target: Target, scale: DescriptorScale | None) -> float:
    """What to tell for a target: its goal. With one limit, the material's own value where that holds, else a value a
    little inside; NaN, nothing, for an extreme."""
    if target.extreme:
        return math.nan
    if math.isfinite(target.low) and math.isfinite(target.high):
        return target.goal
    mean, inside = (scale.mean, INSIDE * scale.sd) if scale is not None else (math.nan, 0.0)
    if math.isinf(target.high):
        return mean if mean >= target.low + inside else target.low + inside
    return mean if mean <= target.high - inside else target.high - inside


def walks_of(requests: Sequence[Request], card: Card) -> dict[int, Walk]:
    """Of the volumes, by number, whose targets are looked at before any guidance."""
    if not requests or requests[0].settings.route not in ("conditioned", "sampler", "auto"):
        return {}
    return {
        i: Walk(
            request.targets,
            card.phase_names,
            request.materials,
            card.training_means,
            request.periodic,
            request.properties,
        )
        for i, request in enumerate(requests)
        if request.targets
    }


def inside_of(
    requests: Sequence[Request], walks: Mapping[int, Walk], bundle: Bundle, inference: Inference
) -> SamplerGuidance | None:
    """The guidance inside the sampler, where the route has it."""
    if requests[0].settings.route != "sampler" or not walks:
        return None
    return SamplerGuidance(walks, inference, bundle.calibration.neighbour_correlation)


def to_guide(requests: Sequence[Request], outcomes: Sequence[DesignOutcome]) -> list[int]:
    """Which volumes are guided once they are sampled."""
    route = requests[0].settings.route
    if route in ("conditioned", "sampler"):
        return []
    return [
        i
        for i, request in enumerate(requests)
        if request.targets
        and not (
            route == "auto" and outcomes[i] is DesignOutcome.ATTAINED and not any(t.extreme for t in request.targets)
        )
    ]
