import numpy as np
import pytest
import torch

from engine.descriptors.fractions import soft_fractions, volume_fractions
from engine.errors import InputError


def test_fractions_of_a_known_layout():
    labels = np.zeros((4, 5, 10), dtype=np.uint8)
    labels[:, :, 5:] = 2
    labels[0, 0, 0] = 7
    assert volume_fractions(labels, [0, 2, 7, 1]) == pytest.approx([99 / 200, 0.5, 1 / 200, 0.0], abs=0)


def test_fractions_of_a_batch_and_of_images():
    labels = np.random.default_rng(0).integers(3, size=(2, 3, 6, 7, 8))
    volumes = volume_fractions(labels, [0, 1, 2])
    assert volumes.shape == (2, 3, 3)
    assert volumes.sum(axis=-1) == pytest.approx(np.ones((2, 3)))
    images = volume_fractions(labels, [0, 1, 2], space_dims=2)
    assert images.mean(axis=2) == pytest.approx(volumes)


def test_soft_fractions_agree_with_hard_ones_and_have_the_mean_as_gradient():
    labels = np.random.default_rng(1).integers(3, size=(2, 4, 5, 6))
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(labels), 3).movedim(-1, 1).double().requires_grad_()
    fractions = soft_fractions(one_hot)
    assert fractions.detach().numpy() == pytest.approx(volume_fractions(labels, [0, 1, 2]))
    fractions[1, 2].backward()
    expected = torch.zeros(2, 3, 4, 5, 6, dtype=torch.float64)
    expected[1, 2] = 1 / 120
    torch.testing.assert_close(one_hot.grad, expected)


def test_too_few_axes_or_no_voxel_is_refused():
    with pytest.raises(InputError, match="at least 3 axes"):
        volume_fractions(np.zeros((4, 4)), [0])
    with pytest.raises(InputError, match="one voxel"):
        volume_fractions(np.zeros((0, 4, 4)), [0])
