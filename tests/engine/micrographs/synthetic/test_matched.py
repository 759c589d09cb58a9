import numpy as np
import pytest
import torch

from engine.descriptors import lineal_path as hard
from engine.descriptors.discrepancy import relative_area
from engine.descriptors.gram import gram_features, random_filters
from engine.descriptors.two_point import directional_s2
from engine.errors import InputError
from engine.micrographs.synthetic.gaussian import LevelCut, Plurigaussian
from engine.micrographs.synthetic.matched import DescriptorMatched, cut_to_fractions, gram, lineal_path, s2_map


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


def one_hot(labels: np.ndarray, phases: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([labels == phase for phase in range(phases)]).astype(float))


@pytest.mark.parametrize("shape", [(30, 41), (24, 24)])
def test_gram_features_of_a_periodic_image_are_the_networks_seen_all_round(shape):
    soft = torch.rand(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wrapped = torch.nn.functional.pad(soft[None], (11, 11, 11, 11), mode="circular")  # the largest filter has 23 pixels
    by_network = gram_features(wrapped, random_filters(3)).matrices[0]
    assert torch.allclose(gram(soft, 4, True), by_network, rtol=1e-9)
    if min(shape) > 24:
        assert torch.equal(gram(soft, 4, False), gram_features(soft[None], random_filters(3)).matrices[0])


@pytest.mark.parametrize("descriptors", [("s2", "lineal_path"), ("gram",)])
def test_the_gradient_is_that_of_finite_differences(target, descriptors):
    material = DescriptorMatched(target=target, phases=("a", "b"), descriptors=descriptors, lags=4)
    side = 23 if "gram" in descriptors else 16
    soft = torch.rand(
        2, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    if "gram" not in descriptors:
        assert torch.autograd.gradcheck(material.mismatch, (soft,), rtol=1e-3)
        return
    [slope] = torch.autograd.grad(material.mismatch(soft), soft)  # along some directions: all pixels take a minute
    for seed in range(4):
        way = torch.randn(soft.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            change = (material.mismatch(soft + 1e-6 * way) - material.mismatch(soft - 1e-6 * way)) / 2e-6
        assert float((slope * way).sum()) == pytest.approx(float(change), rel=1e-3)


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


def test_gram_features_come_nearer_where_they_are_asked_for(target):
    wanted = gram(one_hot(target, 2), 8, False)

    def error(descriptors: tuple[str, ...]) -> tuple[float, float]:
        material = DescriptorMatched(target=target, phases=("a", "b"), descriptors=descriptors, lags=8, iterations=80)
        sample = material.sample((40, 40), 1)
        apart = (gram(one_hot(sample, 2), 8, True) - wanted).norm() / wanted.norm()
        s2 = directional_s2(target == 1, 8, space_dims=2).mean(dim=0).numpy()
        found = directional_s2(sample == 1, 8, space_dims=2, periodic=True).mean(dim=0).numpy()
        return float(apart), float(relative_area(found, s2))

    (without, _), (with_gram, s2_error) = error(("s2", "lineal_path")), error(("s2", "lineal_path", "gram"))
    assert with_gram < 0.75 * without
    assert s2_error < 0.05


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
    with pytest.raises(InputError, match="at least 23 pixels"):
        DescriptorMatched(**good, lags=4, descriptors=("gram",)).sample((20, 20), 0)  # type: ignore[arg-type]
