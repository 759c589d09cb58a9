import pytest
import torch

from engine.models.autoencoder import Autoencoder, AutoencoderConfig, d4, decorrelation


@pytest.fixture(scope="module", params=[4, 2, 1])
def model(request):
    torch.manual_seed(0)
    config = AutoencoderConfig(phases=3, factor=request.param, window=request.param / 2, width=16, fine_width=8)
    return Autoencoder(config).eval()


def test_shapes_and_probabilities(model):
    hot = torch.nn.functional.one_hot(torch.randint(3, (2, 64, 48)), 3).movedim(-1, 1).float()
    latents = model.encode(hot)
    factor = model.config.factor
    assert latents.shape == (2, 2, 64 // factor, 48 // factor)
    soft = model.decode(latents)
    assert soft.shape == hot.shape
    assert torch.allclose(soft.sum(dim=1), torch.ones(2, 64, 48), atol=1e-5)


def test_latents_are_normalised_as_the_buffers_say(model):
    hot = torch.nn.functional.one_hot(torch.randint(3, (1, 32, 32)), 3).movedim(-1, 1).float()
    basis = torch.tensor([[2.0, 1.0], [0.5, -1.0]])
    model.latent_mean += 0.7
    model.latent_basis.copy_(basis)
    back = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(basis), model.encode(hot)) + 0.7
    assert torch.allclose(back, model.features(hot), atol=1e-5)
    model.latent_mean -= 0.7
    model.latent_basis.copy_(torch.eye(2))


def test_pixel_space_gives_back_what_was_encoded():
    pixels = Autoencoder(AutoencoderConfig(phases=3, factor=1)).eval()
    pixels.latent_mean.copy_(torch.tensor([0.3, 0.5]))
    pixels.latent_basis.copy_(torch.tensor([[2.0, 1.0], [0.5, -1.0]]))
    hot = torch.nn.functional.one_hot(torch.randint(3, (2, 32, 32)), 3).movedim(-1, 1).float()
    assert torch.allclose(pixels.decode(pixels.encode(hot)), hot, atol=3e-3)


def smooth(length, generator, count=400, n=32):
    """Periodic Gaussian planes [count, n, n] of unit variance and C = exp(-r^2 / 4 l^2)."""
    k = 2 * torch.pi * torch.fft.fftfreq(n)
    kernel = torch.exp(-0.5 * length**2 * (k[:, None] ** 2 + k**2))
    planes = torch.fft.ifft2(torch.fft.fft2(torch.randn(count, n, n, generator=generator)) * kernel).real
    return planes / planes.std()


def test_mixed_fields_of_several_ranges_are_told_apart():
    """Three independent fields, mixed: their factors are the fields themselves, the longest range first (Desbarats &
    Dimitrakopoulos 2000: exact for sums of independent structures)."""
    generator = torch.Generator().manual_seed(0)
    fields = torch.stack([smooth(length, generator) for length in (1.0, 3.0, 2.0)], dim=1)
    mixing = torch.tensor([[1.0, 0.4, 0.2], [-0.8, 1.0, 0.3], [0.1, -0.5, 0.9]])
    means = torch.tensor([1.0, 2.0, 3.0])
    mean, basis = decorrelation(torch.einsum("ij,bjhw->bihw", mixing, fields) + means[:, None, None])
    assert torch.allclose(mean, means, atol=0.02)
    through = (basis @ mixing).abs()
    assert torch.allclose(through, torch.eye(3)[[1, 2, 0]], atol=0.06)


def test_one_channel_is_divided_by_its_standard_deviation():
    drawn = 2.0 + 3.0 * torch.randn(50, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    mean, basis = decorrelation(drawn)
    assert float(mean) == pytest.approx(float(drawn.mean()))
    assert float(basis) == pytest.approx(1 / float(drawn.std()), 1e-3)


def test_phases_that_never_part_do_not_break_the_channels():
    """Two phases of equal share everywhere: a direction without variance."""
    one = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    _, basis = decorrelation(torch.cat([one, one], dim=1))
    assert bool(basis.isfinite().all())


def test_latents_are_local_fractions(model):
    """The mean of the latents is the fraction of the phase (mirrored borders count some pixels twice), a plane of one
    phase has latents 0 or 1, and the planes of all phases but the last say what the last has."""
    image = torch.randint(3, (1, 64, 64)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    hot = torch.nn.functional.one_hot(image, 3).movedim(-1, 1).float()
    features = model.features(hot)
    assert torch.allclose(features.mean(dim=(2, 3)), hot[:, :2].mean(dim=(2, 3)), atol=2e-3)
    solid = torch.nn.functional.one_hot(torch.full((1, 32, 32), 1), 3).movedim(-1, 1).float()
    assert torch.allclose(model.features(solid), torch.tensor([0.0, 1.0])[None, :, None, None].expand(1, 2, 1, 1))


@pytest.mark.parametrize("element", range(8))
def test_encoding_commutes_with_the_symmetries_of_the_square(model, element):
    hot = torch.nn.functional.one_hot(torch.randint(3, (2, 48, 48)), 3).movedim(-1, 1).float()
    assert torch.allclose(model.encode(d4(hot, element)), d4(model.encode(hot), element), atol=1e-5)


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
    near = slice(0, 40 // model.config.factor)  # latents of the first 40 rows
    assert torch.allclose(model.encode(hot)[..., near, :], model.encode(changed)[..., near, :], atol=1e-6)
    assert torch.allclose(model.encode(hot[..., :64, :])[..., near, :], model.encode(hot)[..., near, :], atol=1e-5)


def test_pixel_space_is_the_phases_themselves():
    model = Autoencoder(AutoencoderConfig(phases=4, factor=1))
    assert not list(model.parameters())
    model.latent_mean += 0.3
    model.latent_basis *= 2.0
    image = torch.randint(4, (2, 16, 24))
    hot = torch.nn.functional.one_hot(image, 4).movedim(-1, 1).float()
    soft = model.decode(model.encode(hot))
    assert torch.equal(soft.argmax(dim=1), image) and float((soft - hot).abs().max()) < 0.01


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_grey_values_have_one_channel_and_stay_grey_values(factor):
    model = Autoencoder(AutoencoderConfig(phases=1, factor=factor, grey=True, width=8, fine_width=8)).eval()
    field = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents = model.encode(field)
        back = model.decode(latents)
    assert latents.shape == (2, 1, 32 // factor, 32 // factor) and back.shape == field.shape
    assert back.min() >= 0 and back.max() <= 1
    if factor == 1:
        assert torch.equal(back, field)
    else:  # local means
        inner = field[:, :, 8:24, 8:24].mean()
        assert abs(float(latents[..., 8 // factor : 24 // factor, 8 // factor : 24 // factor].mean() - inner)) < 0.03
