"""The doctor's measurements against geometries and against the scatter that they foretell."""

import math

import numpy as np
import pytest

from engine.micrographs.yardsticks import (
    blocks,
    bounded,
    chords_per_axis,
    correlations,
    decay_length,
    mean_over_axes,
    s2_difference,
    thinned,
)
from tests.structures import laminate, level_cut


def test_chords_of_a_laminate() -> None:
    """Layers 3 of 8 thick along y: chords of 3 and 5 across, unbounded along."""
    image = laminate((1, 64, 64), 1, 8, 3)[0]
    chords = chords_per_axis([image], 2)
    assert chords[1, 0] == pytest.approx(3, rel=0.06) and chords[0, 0] == pytest.approx(5, rel=0.06)
    assert np.isinf(chords[:, 1]).all()
    assert not bounded(chords[0]) and mean_over_axes(chords[1]) == pytest.approx(3, rel=0.06)


def test_chords_of_several_images_are_those_of_all_pixels() -> None:
    """As of one image made of both, but for the seam."""
    first, second = level_cut((1, 64, 64), 0.3, 2.0, seed=0)[0], level_cut((1, 64, 96), 0.6, 2.0, seed=1)[0]
    together = chords_per_axis([first, second], 2)
    np.testing.assert_allclose(together, chords_per_axis([np.hstack([first, second])], 2), rtol=0.05)


@pytest.mark.parametrize(("shape", "smoothing"), [((1, 96, 96), 2.0), ((32, 32, 32), 1.5)])
def test_the_integral_range_foretells_the_scatter_of_the_fraction(
    shape: tuple[int, int, int], smoothing: float
) -> None:
    """Cut at a fixed level, not at a fixed fraction, so that the fraction scatters from sample to sample."""
    side = 2 * max(shape)
    whole = [level_cut((shape[0] if shape[0] == 1 else side, side, side), 0.3, smoothing, seed) for seed in range(2)]
    fields = [part for volume in whole for part in _tiles(volume, shape)]
    found = np.array([field.mean() for field in fields])
    arrays = [field[0] if shape[0] == 1 else field for field in fields]
    _, ranges = correlations(arrays[:4], 2)
    foretold = math.sqrt(0.3 * 0.7 * ranges[1] / arrays[0].size)
    assert len(found) >= 8
    assert found.std() == pytest.approx(foretold, rel=0.5)  # of 8 to 16 fields: one in twenty is off by 0.4


def _tiles(volume: np.ndarray, shape: tuple[int, int, int]) -> list[np.ndarray]:
    counts = [side // part for side, part in zip(volume.shape, shape, strict=True)]
    return [
        volume[tuple(slice(i * part, (i + 1) * part) for i, part in zip(index, shape, strict=True))]
        for index in np.ndindex(*counts)
    ]


def test_autocovariance_decays_where_the_field_does() -> None:
    """A level cut of a field smoothed by s loses its correlation over about 2 s."""
    short, long = (
        decay_length(correlations([level_cut((1, 256, 256), 0.5, smoothing, 0)[0]], 2)[0]) for smoothing in (1.5, 6.0)
    )
    assert short is not None and long is not None and 2.5 < long / short < 5.5
    assert decay_length(np.ones((2, 10))) is None


def test_s2_differs_between_the_axes_of_a_laminate_only() -> None:
    assert s2_difference([laminate((1, 64, 64), 1, 8, 4)[0]], 1) > 0.3
    assert s2_difference([level_cut((1, 256, 256), 0.5, 2.0, 1)[0]], 1) < 0.05


def test_parts() -> None:
    volume = np.arange(8 * 12 * 16).reshape(8, 12, 16)
    parts = blocks(volume)  # type: ignore[arg-type]
    assert len(parts) == 64 and {part.shape for part in parts} == {(2, 3, 4)}
    assert sum(int(part.sum()) for part in parts) == volume.sum()
    assert thinned(np.zeros((400, 400, 30), np.uint8)).shape == (161, 161, 30)
    assert thinned(np.zeros((3000, 3000), np.uint8)).shape == (3000, 3000)
