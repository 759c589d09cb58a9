import numpy as np
import pytest
import torch

from engine.descriptors.gram import FeatureNetwork, gram_features, random_filters
from engine.errors import InputError
from tests import structures


def one_hot(mask: np.ndarray) -> torch.Tensor:
    field = torch.from_numpy(mask.astype(np.float32))
    return torch.stack([1 - field, field])[None]


def test_gram_matrix_by_hand() -> None:
    network = FeatureNetwork(name="itself", layers=lambda images: [images])
    phases = one_hot(np.arange(12).reshape(3, 4) < 3)
    features = gram_features(phases, network)
    assert features.network == "itself"
    assert features.matrices[0].tolist() == [[[0.75, 0.0], [0.0, 0.25]]]


def test_the_network_is_named_and_the_same_everywhere() -> None:
    network = random_filters(2)
    assert "random filters v1" in network.name and "2 phases" in network.name
    [maps] = network.layers(one_hot(structures.level_cut((1, 32, 32), 0.4, 2.0, 0)[0]))
    assert maps.shape == (1, 96, 10, 10)
    impulse = torch.zeros(1, 2, 23, 23)
    impulse[0, 0, 11, 11] = 1
    of_three_pixels = float(network.layers(impulse)[0][0, :16].sum())
    assert of_three_pixels == pytest.approx(2.408232, rel=1e-5)  # as drawn for version 1; other weights, other version


def test_textures_are_told_apart_and_samples_of_one_are_close() -> None:
    fine = [structures.level_cut((1, 96, 96), 0.4, 1.5, seed)[0] for seed in range(2)]
    coarse = [structures.level_cut((1, 96, 96), 0.4, 3.0, seed)[0] for seed in range(2)]
    features = [gram_features(one_hot(image), random_filters(2)) for image in (*fine, *coarse)]
    same = max(float(features[0].distance(features[1])), float(features[2].distance(features[3])))
    other = min(float(features[i].distance(features[j])) for i in (0, 1) for j in (2, 3))
    assert float(features[0].distance(features[0])) == 0
    assert other > 5 * same


def test_uniform_images_have_no_features() -> None:
    features = gram_features(one_hot(np.ones((24, 24))), random_filters(2))
    assert features.matrices[0].abs().max() < 1e-5


def test_a_batch_is_measured_as_one_by_one() -> None:
    images = torch.cat([one_hot(structures.level_cut((1, 26, 27), 0.4, 2.0, seed)[0]) for seed in range(3)])
    together = gram_features(images, random_filters(2)).matrices[0]
    alone = gram_features(images[1:2], random_filters(2)).matrices[0]
    torch.testing.assert_close(together[1:2], alone, rtol=1e-5, atol=1e-7)


def test_a_volume_is_the_mean_of_its_slices() -> None:
    volume = structures.level_cut((24, 26, 28), 0.4, 2.0, 0)
    network = random_filters(2)
    measured = gram_features(one_hot(volume), network).matrices[0][0]
    axes = []
    for axis in range(3):
        slices = [gram_features(one_hot(plane), network).matrices[0][0] for plane in np.moveaxis(volume, axis, 0)]
        axes.append(torch.stack(slices).mean(dim=0))
    torch.testing.assert_close(measured, torch.stack(axes).mean(dim=0), rtol=1e-4, atol=1e-6)


def test_gradient_against_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    phases = torch.rand(1, 2, 24, 24, dtype=torch.float64, generator=generator).requires_grad_()
    network = random_filters(2)
    assert torch.autograd.gradcheck(
        lambda x: gram_features(x, network).matrices[0].square().sum(), phases, rtol=1e-3, fast_mode=True
    )


def test_bad_input() -> None:
    with pytest.raises(InputError, match="at least 23"):
        gram_features(one_hot(np.ones((22, 40))), random_filters(2))
    with pytest.raises(InputError, match=r"must be \[B, K"):
        gram_features(torch.zeros(2, 40, 40), random_filters(2))
    other = FeatureNetwork(name="itself", layers=lambda images: [images])
    phases = one_hot(np.ones((24, 24)))
    with pytest.raises(InputError, match="one network"):
        gram_features(phases, other).distance(gram_features(phases, random_filters(2)))
