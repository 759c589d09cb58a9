"""Images of a bundle: classes, planes, guidance and the plain reverse process."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.design import check_request
from engine.errors import InputError
from engine.images import ImageSettings, check_images, sample_images
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
