import pytest
import torch

from engine.models.autoencoder import FACTOR, Autoencoder, AutoencoderConfig, d4


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Autoencoder(AutoencoderConfig(phases=3, latent_channels=4, width=16, fine_width=8)).eval()


def test_shapes_and_probabilities(model):
    hot = torch.nn.functional.one_hot(torch.randint(3, (2, 64, 48)), 3).movedim(-1, 1).float()
    latents = model.encode(hot)
    assert latents.shape == (2, 4, 64 // FACTOR, 48 // FACTOR)
    soft = model.decode(latents)
    assert soft.shape == hot.shape
    assert torch.allclose(soft.sum(dim=1), torch.ones(2, 64, 48), atol=1e-5)


def test_latents_are_normalised_as_the_buffers_say(model):
    hot = torch.nn.functional.one_hot(torch.randint(3, (1, 32, 32)), 3).movedim(-1, 1).float()
    model.latent_mean += 0.7
    model.latent_std *= 2.0
    assert torch.allclose(model.encode(hot) * 2.0 + 0.7, model.features(hot), atol=1e-5)
    model.latent_mean -= 0.7
    model.latent_std /= 2.0


def test_d4_is_the_group_of_the_square():
    image = torch.arange(9.0).reshape(3, 3)
    elements = [d4(image, element) for element in range(8)]
    assert len({tuple(element.flatten().tolist()) for element in elements}) == 8
    for first in range(8):
        for second in range(8):
            assert any(torch.equal(d4(d4(image, first), second), element) for element in elements)


def test_a_latent_depends_on_the_pixels_around_it_alone(model):
    """Nothing is normalised over the plane: a change far away, or a larger plane, leaves a latent as it is."""
    hot = torch.nn.functional.one_hot(torch.randint(3, (1, 96, 96)), 3).movedim(-1, 1).float()
    changed = hot.clone()
    changed[..., 80:, :] = changed[..., 80:, :].flip(1)
    near = slice(0, 10)  # latents of the first 40 rows
    assert torch.allclose(model.encode(hot)[..., near, :], model.encode(changed)[..., near, :], atol=1e-6)
    assert torch.allclose(model.encode(hot[..., :64, :])[..., near, :], model.encode(hot)[..., near, :], atol=1e-5)
