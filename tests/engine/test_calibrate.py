"""What calibration measures of sets of volumes."""

from dataclasses import replace

import numpy as np
import pytest

from engine.calibrate import mismatch, volume_statistics


def rods(side=24, period=8, seed=0):
    """Squares along the first axis: no interface is crossed along it."""
    plane = np.zeros((side, side), dtype=np.uint8)
    for y in range(0, side, period):
        for x in range(0, side, period):
            plane[y + 2 : y + 6, x + 2 : x + 6] = 1
    return np.broadcast_to(plane, (side, side, side)).copy()


def test_an_axis_without_interfaces_has_an_error_of_its_own():
    """Relative to the mean of the axes, so that one voxel along fibres is little, not infinite."""
    wanted = volume_statistics([rods()], 2, by_axis=True)
    assert wanted.surface[1, 0] == 0 and wanted.surface[1, 1] > 0
    same = mismatch(wanted, wanted)
    assert all(value == 0 for value in same.values())
    touched = rods()
    touched[12, 12, 12] = 1 - touched[12, 12, 12]
    found = mismatch(volume_statistics([touched], 2, by_axis=True), wanted)
    assert 0 < abs(found["surface_area"]) < 0.01


def test_the_worst_phase_and_axis_count_with_their_sign():
    wanted = volume_statistics([rods()], 2, by_axis=True)
    surface = wanted.surface.copy()
    surface[0, 2] *= 0.9
    found = mismatch(replace(wanted, surface=surface, fraction=wanted.fraction * [1.02, 1.0]), wanted)
    mean = wanted.surface[0].mean()
    assert found["surface_area"] == pytest.approx(-0.1 * wanted.surface[0, 2] / mean)
    assert found["fraction"] == pytest.approx(0.02)
