"""Images of a bundle: classes, planes, guidance and the plain reverse process."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.design import check_request
from engine.errors import InputError
from engine.images import ImageSettings, check_images, image_phases, sample_images
from engine.micrographs.micrograph import Micrographs, Source
from engine.models.bundle import load_bundle
from engine.models.condition import Condition
from engine.models.inference import Inference
from engine.request import Request, Settings
from engine.sampling.solvers import Ddpm
from engine.train import train
from tests.engine.models.tiny import CONFIG

NONE = ImageSettings()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Two classes that differ in their fraction, in pixel space, with a learned variance."""
    numbers = np.random.default_rng(0)
    images = tuple((numbers.random((64, 64)) < share).astype(np.uint8) for share in (0.2, 0.8))
    source = Source(name="a.png", sha256="", shape=(64, 64), kind="image")
    micrographs = Micrographs(
        arrays=images,
        phases=("a", "b"),
        labels=(2, 5),
        sources=(source, source),
        classes=("sparse", "dense"),
        class_of=(0, 1),
    )
    config = replace(
        CONFIG,
        factor=1,
        crop=32,
        batch=8,
        denoiser_steps=60,
        denoiser_rate=3e-3,
        denoiser_multipliers=(1, 2),
        learned_variance=True,
        calibrate=True,
        ema_decay=0.9,
    )
    out = tmp_path_factory.mktemp("bundles") / "classes"
    train(micrographs, out, config)
    return load_bundle(out)


@pytest.fixture(scope="module")
def inference(bundle):
    return Inference(bundle)


def test_a_bundle_of_classes_says_so_and_makes_no_volumes(bundle):
    assert bundle.card.classes == ("sparse", "dense") and bundle.card.denoiser.classes == 2
    with pytest.raises(InputError, match="makes images of 2 classes, not volumes"):
        check_request(Request(structure_id="a", bundle="b", shape=(32, 32, 32), seed=0), bundle.card)


def test_the_class_decides_the_fraction(bundle, inference):
    def share(label, weight=1.0):
        settings = ImageSettings(label=label, weight=weight, sampling=Settings(solver="ddim", steps=10, eta=0.0))
        return float((sample_images(bundle, inference, (32, 32), range(6), settings) == 5).mean())

    assert share("sparse") + 0.15 < share("dense")
    assert share("dense", 1.5) > share("dense", 0.0) - 0.05  # without the condition it is neither


def test_an_image_depends_on_its_seed_alone(bundle, inference):
    settings = ImageSettings(label="dense", sampling=Settings(solver="ddpm", steps=4))
    together = sample_images(bundle, inference, (32, 48), [7, 8, 9], settings)
    assert together.shape == (3, 32, 48) and set(np.unique(together)) <= {2, 5}
    alone = sample_images(bundle, inference, (32, 48), [8], settings)
    assert (alone[0] == together[1]).all()


def test_guidance_is_linear_in_its_weight(bundle, inference):
    x = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    told = Condition(label=torch.tensor([1]))
    with_it, share = inference.estimate(x, 0.5, told)
    without, _ = inference.estimate(x, 0.5)
    both, _ = inference.estimate(x, 0.5, told, 2.5)
    assert torch.allclose(both, 2.5 * with_it - 1.5 * without, atol=1e-4)
    assert share is not None and share.shape == x.shape
    assert not torch.allclose(with_it, without, atol=1e-3)


def test_the_learned_variance_lies_between_its_bounds():
    x, clean, noise = torch.randn(3, 50_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    spread = {}
    for share in (0.0, 0.5, 1.0):
        made = Ddpm().step(x, clean, 0.5, 0.8, noise, torch.full_like(x, share))
        plain = Ddpm().step(x, clean, 0.5, 0.8, torch.zeros_like(x))
        spread[share] = float((made - plain).std())
    beta = 1 - 0.5 / 0.8
    assert spread[1.0] == pytest.approx(beta**0.5, rel=0.02)
    assert spread[0.0] == pytest.approx((beta * 0.2 / 0.5) ** 0.5, rel=0.02)
    assert spread[0.5] == pytest.approx((spread[0.0] * spread[1.0]) ** 0.5, rel=0.02)
    assert torch.equal(Ddpm().step(x, clean, 0.5, 0.8, noise), Ddpm().step(x, clean, 0.5, 0.8, noise, None))


@pytest.mark.parametrize(
    ("size", "settings", "says"),
    [
        ((32, 30), NONE, "multiple of 2, at least 32"),
        ((16, 32), NONE, "at least 32"),
        ((32, 32), ImageSettings(label="other"), "its classes are sparse, dense"),
        ((32, 32), ImageSettings(plane="xy"), "its planes are all alike"),
        ((32, 32), ImageSettings(weight=2.0), "needs a class or a plane"),
        ((32, 32), ImageSettings(label="dense", weight=-1.0), "within"),
    ],
)
def test_what_cannot_be_sampled_is_refused(bundle, size, settings, says):
    with pytest.raises(InputError, match=says):
        check_images(bundle.card, size, settings)


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """A segmented class that is mostly bright and a dark grey one, trained for a moment."""
    numbers = np.random.default_rng(1)
    images = 255 * np.kron(numbers.random((16, 16)) < 0.8, np.ones((4, 4))), numbers.integers(10, 60, (64, 64))
    source = Source(name="a.png", sha256="", shape=(64, 64), kind="image")
    micrographs = Micrographs(
        arrays=tuple(image.astype(np.uint8) for image in images),
        phases=(),
        labels=(),
        sources=(source, source),
        classes=("cut", "sem"),
        class_of=(0, 1),
        grey=(0.0, 255.0),
        class_labels=((2, 5), ()),
    )
    config = replace(
        CONFIG,
        factor=2,
        crop=32,
        batch=8,
        autoencoder_steps=30,
        denoiser_steps=60,
        denoiser_rate=3e-3,
        denoiser_multipliers=(1, 2),
        learned_variance=True,
        ema_decay=0.9,
    )
    out = tmp_path_factory.mktemp("bundles") / "grey"
    train(micrographs, out, config)
    return load_bundle(out)


def test_a_grey_bundle_draws_grey_values_and_labels_of_segmented_classes(grey):
    card = grey.card
    assert card.grey == (0, 255) and card.class_labels == ((2, 5), ()) and card.phases == ()
    assert 0 < card.metrics["autoencoder_explained_variance"] <= 1
    assert (grey.calibration.numbers.solver, grey.calibration.numbers.eta) == ("ddim", 0)
    drawing = Inference(grey)
    cut, sem = (ImageSettings(label=name, sampling=Settings(steps=8)) for name in ("cut", "sem"))
    assert image_phases(card, cut) == {"phase_2": 2, "phase_5": 5} and image_phases(card, sem) == {}
    labels = sample_images(grey, drawing, (32, 32), [1, 2, 3, 4], cut)
    values = sample_images(grey, drawing, (32, 32), [1, 2, 3, 4], sem)
    assert labels.dtype == values.dtype == np.uint8
    assert set(np.unique(labels)) == {2, 5} and len(np.unique(values)) > 20
    assert np.mean(labels == 5) > values.mean() / 255 + 0.1  # 0.8 and 0.14 in the training images
    alone = sample_images(grey, drawing, (32, 32), [3], sem)
    assert np.array_equal(alone[0], values[2])


def test_a_grey_bundle_makes_no_volumes(grey):
    with pytest.raises(InputError, match=r"makes grey-level images, which have no phases.*mesoforge sample"):
        check_request(Request(structure_id="a", bundle="b", shape=(64, 64, 64), seed=0), grey.card)
