import itertools

import numpy as np
import pytest
import torch

from engine.descriptors.fractions import volume_fractions
from engine.descriptors.two_point import autocovariance, directional_s2, radial_s2
from engine.errors import InputError


def random_mask(*shape: int, share: float = 0.4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < share


class TestTheory:
    def test_boolean_model_along_the_axes(self, boolean_model, within_standard_errors):
        curves = directional_s2(boolean_model.masks, 20).numpy()
        within_standard_errors(curves.mean(axis=1), boolean_model.s2(np.arange(20)))

    def test_boolean_model_over_all_directions(self, boolean_model, within_standard_errors):
        """The exact curve is the mean over the lags of a shell, weighted by the pairs that the cube holds."""
        r_max, n = 16, boolean_model.masks.shape[1]
        lag = np.arange(-r_max, r_max + 1)
        distance = np.sqrt(sum(axis**2 for axis in np.ix_(lag, lag, lag)))
        one = n - np.abs(lag)
        pairs = one[:, None, None] * one[:, None] * one
        shell = np.rint(distance).astype(int)
        exact = [np.average(boolean_model.s2(distance)[shell == r], weights=pairs[shell == r]) for r in range(r_max)]
        within_standard_errors(radial_s2(boolean_model.masks, r_max).numpy(), np.array(exact))

    def test_laminate(self):
        """Layers w thick, period 2 w: a triangle wave across the layers, flat along them."""
        w, r = 4, np.arange(16)
        mask = np.broadcast_to((np.arange(16) // w % 2 == 0)[:, None, None], (16, 16, 16))
        across, along, _ = directional_s2(mask, 16, periodic=True).numpy()
        assert across == pytest.approx(np.abs(0.5 - (r % (2 * w)) / (2 * w)))
        assert along == pytest.approx(np.full(16, 0.5))

    @pytest.mark.parametrize("periodic", [True, False])
    def test_checkerboard(self, periodic):
        mask = np.indices((8, 8, 8)).sum(axis=0) % 2 == 0
        expected = np.broadcast_to([0.5, 0.0] * 4, (3, 8))
        assert directional_s2(mask, 8, periodic=periodic).numpy() == pytest.approx(expected)

    def test_uncorrelated_voxels_have_no_autocovariance(self, within_standard_errors):
        curves = directional_s2(random_mask(64, 24, 24, 24), 12).mean(dim=1)
        within_standard_errors(curves[:, 1:].numpy(), np.full(11, 0.16))
        assert autocovariance(curves.mean(dim=0))[1:].abs().max() < 0.005

    def test_s2_at_zero_is_the_fraction(self):
        mask = random_mask(5, 9, 7, 8)
        fraction = volume_fractions(mask, [1])
        assert directional_s2(mask, 5)[..., 0].numpy() == pytest.approx(np.repeat(fraction, 3, axis=1), abs=0)
        assert radial_s2(mask, 5)[..., :1].numpy() == pytest.approx(fraction)

    @pytest.mark.parametrize("constant", [0, 1])
    def test_a_constant_field_has_no_covariance(self, constant):
        curves = directional_s2(np.full((6, 6, 6), constant), 4)
        assert torch.equal(curves, torch.full((3, 4), float(constant), dtype=torch.float64))
        assert torch.equal(autocovariance(curves), torch.zeros(3, 4, dtype=torch.float64))


class TestInvariance:
    def test_shift_of_a_periodic_field(self):
        mask = random_mask(8, 9, 10)
        shifted = np.roll(mask, (3, 4, 5), axis=(0, 1, 2))
        for measure, r_max in ((directional_s2, 8), (radial_s2, 5)):
            torch.testing.assert_close(measure(mask, r_max, periodic=True), measure(shifted, r_max, periodic=True))

    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
    def test_permuting_the_axes_permutes_the_curves(self, order):
        mask = random_mask(7, 8, 9)
        turned = mask.transpose(order)
        torch.testing.assert_close(directional_s2(turned, 6), directional_s2(mask, 6)[list(order)])
        torch.testing.assert_close(radial_s2(turned, 6), radial_s2(mask, 6))

    def test_flips_change_nothing(self):
        mask = random_mask(7, 8, 9)
        flipped = mask[::-1, :, ::-1]  # negative strides
        torch.testing.assert_close(directional_s2(flipped, 6), directional_s2(mask, 6))

    def test_a_member_of_a_batch_is_measured_as_alone(self):
        masks = random_mask(2, 3, 8, 7, 6)
        for measure in (directional_s2, radial_s2):
            torch.testing.assert_close(measure(masks, 6)[1, 2], measure(masks[1, 2], 6))


class TestAgainstShiftedProducts:
    """A second, slow way to the same numbers."""

    @pytest.mark.parametrize("periodic", [True, False])
    @pytest.mark.parametrize("shape", [(6, 7, 8), (9, 11)])
    def test_along_the_axes(self, shape, periodic):
        mask = random_mask(*shape)
        measured = directional_s2(mask, 6, space_dims=len(shape), periodic=periodic).numpy()
        for axis, n in enumerate(shape):
            for r in range(6):
                other = np.roll(mask, -r, axis=axis)
                kept = n if periodic else n - r
                assert measured[axis, r] == pytest.approx(np.moveaxis(mask & other, axis, 0)[:kept].mean(), abs=1e-15)

    @pytest.mark.parametrize(("shape", "r_max"), [((6, 7, 8), 6), ((9, 11), 9)])
    def test_over_all_directions(self, shape, r_max):
        mask = random_mask(*shape)
        centres = np.argwhere(np.ones(shape))
        distance = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
        both = np.outer(mask.ravel(), mask.ravel())
        expected = [both[np.rint(distance) == r].mean() for r in range(r_max)]
        assert radial_s2(mask, r_max, space_dims=len(shape)).numpy() == pytest.approx(np.array(expected))

    def test_over_all_directions_of_a_periodic_field(self):
        shape = (6, 7, 8)
        mask = random_mask(*shape)
        centres = np.argwhere(np.ones(shape))
        apart = np.abs(centres[:, None] - centres[None])
        distance = np.linalg.norm(np.minimum(apart, np.array(shape) - apart), axis=-1)
        both = np.outer(mask.ravel(), mask.ravel())
        expected = [both[np.rint(distance) == r].mean() for r in range(4)]
        assert radial_s2(mask, 4, periodic=True).numpy() == pytest.approx(np.array(expected))


class TestSoftPhases:
    @pytest.mark.parametrize("periodic", [True, False])
    @pytest.mark.parametrize("measure", [directional_s2, radial_s2])
    def test_gradient_against_finite_differences(self, measure, periodic):
        field = torch.rand(4, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        field.requires_grad_()
        assert torch.autograd.gradcheck(lambda x: measure(x, 3, periodic=periodic), field, fast_mode=True)

    def test_soft_zero_and_one_give_the_mask_curve(self):
        mask = torch.from_numpy(random_mask(8, 8, 8))
        for measure in (directional_s2, radial_s2):
            soft = measure(mask.float(), 6)
            assert soft.dtype == torch.float32
            torch.testing.assert_close(soft.double(), measure(mask, 6), atol=1e-6, rtol=0)


@pytest.mark.parametrize("measure", [directional_s2, radial_s2])
@pytest.mark.parametrize("r_max", [0, 7])
def test_lags_outside_the_volume_are_refused(measure, r_max):
    with pytest.raises(InputError, match=r"1 \.\. 6"):
        measure(np.zeros((6, 8, 8), dtype=bool), r_max)


def test_a_periodic_radius_past_half_the_side_is_refused():
    with pytest.raises(InputError, match="below 4"):
        radial_s2(np.zeros((6, 8, 8), dtype=bool), 5, periodic=True)


def test_too_few_axes_are_refused():
    with pytest.raises(InputError, match="at least 3 axes"):
        directional_s2(np.zeros((6, 8), dtype=bool), 2)
