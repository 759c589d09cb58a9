"""What balances targets and prior on the volume: a term within its tolerance stops pushing, the prior never does."""

import torch

from engine.guidance.member import Member
from engine.guidance.newton import brought, logits
from engine.guidance.steering import steered
from engine.guidance.targets import parse_target
from engine.guidance.terms import Term
from engine.guidance.volume import LEAST_ROUNDS, guide
from tests.engine.guidance.test_volume import PHASES, soft_volume


def member(*texts):
    targets = tuple(parse_target(text, PHASES) for text in texts)
    terms = [Term(target, steered(target.metric, PHASES)) for target in targets]
    return Member(logits(soft_volume(1, cut=0.2)), terms)


def test_it_is_held_while_another_pushes():
    """To first order a step changes the surface as asked and leaves the fraction alone, though not at its goal."""
    fraction = float(soft_volume(1, cut=0.2).argmax(dim=0).eq(0).float().mean())
    held = member(f"fraction[pore]={fraction + 0.004}±0.02", "surface_area[pore]<=0.05")
    found = held.look(0)
    soft, change = held.logits.softmax(dim=0), held.step(found)
    fraction, surface = (brought(soft, each.moves[0], change) for each in found)
    assert surface < 0 and abs(fraction) < 0.02 * abs(surface)


def test_the_prior_redraws_in_every_iteration_also_where_all_targets_hold():
    """Along each axis at least once, and until the last iteration where a target cannot be met."""
    for texts, rounds in ((["fraction[pore]=[0.01,0.99]"], LEAST_ROUNDS), (["diffusivity[pore,z]>=0.95"], 5)):
        axes = []

        def redraw(current, axis, which, axes=axes):
            axes.append(axis)
            return current

        targets = [parse_target(text, PHASES) for text in texts]
        guide(soft_volume(2)[None], [targets], PHASES, redraw, 5)
        assert axes == [0, 1, 2, 0, 1][:rounds]


def test_what_the_prior_redraws_is_what_comes_out():
    """A target that holds all the time leaves the volume to the prior alone."""
    all_solid = torch.zeros(2, 32, 32, 32)
    all_solid[1] = 1.0
    targets = [parse_target("fraction[pore]<=0.9", PHASES)]
    (result,) = guide(soft_volume(2)[None], [targets], PHASES, lambda current, axis, which: all_solid[None], 5)
    before = soft_volume(2)[0]
    assert float(result.probabilities[0].mean()) < 0.5 * float(before.mean())
