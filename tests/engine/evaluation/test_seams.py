"""Traces are found where they were put, and not where nothing is: level cuts of periodic Gaussian fields."""

import numpy as np
import pytest

from engine.descriptors.two_point import directional_s2
from engine.errors import InputError
from engine.evaluation.seams import (
    crossings_by_plane,
    curves_apart,
    face_trace,
    fractions_by_plane,
    repeat_trace,
    rhythm_trace,
)

N = 48


def field(seed, shape=(N, N, N), width=2.0):
    waves = np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")
    kernel = np.exp(-0.5 * (2 * np.pi * width) ** 2 * sum(wave**2 for wave in waves))
    found = np.fft.ifftn(np.fft.fftn(np.random.default_rng(seed).standard_normal(shape)) * kernel).real
    return found / found.std()


def cut(values, level=0.85):
    return (values > -level).astype(np.uint8)  # phase 0 fills a fifth


PLAIN = [cut(field(seed)) for seed in range(6)]


def test_by_plane():
    labels = np.zeros((4, 3, 2), dtype=np.uint8)
    labels[2:] = 1
    assert np.array_equal(crossings_by_plane(labels, 0), [0, 1, 0, 1])  # the last: across the faces
    assert np.array_equal(crossings_by_plane(labels, 1), [0, 0, 0])
    assert np.array_equal(fractions_by_plane(labels, 0, 1), [0, 0, 1, 1])


def test_volumes_without_a_trace_are_quiet():
    assert abs(face_trace(PLAIN).score) < 3 and abs(face_trace(PLAIN, 4).score) < 3
    for what in ("interfaces", "fraction"):
        found = rhythm_trace(PLAIN, 4, what)
        assert found.score < 3 and found.size < 0.02
    long = [cut(field(seed, (96, N, N))) for seed in range(4)]
    assert abs(repeat_trace(long, 64).score) < 3


def test_scores_of_nothing_are_standard_normal():
    """Sixty sets of one volume: scores of faces and of a rhythm have the spread that they claim."""
    volumes = [cut(field(100 + i, (32, 32, 32), 1.2)) for i in range(60)]
    faces = np.array([face_trace([volume]).score for volume in volumes])
    assert abs(faces.mean()) < 0.5 and 0.7 < faces.std() < 1.4
    rhythms = np.array([rhythm_trace([volume], 4).score for volume in volumes])
    assert np.mean(rhythms > 2.5) < 0.1


def test_blocks_that_are_no_cells_have_faces():
    """Half of a periodic field: its faces along z are strangers."""
    halves = [volume[: N // 2] for volume in PLAIN]
    assert face_trace(halves).score > 6
    assert face_trace(halves).size > 0.5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_seam_at_the_faces_is_found(axis):
    """One plane at the faces takes the minority phase's place in a part of them."""
    found = []
    for seed, plain in enumerate(PLAIN):
        labels = np.moveaxis(plain.copy(), axis, 0)
        rough = np.random.default_rng(seed).random(labels[0].shape) < 0.1
        labels[-1] ^= rough.astype(np.uint8)
        found.append(np.moveaxis(labels, 0, axis))
    assert face_trace(found).score > 4
    turned = [np.roll(labels, 7, axis) for labels in found]
    assert abs(face_trace(turned).score) < 4  # the seam is elsewhere now


def with_a_saw(height):
    """A level that rises over four voxels along one axis, then falls back."""
    saw = height * np.array([1, 1 / 3, -1 / 3, -1])[np.arange(N) % 4]
    return [cut(field(seed) + saw[:, None, None]) for seed in range(6)]


def test_a_period_of_four_is_found():
    found = rhythm_trace(with_a_saw(0.05), 4, "fraction")
    assert found.score > 4
    # The saw's fundamental is .047; of a normal field at -.85, d ln(fraction) / d level = 1.41; one axis of three.
    assert found.size == pytest.approx(0.047 * 1.41 / np.sqrt(3), rel=0.3)
    interfaces = rhythm_trace(with_a_saw(0.15), 4)
    assert interfaces.score > 4 and interfaces.size > 0.03
    assert rhythm_trace(with_a_saw(0.15), 3).score < 3.5  # of another period there is nothing


def test_a_copy_is_found_at_its_distance():
    copies = []
    for seed in range(4):
        values = field(seed, (96, N, N))
        values[64:] = 0.5 * values[64:] + 0.87 * values[:32]
        copies.append(cut(values))
    assert repeat_trace(copies, 64).score > 5 and repeat_trace(copies, 64).size > 0.1
    assert abs(repeat_trace(copies, 40).score) < 4
    with pytest.raises(InputError, match="longer than 76"):
        repeat_trace(PLAIN, 64)


def curves(widths, seed):
    fields = [cut(field(seed + i, (32, 32, 32), width)) for i, width in enumerate(widths)]
    return [directional_s2(labels == 0, 12).mean(dim=0).numpy() for labels in fields]


def test_curves_of_one_material_agree_and_of_two_do_not():
    same = curves([2.0] * 16, 0)
    assert curves_apart(same, curves([2.0] * 16, 50)) < 3.5
    assert curves_apart(same, curves([1.4] * 16, 80)) > 4
