"""What every descriptor does. A descriptor is tested by a subclass that says how to measure it."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import InputError

TURNS = [  # order of the axes, axes that are mirrored
    ((1, 0, 2), ()),
    ((1, 2, 0), (0,)),
    ((0, 2, 1), (1, 2)),
    ((2, 1, 0), (0, 1, 2)),
]


class DescriptorConformance:
    """Inherit, define `measure`, say what it gives, and be tested.

    Attributes:
        per_axis: the result is [..., axes, *rest]; otherwise [..., *rest] and no axis stands out.
        rest: number of axes of the result behind batch and axes (1 for a curve).
        periodic: takes `periodic`.
        extensive: a periodic volume repeated measures as one period does.
        soft: has a differentiable form, `measure_soft`.
    """

    per_axis = False
    rest = 0
    periodic = True
    extensive = True
    soft = False

    @staticmethod
    def measure(volume: NDArray[Any], *, space_dims: int = 3, periodic: bool = False) -> Any:
        """The descriptor of a mask or of labels [..., *space]."""
        raise NotImplementedError

    @staticmethod
    def measure_soft(phases: Tensor, *, space_dims: int = 3, periodic: bool = False) -> Tensor:
        """The differentiable form."""
        raise NotImplementedError

    @staticmethod
    def volumes(*shape: int, seed: int = 0) -> NDArray[Any]:
        """Random input; blobs of a few voxels, so that lengths and clusters are of all sizes."""
        noise = np.random.default_rng(seed).random((*shape[:-3], *(side + 1 for side in shape[-3:])))
        return noise[..., :-1, :-1, :-1] + noise[..., 1:, 1:, 1:] < 0.95

    @staticmethod
    def as_soft(volume: NDArray[Any]) -> Tensor:
        """What `measure_soft` takes for hard input."""
        return torch.from_numpy(volume.astype(np.float64))

    @staticmethod
    def random_soft(shape: tuple[int, ...]) -> Tensor:
        return 0.1 + 0.8 * torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def result(self, volume: NDArray[Any], **options: Any) -> NDArray[np.float64]:
        options = options if self.periodic else {key: value for key, value in options.items() if key != "periodic"}
        return np.asarray(self.measure(volume, **options), dtype=np.float64)

    @pytest.mark.parametrize("periodic", [False, True])
    @pytest.mark.parametrize(("order", "mirrored"), TURNS)
    def test_turned_volumes_measure_the_same(self, order, mirrored, periodic) -> None:
        volume = self.volumes(9, 8, 10)
        turned = np.flip(volume.transpose(order), mirrored)
        expected = self.result(volume, periodic=periodic)
        if self.per_axis:
            expected = expected[list(order)]
        np.testing.assert_allclose(self.result(turned, periodic=periodic), expected, atol=1e-12)

    def test_a_batch_is_measured_as_one_by_one(self) -> None:
        volumes = self.volumes(2, 2, 8, 7, 9)
        together = self.result(volumes)
        for i, j in itertools.product(range(2), repeat=2):
            # A correlation that is exactly 0 comes out of its transforms as some 1e-17.
            np.testing.assert_allclose(together[i, j], self.result(volumes[i, j]), rtol=1e-5, atol=1e-15)

    def test_images_are_measured_too(self) -> None:
        images = self.volumes(3, 8, 12)
        result = self.result(images, space_dims=2)
        shape = (3, 2) if self.per_axis else (3,)
        assert result.shape[: len(shape)] == shape and result.ndim == len(shape) + self.rest
        np.testing.assert_allclose(result[1], self.result(images[1], space_dims=2), rtol=1e-12)
        turned = self.result(images.transpose(0, 2, 1), space_dims=2)
        np.testing.assert_allclose(turned, result[:, ::-1] if self.per_axis else result, atol=1e-12)

    def test_a_shifted_periodic_volume_measures_the_same(self) -> None:
        if not self.periodic:
            return
        volume = self.volumes(8, 9, 10)
        for axis in range(3):
            if self.per_axis and not self.extensive:  # faces across an axis stay where they are
                moved, kept = np.roll(volume, 3, axis), [other for other in range(3) if other != axis]
                before, after = (self.result(each, periodic=True)[kept] for each in (volume, moved))
            else:
                before, after = (self.result(each, periodic=True) for each in (volume, np.roll(volume, 3, axis)))
            np.testing.assert_allclose(after, before, atol=1e-12)

    def test_a_repeated_periodic_volume_measures_the_same(self) -> None:
        if not (self.periodic and self.extensive):
            return
        volume = self.volumes(8, 7, 8)
        repeated = np.tile(volume, (1, 2, 1))
        before, after = (self.result(each, periodic=True) for each in (volume, repeated))
        np.testing.assert_allclose(after, before, atol=1e-12)

    def test_absent_and_full_give_a_defined_value(self) -> None:
        for fill in (0, 1):
            assert not np.isnan(self.result(np.full((8, 8, 8), fill, dtype=np.uint8))).any()

    def test_what_is_no_mask_or_label_is_refused(self) -> None:
        with pytest.raises(InputError):
            self.measure(np.full((8, 8, 8), np.nan))
        with pytest.raises(InputError):
            self.measure(np.zeros((8, 8), dtype=bool))
        with pytest.raises(InputError):
            self.measure(np.zeros((0, 8, 8), dtype=bool))

    @pytest.mark.parametrize("periodic", [False, True])
    def test_soft_zeros_and_ones_give_the_hard_value(self, periodic) -> None:
        if not self.soft:
            return
        for volume in (self.volumes(2, 8, 7, 9), np.zeros((1, 7, 7, 7), dtype=np.uint8)):
            soft = self.measure_soft(self.as_soft(volume), periodic=periodic)
            np.testing.assert_allclose(soft.numpy(), self.result(volume, periodic=periodic), atol=1e-12)
        image = self.volumes(3, 8, 9)
        soft = self.measure_soft(self.as_soft(image), space_dims=2, periodic=periodic)
        np.testing.assert_allclose(soft.numpy(), self.result(image, space_dims=2, periodic=periodic), atol=1e-12)

    @pytest.mark.parametrize("periodic", [False, True])
    def test_gradient_against_finite_differences(self, periodic) -> None:
        if not self.soft:
            return
        phases = self.random_soft((1, 3, 4, 4, 5)).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda soft: self.measure_soft(soft, periodic=periodic), phases, atol=1e-8, rtol=1e-3
        )
