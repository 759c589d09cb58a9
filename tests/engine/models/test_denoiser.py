import pytest
import torch

from engine.models.denoiser import Denoiser, DenoiserConfig


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = Denoiser(DenoiserConfig(width=16, multipliers=(1, 2, 2))).eval()
    for parameter in model.parameters():  # blocks start as the identity; a test of them needs them awake
        torch.nn.init.normal_(parameter, std=0.05)
    return model


def test_shape_is_kept_for_planes_of_any_size(model):
    for h, w in ((16, 16), (8, 24)):
        assert model(torch.randn(3, 4, h, w), torch.tensor([0.0, 10.5, 999.0])).shape == (3, 4, h, w)


def test_planes_of_a_batch_do_not_mix(model):
    x, time = torch.randn(3, 4, 16, 16), torch.full((3,), 100.0)
    changed = x.clone()
    changed[0] += 1
    assert torch.allclose(model(x, time)[1:], model(changed, time)[1:], atol=1e-5)


def test_time_matters_and_is_continuous(model):
    x = torch.randn(1, 4, 16, 16)
    at = {t: model(x, torch.tensor([t])) for t in (100.0, 100.01, 600.0)}
    small, large = (float((at[t] - at[100.0]).detach().abs().max()) for t in (100.01, 600.0))
    assert 0 < small < 0.05 * large


def test_a_fresh_network_is_silent_in_its_blocks():
    """Zero-initialised: each block of a new network is the identity, so its depth does not scale the signal."""
    torch.manual_seed(0)
    stage = Denoiser(DenoiserConfig(width=16)).middle[0]
    x = torch.randn(1, 48, 4, 4)
    assert torch.allclose(stage(x, torch.randn(1, 64), torch.zeros(1, 0, 64)), x)


def test_patches_keep_the_shape_and_cost_a_quarter():
    """Every pixel is seen, and the answer of a pixel stands where the pixel is."""
    torch.manual_seed(0)
    config = DenoiserConfig(channels=1, width=16, multipliers=(1, 2), patch=2, learned_variance=True)
    model = Denoiser(config).eval()
    assert config.halvings == 2
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x, time = torch.randn(2, 1, 24, 16), torch.tensor([5.0, 900.0])
    out = model(x, time)
    assert out.shape == (2, 2, 24, 16)
    assert model.stem(torch.nn.functional.pixel_unshuffle(x, 2)).shape[-2:] == (12, 8)
    for place in ((0, 0), (1, 0), (7, 6)):
        changed = x.clone()
        changed[:, :, *place] += 1
        assert not torch.allclose(model(changed, time), out)
    # with the head alone awake, which phase of the patch a pixel is decides its answer: shuffled back, not blurred
    with torch.no_grad():
        model.head[2].weight.zero_()
        model.head[2].bias.copy_(torch.arange(8.0))
    tiles = model(x, time)
    assert torch.equal(tiles[0, 0, :2, :2], torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
    assert torch.equal(tiles[0, 1, -2:, -2:], torch.tensor([[4.0, 5.0], [6.0, 7.0]]))
