import itertools

import numpy as np
import pytest

from engine.descriptors import pore_sizes
from engine.descriptors.pore_sizes import local_thickness, mean_pore_size, size_distribution
from engine.errors import InputError
from tests import structures


def by_definition(mask: np.ndarray) -> np.ndarray:
    """Paint every voxel's largest ball, one after the other."""
    outside, grid = np.argwhere(~mask), np.indices(mask.shape)
    thickness = np.zeros(mask.shape)
    for centre in np.argwhere(mask):
        squared = ((outside - centre) ** 2).sum(axis=1).min()
        ball = sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True)) < squared
        thickness[ball] = np.maximum(thickness[ball], 2 * np.sqrt(squared))
    return thickness * mask


@pytest.mark.parametrize("shape", [(12, 10, 11), (24, 30)])
def test_by_definition(shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(0).random(shape) < 0.9
    measured = local_thickness(mask, space_dims=len(shape))
    assert measured == pytest.approx(by_definition(mask), rel=1e-6)


def test_many_radii_are_told_apart_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 64 radii: never above the thickness with every radius, and on average less than 1 % below it."""
    mask = structures.level_cut((40, 40, 40), 0.9, 3.0, 0) > 0
    stepped = local_thickness(mask)
    monkeypatch.setattr(pore_sizes, "_MOST_RADII", 10_000)
    every = local_thickness(mask)
    assert len(np.unique(every)) > 64 >= len(np.unique(stepped)) - 1
    assert np.all(stepped <= every)
    assert stepped[mask].mean() > 0.99 * every[mask].mean()


@pytest.mark.parametrize(("width", "measured"), [(2, 2), (3, 4), (4, 4), (7, 8), (8, 8)])
@pytest.mark.parametrize("axis", range(3))
def test_layers_show_the_stated_bias(width: int, measured: int, axis: int) -> None:
    mask = structures.laminate((20, 20, 20), axis, 20, width)
    mask = np.roll(mask, 5, axis)
    assert mean_pore_size(mask) == measured


@pytest.mark.parametrize("radius", [5, 9])
def test_spheres_show_the_stated_bias(radius: int) -> None:
    """At random positions: about 1 voxel below the diameter."""
    generator, side = np.random.default_rng(0), 2 * radius + 6
    masks = []
    for _ in range(12):
        position = np.indices((side,) * 3) - (side / 2 + generator.uniform(-1, 1, 3))[:, None, None, None]
        masks.append((position**2).sum(axis=0) < radius**2)
    assert mean_pore_size(np.stack(masks)).mean() == pytest.approx(2 * radius - 1, abs=0.25)


def test_a_neck_is_thinner_than_the_bodies_it_joins() -> None:
    mask = np.zeros((40, 16), dtype=bool)
    mask[2:14, 2:14] = mask[26:38, 2:14] = True
    mask[14:26, 7:9] = True
    thickness = local_thickness(mask, space_dims=2)
    assert thickness[20, 7] == 2 and thickness[8, 8] == 12
    assert thickness.max() == 12


def test_balls_go_on_beyond_a_periodic_border() -> None:
    mask = structures.level_cut((20, 18, 22), 0.4, 2.0, 1) > 0
    repeated = np.tile(mask, (3, 3, 3))
    inner = tuple(slice(n, 2 * n) for n in mask.shape)
    assert local_thickness(mask, periodic=True) == pytest.approx(local_thickness(repeated)[inner])


def test_size_distribution() -> None:
    mask = np.zeros((24, 24, 24), dtype=bool)
    mask[2:4] = True  # a third of the phase is 2 thick, two thirds 4
    mask[10:14] = True
    thickness = local_thickness(mask)
    assert size_distribution(thickness, 6) == pytest.approx([1, 1, 1, 2 / 3, 2 / 3, 0])
    assert mean_pore_size(mask) == pytest.approx((2 * 2 + 4 * 4) / 6)
    batch = np.stack([thickness, np.zeros_like(thickness)])
    assert size_distribution(batch, 3)[1].tolist() == [0, 0, 0]


def test_full_and_empty() -> None:
    assert mean_pore_size(np.zeros((5, 5, 5), dtype=bool)) == 0
    assert np.isinf(mean_pore_size(np.ones((5, 5, 5), dtype=bool)))


def test_bad_input() -> None:
    with pytest.raises(InputError, match="only 0 and 1"):
        local_thickness(np.full((4, 4, 4), 2))
    with pytest.raises(InputError, match="at least 1"):
        size_distribution(np.zeros((4, 4, 4), dtype=np.float32), 0)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_turned_volumes(order: tuple[int, ...]) -> None:
    mask = structures.level_cut((16, 14, 12), 0.4, 1.5, 1) > 0
    assert local_thickness(mask.transpose(order)) == pytest.approx(local_thickness(mask).transpose(order))
