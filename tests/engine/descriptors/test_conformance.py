"""Every descriptor in the conformance suite: a new one is tested by being listed here."""

import numpy as np
import torch

from engine.descriptors.chords import chord_lengths, mean_chord, soft_chord_lengths, soft_mean_chord
from engine.descriptors.connectivity import connected_fractions
from engine.descriptors.covariance import directional_autocovariance
from engine.descriptors.euler import euler_number_density, soft_euler_number_density
from engine.descriptors.fractions import soft_fractions, volume_fractions
from engine.descriptors.lineal_path import lineal_path, soft_lineal_path
from engine.descriptors.pore_sizes import mean_pore_size
from engine.descriptors.surface import soft_surface_area, surface_area
from engine.descriptors.triple_phase import percolating_tpb_density, soft_tpb_density, tpb_density
from engine.descriptors.two_point import (
    directional_cross_correlation,
    directional_s2,
    radial_cross_correlation,
    radial_s2,
)
from tests.conformance.descriptor import DescriptorConformance


class OfLabels(DescriptorConformance):
    """Descriptors of labels rather than of a mask: three phases, and their names do not matter."""

    @staticmethod
    def volumes(*shape, seed=0):
        return np.random.default_rng(seed).integers(3, size=shape).astype(np.uint8)

    def test_relabelling_changes_nothing(self):
        volume = self.volumes(8, 9, 10)
        renamed = np.array([7, 0, 200], dtype=np.uint8)[volume]
        np.testing.assert_allclose(self.result(renamed), self.result(volume), atol=0)


class TestFractions(OfLabels):
    rest = 1
    periodic = False
    soft = True

    @staticmethod
    def measure(volume, *, space_dims=3):
        return volume_fractions(volume, [0, 1, 2, 7, 200], space_dims=space_dims)

    @staticmethod
    def as_soft(volume):
        return torch.nn.functional.one_hot(torch.from_numpy(volume).long(), 5).movedim(-1, 1).double()

    @staticmethod
    def measure_soft(phases, *, space_dims=3, periodic=False):
        return soft_fractions(phases)

    def test_relabelling_changes_nothing(self):
        volume = self.volumes(8, 9, 10)
        renamed = np.array([7, 0, 200], dtype=np.uint8)[volume]
        np.testing.assert_allclose(self.result(renamed)[[3, 0, 4]], self.result(volume)[:3], atol=0)


class TestTriplePhaseBoundary(OfLabels):
    soft = True
    measure = staticmethod(tpb_density)
    measure_soft = staticmethod(soft_tpb_density)

    @staticmethod
    def as_soft(volume):
        return torch.nn.functional.one_hot(torch.from_numpy(volume).long(), 3).movedim(-1, 1).double()


class TestPercolatingTriplePhaseBoundary(OfLabels):
    per_axis = True
    extensive = False

    @staticmethod
    def measure(volume, *, space_dims=3, periodic=False):
        along = [
            percolating_tpb_density(volume, axis, space_dims=space_dims, periodic=periodic)
            for axis in range(space_dims)
        ]
        return np.stack(along, axis=-1)


class TestDirectionalS2(DescriptorConformance):
    per_axis, rest, soft = True, 1, False  # the soft form is the same function, tested with it

    @staticmethod
    def measure(volume, *, space_dims=3, periodic=False):
        return directional_s2(volume, 6, space_dims=space_dims, periodic=periodic)


class TestDirectionalAutocovariance(DescriptorConformance):
    per_axis, rest = True, 1

    @staticmethod
    def measure(volume, *, space_dims=3, periodic=False):
        return directional_autocovariance(volume, 6, space_dims=space_dims, periodic=periodic)


class TestRadialS2(DescriptorConformance):
    rest, soft = 1, False

    @staticmethod
    def measure(volume, *, space_dims=3, periodic=False):
        return radial_s2(volume, 4, space_dims=space_dims, periodic=periodic)


class TestDirectionalCrossCorrelation(DescriptorConformance):
    per_axis, rest, soft = True, 1, True

    @staticmethod
    def measure(volume, *, space_dims=3, periodic=False):
        return directional_cross_correlation(volume, volume == 0, 6, space_dims=space_dims, periodic=periodic)

    @staticmethod
    def measure_soft(phases, *, space_dims=3, periodic=False):
        return directional_cross_correlation(
            phases, 1 - phases, min(phases.shape[-space_dims:]) - 1, space_dims=space_dims, periodic=periodic
        )[..., :6]


class TestRadialCrossCorrelation(DescriptorConformance):
    rest, soft = 1, True

    @staticmethod
    def measure(volume, *, space_dims=3, periodic=False):
        return radial_cross_correlation(volume, volume == 0, 3, space_dims=space_dims, periodic=periodic)

    @staticmethod
    def measure_soft(phases, *, space_dims=3, periodic=False):
        return radial_cross_correlation(phases, 1 - phases, 3, space_dims=space_dims, periodic=periodic)


class TestLinealPath(DescriptorConformance):
    per_axis, rest, soft = True, 1, True

    @staticmethod
    def measure(volume, *, space_dims=3, periodic=False):
        return lineal_path(volume, 7, space_dims=space_dims, periodic=periodic)

    @staticmethod
    def measure_soft(phases, *, space_dims=3, periodic=False):
        r_max = min(7, *phases.shape[-space_dims:])
        return soft_lineal_path(phases, r_max, space_dims=space_dims, periodic=periodic)


class TestChordLengths(DescriptorConformance):
    per_axis, rest, soft = True, 1, True

    @staticmethod
    def measure(volume, *, space_dims=3, periodic=False):
        return chord_lengths(volume, 7, space_dims=space_dims, periodic=periodic)

    @staticmethod
    def measure_soft(phases, *, space_dims=3, periodic=False):
        r_max = min(7, *phases.shape[-space_dims:])
        return soft_chord_lengths(phases, r_max, space_dims=space_dims, periodic=periodic)


class TestMeanChord(DescriptorConformance):
    per_axis, soft = True, True
    measure = staticmethod(mean_chord)
    measure_soft = staticmethod(soft_mean_chord)


class TestSurfaceArea(DescriptorConformance):
    soft = True
    measure = staticmethod(surface_area)
    measure_soft = staticmethod(soft_surface_area)


class TestEulerNumber(DescriptorConformance):
    soft = True
    measure = staticmethod(euler_number_density)
    measure_soft = staticmethod(soft_euler_number_density)


class TestConnectedFractions(DescriptorConformance):
    per_axis, extensive = True, False
    measure = staticmethod(connected_fractions)


class TestMeanPoreSize(DescriptorConformance):
    measure = staticmethod(mean_pore_size)
