import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.evaluation.features import PUBLISHED, denoiser_features, inception_features, random_features
from engine.evaluation.inception import load_inception
from engine.models.bundle import load_bundle
from tests.bundles import write_untrained_bundle
from tests.inception import write_random_weights

IMAGES = np.random.default_rng(0).integers(0, 2, size=(5, 32, 32), dtype=np.uint8)


def test_random_features_are_the_same_everywhere_and_say_what_they_are():
    features = random_features(2)
    found = features(IMAGES, 2)
    assert found.shape == (5, 96) and not features.comparable and "random filters" in features.name
    assert np.array_equal(found, random_features(2)(IMAGES, 2))


def test_features_of_a_bundles_denoiser(tmp_path):
    write_untrained_bundle(tmp_path / "untrained")
    bundle = load_bundle(tmp_path / "untrained", "cpu")
    features = denoiser_features(bundle)
    phases = len(bundle.card.phases)
    found = features(IMAGES, phases)
    width = bundle.card.denoiser.width * bundle.card.denoiser.multipliers[-1]
    assert found.shape == (5, width) and np.isfinite(found).all()
    assert bundle.card.name in features.name and not features.comparable


def test_inception_features_are_those_of_the_phases_as_grey_levels(tmp_path, monkeypatch):
    weights = tmp_path / "inception.pth"
    write_random_weights(weights)
    features = inception_features(weights)
    found = features(IMAGES[:2], 2)
    assert found.shape == (2, 2048)
    grey = torch.from_numpy(IMAGES[:2] * np.uint8(255))[:, None].expand(-1, 3, -1, -1)
    with torch.no_grad():
        assert found == pytest.approx(load_inception(weights)(grey).numpy(), rel=1e-4, abs=1e-4)
    assert not features.comparable and "not the published ones" in features.name

    monkeypatch.setattr("engine.evaluation.features.sha256_of", lambda path: PUBLISHED + "0" * 56)
    published = inception_features(weights)
    assert published.comparable and published.name.startswith("Inception, inception.pth 6726825d")


def test_without_the_file_there_are_no_inception_features(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        inception_features(tmp_path / "inception.pth")
