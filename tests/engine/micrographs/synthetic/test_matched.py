import numpy as np
import pytest
import torch

from engine.descriptors import lineal_path as hard
from engine.descriptors.two_point import directional_s2
from engine.errors import InputError
from engine.evaluation.null import relative_area
from engine.micrographs.synthetic.gaussian import LevelCut, Plurigaussian
from engine.micrographs.synthetic.matched import DescriptorMatched, cut_to_fractions, lineal_path, s2_map


@pytest.fixture(scope="module")
def target() -> np.ndarray:
    return LevelCut(fraction=0.3, lengths=(5.0,)).sample((96, 96), 3)


@pytest.mark.parametrize("periodic", [True, False])
def test_the_descriptors_of_hard_pixels_are_the_counted_ones(target, periodic):
    soft = torch.from_numpy(np.stack([target == 0, target == 1]).astype(float))
    counted = directional_s2(target == 1, 8, space_dims=2, periodic=periodic)
    found = s2_map(soft, 8, periodic)[1]
    assert found[7] == pytest.approx(counted[1].numpy())  # dy = 0
    assert found[7:, 0] == pytest.approx(counted[0].numpy())  # dx = 0
    assert found[:8, 0].flip(0) == pytest.approx(counted[0].numpy())
    if not periodic:
        assert lineal_path(soft, 8, False)[1] == pytest.approx(hard.lineal_path(target == 1, 8, space_dims=2))


def test_the_gradient_is_that_of_finite_differences(target):
    material = DescriptorMatched(target=target, phases=("a", "b"), descriptors=("s2", "lineal_path"), lags=4)
    soft = torch.rand(2, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(material.mismatch, (soft,), rtol=1e-3)


@pytest.mark.parametrize("descriptors", [("s2",), ("s2", "lineal_path")])
def test_samples_have_the_descriptors_of_the_target(target, descriptors):
    material = DescriptorMatched(target=target, phases=("a", "b"), descriptors=descriptors, lags=10, iterations=50)
    sample = material.sample((40, 40), 1)
    assert sample.mean() == pytest.approx(target.mean(), abs=1 / 40**2)
    wanted = directional_s2(target == 1, 10, space_dims=2).mean(dim=0).numpy()
    found = directional_s2(sample == 1, 10, space_dims=2, periodic=True).mean(dim=0).numpy()
    assert relative_area(found, wanted) < 0.05
    if "lineal_path" in descriptors:
        wanted = hard.lineal_path(target == 1, 10, space_dims=2).mean(axis=0)
        assert relative_area(hard.lineal_path(sample == 1, 10, space_dims=2).mean(axis=0), wanted) < 0.15
    assert not np.array_equal(sample, material.sample((40, 40), 2))


def test_three_phases():
    target = Plurigaussian(lengths=(5.0,)).sample((64, 64), 1)
    material = DescriptorMatched(target=target, phases=("a", "b", "c"), lags=8, iterations=60)
    sample = material.sample((40, 40), 1)
    for phase in range(3):
        wanted = directional_s2(target == phase, 8, space_dims=2).mean(dim=0).numpy()
        found = directional_s2(sample == phase, 8, space_dims=2, periodic=True).mean(dim=0).numpy()
        assert relative_area(found, wanted) < 0.06


def test_cutting_holds_the_fractions_to_the_pixel():
    soft = np.random.default_rng(0).dirichlet([1, 1, 1], size=(10, 10)).transpose(2, 0, 1)
    assert np.bincount(cut_to_fractions(soft, np.array([0.5, 0.13, 0.37])).ravel()).tolist() == [50, 13, 37]


def test_impossible_requests_are_refused(target):
    good = {"target": target, "phases": ("a", "b")}
    for changed, words in (
        ({"descriptors": ("s3",)}, "there is no 's3'"),
        ({"lags": 40}, "lags: must lie within 2 .. 24"),
        ({"phases": ("a", "b", "c")}, "all 3 phases"),
        ({"target": target[0]}, "must be an image"),
    ):
        with pytest.raises(InputError, match=words):
            DescriptorMatched(**(good | changed))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 64 pixels"):
        DescriptorMatched(**good).sample((32, 32), 0)  # type: ignore[arg-type]
