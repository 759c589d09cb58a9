"""Steps of the logits against the softmax itself and linear algebra by hand."""

import pytest
import torch

from engine.guidance.moves import Move
from engine.guidance.newton import brought, logits, moved, one_hot, share, solved


def fields(count, seed=0, shape=(3, 4, 4, 4)):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def test_the_first_order_change_is_that_of_the_softmax():
    z, change = fields(2)
    step = 1e-6
    difference = ((z + step * change).softmax(dim=0) - (z - step * change).softmax(dim=0)) / (2 * step)
    assert torch.allclose(moved(z.softmax(dim=0), change), difference, atol=1e-8)


def test_numbers_get_what_they_lack():
    p = fields(1)[0].softmax(dim=0)
    gradients, directions = fields(3, 1), fields(3, 2)
    moves = [Move(gradient=g, direction=d) for g, d in zip(gradients, directions, strict=True)]
    change = solved(p, moves, [0.3, -0.2, 0.0])
    assert [brought(p, move, change) for move in moves] == pytest.approx([0.3, -0.2, 0.0], abs=1e-9)


def test_two_numbers_that_move_as_one_are_met_in_the_mean():
    p = fields(1)[0].softmax(dim=0)
    [gradient], [direction] = fields(1, 1), fields(1, 2)
    twins = [Move(gradient=gradient, direction=direction)] * 2
    change = solved(p, twins, [0.1, 0.3])
    assert bool(change.isfinite().all()) and brought(p, twins[0], change) == pytest.approx(0.2)


def test_nothing_to_move_and_what_is_not_finite():
    p = fields(1)[0].softmax(dim=0)
    assert not solved(p, [], []).any()
    broken = Move(gradient=torch.full_like(p, torch.nan), direction=torch.ones_like(p))
    assert solved(p, [broken], [0.1]).isnan().all()


def test_the_share_that_a_change_moves():
    """Half of the volume from the first phase to the second, at even odds: d p = p (1 - p) dz = 1/4 dz."""
    p = torch.full((2, 2, 2, 2), 0.5)
    change = torch.zeros_like(p)
    change[0, 0] = 0.4
    assert share(p, change) == pytest.approx(0.5 * 0.25 * 0.4)


def test_logits_and_indicators():
    p = torch.tensor([1.0, 0.25, 0.0]).view(1, 1, 1, 3)
    both = torch.cat([p, 1 - p])
    assert logits(both).isfinite().all() and torch.allclose(logits(both).softmax(dim=0), both, atol=2e-4)
    index = torch.tensor([0, 2, 1]).view(1, 1, 3)
    assert torch.equal(one_hot(index, 3).argmax(dim=0), index)
