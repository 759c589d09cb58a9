import numpy as np
import pytest
import torch

from engine.descriptors.triple_phase import percolating_tpb_density, soft_tpb_density, tpb_density
from engine.errors import InputError


def three_bars(n: int = 8) -> np.ndarray:
    """Three phases along x that meet in one straight line along x."""
    labels = np.zeros((n, n, n), dtype=np.uint8)
    labels[: n // 2, n // 2 :] = 1
    labels[n // 2 :] = 2
    return labels


def random_directions(count: int, seed: int = 0):
    generator = np.random.default_rng(seed)
    for _ in range(count):
        axes, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        yield axes, generator.uniform(-1, 1, 3), generator


def test_a_straight_line_along_an_axis() -> None:
    """One edge per section of 7 x 7 vertices, along one of three directions."""
    assert tpb_density(three_bars()) == pytest.approx(2 * (1 / 49) / 3)


def test_lines_of_any_direction() -> None:
    """Three sectors of 120 degrees: the length of their line within the cube, with the stated bias of 6 %."""
    n, ratios = 20, []
    for axes, offset, _ in random_directions(60):
        centre = n / 2 - 0.5 + offset
        position = np.moveaxis(np.indices((n, n, n)), 0, -1) - centre
        angle = np.arctan2(position @ axes[1], position @ axes[0]) % (2 * np.pi)
        labels = (angle // (2 * np.pi / 3)).astype(np.uint8)
        line = np.cross(axes[0], axes[1])
        ends = np.sort([(-0.5 - centre) / line, (n - 0.5 - centre) / line], axis=0)
        ratios.append(tpb_density(labels) * n**3 / (ends[1].min() - ends[0].max()))
    assert np.mean(ratios) == pytest.approx(1.06, abs=0.04)


def test_rim_of_a_sphere_on_a_plane() -> None:
    """Circles where a plane cuts a sphere, of known length, with the stated bias of 8 %."""
    radius, ratios = 8, []
    n = 2 * radius + 8
    for axes, offset, generator in random_directions(40):
        position = np.moveaxis(np.indices((n, n, n)), 0, -1) - (n / 2 - 0.5 + offset)
        height = generator.uniform(-0.5, 0.5) * radius
        ball = (position**2).sum(axis=-1) < radius**2
        labels = np.where(ball, 2, position @ axes[0] > height).astype(np.uint8)
        edges = n * (n - 1) ** 2  # places along each direction
        ratios.append(tpb_density(labels) * edges / (2 * np.pi * np.sqrt(radius**2 - height**2)))
    assert np.mean(ratios) == pytest.approx(1.08, abs=0.04)


def test_against_taufactor() -> None:
    from taufactor.metrics import triple_phase_boundary

    labels = np.random.default_rng(0).integers(3, size=(8, 8, 8)).astype(np.uint8)
    share_of_edges = float(
        triple_phase_boundary(labels.astype(np.int64))
    )  # the mean of the directions: the cube has as many of each
    assert tpb_density(labels) == pytest.approx(2 * share_of_edges)


def test_uncorrelated_voxels(within_standard_errors) -> None:
    """Four voxels of three equal phases hold all three with probability 36/81."""
    labels = np.random.default_rng(0).integers(3, size=(48, 12, 12, 12))
    within_standard_errors(tpb_density(labels), np.array(2 * 36 / 81))
    uniform = torch.full((1, 3, 6, 6, 6), 1 / 3, dtype=torch.float64)
    assert float(soft_tpb_density(uniform)) == pytest.approx(2 * 36 / 81)
    four = torch.full((1, 4, 6, 6, 6), 1 / 4, dtype=torch.float64)
    # of 256: all the same 4, exactly two phases 6 * 14
    assert float(soft_tpb_density(four)) == pytest.approx(2 * (256 - 4 - 84) / 256)


def test_two_phases_have_none() -> None:
    assert tpb_density(np.random.default_rng(0).integers(2, size=(6, 6, 6))) == 0
    two = torch.rand(1, 1, 5, 5, 5, dtype=torch.float64)
    assert float(soft_tpb_density(torch.cat([two, 1 - two], dim=1))) == pytest.approx(0, abs=1e-12)


def test_only_lines_of_connected_phases_percolate() -> None:
    labels = three_bars()
    total = tpb_density(labels)
    assert percolating_tpb_density(labels, 2) == total  # all three bars run along x
    assert percolating_tpb_density(labels, 0) == 0  # the lower half is no neighbour of the upper face
    labels[0, 4:, :4] = 0  # a notch in the bar of phase 1, not through it
    assert percolating_tpb_density(labels, 2) > 0
    labels[:4, 4:, 3] = 0  # now it is cut
    assert tpb_density(labels) > 0
    assert percolating_tpb_density(labels, 2) == 0


def test_bad_input() -> None:
    with pytest.raises(InputError, match="at least 2 voxels"):
        tpb_density(np.zeros((1, 4, 4), dtype=np.uint8))
    with pytest.raises(InputError, match="integers"):
        tpb_density(np.zeros((4, 4, 4)))
    with pytest.raises(InputError, match="axis"):
        percolating_tpb_density(three_bars(), 3)
