import pytest
import torch

from engine.evaluation.seams import face_trace
from engine.sampling.multiplane import Noise
from engine.sampling.refine import Border, decode_volume, redraw_planes, refine, stretch


class BlockCodec:
    """Latents are block means of the first phase; decoding repeats them. Exact where a volume is made of blocks."""

    factor, channels = 4, 1

    def encode(self, probabilities):
        return torch.nn.functional.avg_pool2d(probabilities[:, :1], 4)

    def decode(self, latents):
        first = latents.repeat_interleave(4, -1).repeat_interleave(4, -2)
        return torch.cat([first, 1 - first], dim=1)


def keep(planes, abar, axis):
    """A denoiser that knows nothing: takes the noise for signal, rescaled."""
    return planes / abar**0.5


def test_stretch_interpolates_along_one_axis_only():
    volume = torch.randn(1, 2, 4, 5, 6)
    for axis in range(3):
        longer = stretch(volume, axis, 4)
        size = volume.shape[2 + axis]
        assert longer.shape[2 + axis] == 4 * size
        # The voxels of a slab stand at -3/8, -1/8, 1/8 and 3/8 of a latent pixel from its plane.
        middle = longer.unfold(2 + axis, 4, 4)[..., 1:3].mean(dim=-1)
        neighbours = volume.roll(1, 2 + axis) + volume.roll(-1, 2 + axis)
        assert torch.allclose(middle, 0.875 * volume + 0.0625 * neighbours, atol=1e-5)
    ramp = torch.arange(4.0).view(1, 1, 4, 1, 1)
    assert torch.allclose(stretch(ramp, 0, 4).flatten()[2:-2], (torch.arange(2, 14) + 0.5) / 4 - 0.5)
    # The volume is a torus: before the first plane comes the last.
    assert torch.allclose(stretch(ramp, 0, 4).flatten()[:2], torch.tensor([0.375 * 3, 0.125 * 3]))


def test_stretched_noise_keeps_its_variance():
    """White planes lose up to half of their variance between two planes; the correction gives it back everywhere."""
    white = torch.randn(1, 1, 64, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = stretch(white, 0, 4).var(dim=(0, 1, 3, 4))
    kept = stretch(white, 0, 4, torch.zeros(1)).var(dim=(0, 1, 3, 4))
    assert float(plain.min()) < 0.6
    assert torch.allclose(kept, torch.ones(256), atol=0.15)


def test_decoding_is_the_mean_over_the_axes_and_probabilities_sum_to_one():
    latents = torch.rand(2, 1, 4, 4, 4)
    soft = decode_volume(latents, BlockCodec())
    assert soft.shape == (2, 2, 16, 16, 16)
    assert torch.allclose(soft.sum(dim=1), torch.ones(2, 16, 16, 16))
    constant = decode_volume(torch.full((1, 1, 4, 4, 4), 0.25), BlockCodec())
    assert torch.allclose(constant[:, 0], torch.full((1, 16, 16, 16), 0.25))


def test_decoding_does_not_prefer_an_axis():
    latents = torch.rand(1, 1, 4, 4, 4)
    turned = decode_volume(latents.permute(0, 1, 4, 2, 3), BlockCodec())
    assert torch.allclose(turned, decode_volume(latents, BlockCodec()).permute(0, 1, 4, 2, 3), atol=1e-6)


def test_redraw_without_noise_is_encode_and_decode():
    soft = torch.rand(1, 2, 16, 16, 16)
    soft = soft / soft.sum(dim=1, keepdim=True)
    redrawn = redraw_planes(soft, 1, BlockCodec(), keep, 1 - 1e-12, Noise([0]))
    plane = soft[0, :, :, 5, :]
    assert torch.allclose(redrawn[0, :, :, 5, :], BlockCodec().decode(BlockCodec().encode(plane[None]))[0], atol=1e-4)


def test_refine_with_no_pass_changes_nothing():
    soft = torch.rand(1, 2, 16, 16, 16)
    assert torch.equal(refine(soft, BlockCodec(), keep, [], Noise([0])), soft)


class LocalCodec(BlockCodec):
    """Sees beyond its block, with an edge of its own at the border of a plane: what a network does there."""

    def encode(self, probabilities):
        smooth = torch.nn.functional.avg_pool2d(probabilities[:, :1], 5, 1, 2, count_include_pad=True)
        return torch.nn.functional.avg_pool2d(smooth, 4)

    def decode(self, latents):
        smooth = torch.nn.functional.avg_pool2d(latents, 3, 1, 1, count_include_pad=True)
        return super().decode(smooth)


def two_phases(*shape):
    soft = torch.rand(1, 2, *shape, generator=torch.Generator().manual_seed(3))
    return soft / soft.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("at_once", [1, 5, 16, 1000])
def test_planes_at_once_change_nothing(at_once):
    latents, soft = torch.rand(2, 1, 4, 5, 6), two_phases(16, 12, 20).expand(2, -1, -1, -1, -1)
    assert torch.equal(decode_volume(latents, LocalCodec(), at_once=at_once), decode_volume(latents, LocalCodec()))
    some, other = (
        refine(soft, LocalCodec(), keep, [0.9, 0.95], Noise([0, 1]), at_once=number) for number in (at_once, None)
    )
    assert torch.equal(some, other)


def test_rounds_are_encoding_and_decoding_alone():
    soft = two_phases(16, 12, 20)
    once = refine(soft, BlockCodec(), keep, [1.0], Noise([0]))
    parts = [redraw_planes(soft, axis, BlockCodec(), keep, 1.0, Noise([7])) for axis in range(3)]
    assert torch.allclose(once, sum(parts) / 3, atol=1e-6)
    plane = soft[0, :, 3]
    assert torch.allclose(parts[0][0, :, 3], BlockCodec().decode(BlockCodec().encode(plane[None]))[0])


def test_planes_that_join_are_redrawn_as_on_a_torus():
    """Turned by whole latent pixels before or after, with a margin wider than the codec sees: the same volume."""
    soft, turn = two_phases(16, 24, 16), (4, 8, 12)
    for border, same in ((Border(margin=2), True), (Border(), False)):
        turned = refine(soft.roll(turn, (2, 3, 4)), LocalCodec(), keep, [1.0], Noise([0]), border=border)
        still = refine(soft, LocalCodec(), keep, [1.0], Noise([0]), border=border)
        assert torch.allclose(turned, still.roll(turn, (2, 3, 4)), atol=1e-6) is same


def test_an_offset_lattice_is_laid_elsewhere_and_taken_back():
    """Blocks of 4 at an offset drawn from 0..3: on the mean every voxel is seen through the same triangle."""
    stripes = (torch.arange(16) % 8 < 4).float()
    soft = torch.stack([stripes, 1 - stripes])[None, :, None, None].expand(200, -1, 4, 8, -1)
    drawn = redraw_planes(soft, 0, BlockCodec(), keep, 1.0, Noise(range(200)), border=Border(offset=True))
    triangle = torch.tensor([1.0, 2, 3, 4, 3, 2, 1]) / 16
    wanted = sum(w * stripes.roll(lag) for lag, w in zip(range(-3, 4), triangle, strict=True))
    assert torch.allclose(drawn[:, 0].mean(dim=(0, 1, 2)), wanted, atol=0.1)  # standard error below 0.03
    fixed = redraw_planes(soft, 0, BlockCodec(), keep, 1.0, Noise(range(200)))
    assert torch.allclose(fixed[0, 0, 0, 0], stripes)


def test_faces_of_a_volume_whose_planes_join_are_as_any_planes_inside():
    """Level cuts of periodic noise, redrawn by a codec with edges: joined, interfaces across the faces are as usual;
    open, they are not, which shows that the comparison can tell."""
    generator = torch.Generator().manual_seed(5)
    smooth = torch.randn(12, 1, 48, 48, 48, generator=generator)
    for axis in (2, 3, 4):
        smooth = sum(smooth.roll(lag, axis) for lag in range(-3, 4))
    pore = (smooth > 0.8 * smooth.std()).float()
    soft = torch.cat([pore, 1 - pore], dim=1)

    def trace(border, period):
        redrawn = refine(soft, LocalCodec(), keep, [1.0], Noise(range(12)), border=border)
        return face_trace(list(redrawn.argmax(dim=1).numpy()), period)

    assert abs(trace(Border(margin=2, offset=True), 1).score) < 3
    assert abs(trace(Border(margin=2), 4).score) < 3
    assert abs(trace(Border(), 4).score) > 4
