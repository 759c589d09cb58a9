import pytest
import torch

from engine.models.autoencoder import FACTOR, Autoencoder, AutoencoderConfig, d4


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Autoencoder(AutoencoderConfig(phases=3, width=16, fine_width=8)).eval()


def test_shapes_and_probabilities(model):
    hot = torch.nn.functional.one_hot(torch.randint(3, (2, 64, 48)), 3).movedim(-1, 1).float()
    latents = model.encode(hot)
    assert latents.shape == (2, 4, 64 // FACTOR, 48 // FACTOR)
    soft = model.decode(latents)
    assert soft.shape == hot.shape
    assert torch.allclose(soft.sum(dim=1), torch.ones(2, 64, 48), atol=1e-5)


def test_normalisation_is_undone_by_decoding(model):
    hot = torch.nn.functional.one_hot(torch.randint(3, (1, 32, 32)), 3).movedim(-1, 1).float()
    plain = model.decode(model.encode(hot))
    model.latent_mean += 0.7
    model.latent_std *= 2.0
    assert torch.allclose(model.decode(model.encode(hot)), plain, atol=1e-5)
    assert torch.allclose(model.encode(hot) * 2.0 + 0.7, model.posterior(hot)[0], atol=1e-5)
    model.latent_mean -= 0.7
    model.latent_std /= 2.0


def test_d4_is_the_group_of_the_square():
    image = torch.arange(9.0).reshape(3, 3)
    elements = [d4(image, element) for element in range(8)]
    assert len({tuple(element.flatten().tolist()) for element in elements}) == 8
    for first in range(8):
        for second in range(8):
            assert any(torch.equal(d4(d4(image, first), second), element) for element in elements)
