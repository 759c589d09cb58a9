"""Networks as samplers and guidance want them, on a bundle with untrained ones."""

import pytest
import torch

from engine.models.bundle import load_bundle
from engine.models.condition import Condition
from engine.models.crop_descriptors import DescriptorScale
from engine.models.inference import Inference, in_chunks
from tests.bundles import write_untrained_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "untrained"
    write_untrained_bundle(folder, ("a", "b", "c"))
    return load_bundle(folder)


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    """Of a bundle whose network hears of two descriptors."""
    folder = tmp_path_factory.mktemp("bundle") / "listener"
    known = [DescriptorScale(name=name, mean=0.0, sd=1.0, low=-9.0, high=9.0) for name in ("one", "two")]
    write_untrained_bundle(folder, ("a", "b", "c"), known)
    return Inference(load_bundle(folder))


@pytest.fixture
def inference(bundle):
    return Inference(bundle)


def latents(planes):
    return torch.randn(planes, 2, 8, 8, generator=torch.Generator().manual_seed(0))


def cotangents(count, planes):
    return torch.randn(count, planes, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def exact_pullback(bundle, z, given):
    leaf = z.clone().requires_grad_(True)
    decoded = bundle.autoencoder.decode(leaf)
    return torch.stack([torch.autograd.grad(decoded, leaf, each, retain_graph=True)[0] for each in given])


def test_the_pullback_is_the_derivative_of_the_decoder(bundle, inference):
    """Of several cotangents at once, in the precision of the processor, under no_grad as guidance calls it."""
    z, given = latents(11), cotangents(2, 11)  # more than one chunk, the last one padded
    wanted = exact_pullback(bundle, z, given)
    with torch.no_grad():
        found = inference.decode_pullback(z, given)
    assert found.shape == wanted.shape
    for one, other in zip(found, wanted, strict=True):
        assert float((one - other).norm() / other.norm()) < 0.03
    inference._decoder_dtype, inference._decoder = torch.float32, bundle.autoencoder
    assert torch.allclose(inference.decode_pullback(z, given), wanted, atol=1e-6)


def test_a_plane_does_not_depend_on_its_batch(inference):
    z, given = latents(11), cotangents(1, 11)
    assert torch.equal(inference.decode_pullback(z, given)[:, 3:4], inference.decode_pullback(z[3:4], given[:, 3:4]))


def test_single_planes_are_not_padded(inference):
    sizes = []
    single = inference.of_single_planes()
    decode = single._decoder.decode
    single._decoder.decode = lambda part: sizes.append(len(part)) or decode(part)
    try:
        out = single.decode(latents(2))
        assert sizes == [1, 1] and out.shape == (2, 3, 32, 32)
        assert torch.allclose(out, inference.decode(latents(2)), atol=0.02)
        assert sizes == [1, 1, 8]
    finally:
        del single._decoder.decode


def test_chunks_of_several_arguments_are_cut_alike():
    first, second = torch.arange(5.0), torch.arange(5.0) * 10
    assert torch.equal(in_chunks(lambda a, b: a + b, first, 2, 1, second), first + second)


@pytest.mark.parametrize("weight", [1.0, 1.7])
def test_each_volume_is_told_its_own(listener, weight):
    """A plane's estimate is that of its own descriptors alone, whatever the other volumes of the batch are told."""
    z = latents(18)  # three volumes of six planes: more than one chunk
    given = torch.randn(3, 3, 2, generator=torch.Generator().manual_seed(2))
    given[1] = torch.nan
    given[2, :, 0] = torch.nan
    together = listener.told(given, weight)(z, 0.4, 1)
    for volume in range(3):
        mine = slice(6 * volume, 6 * volume + 6)
        alone = listener.told(given[volume : volume + 1], weight)(z[mine], 0.4, 1)
        assert torch.equal(alone, together[mine])
        one = listener.estimate(z[mine], 0.4, Condition(descriptors=given[volume, 1:2]), weight)[0]
        assert torch.equal(one, alone)
    assert torch.equal(together[6:12], listener.denoise(z[6:12], 0.4, 1)) or weight != 1
    assert not torch.allclose(together[:6], listener.denoise(z[:6], 0.4, 1), atol=1e-3)
