import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.evaluation.features import denoiser_features, inception_features, random_features
from engine.models.bundle import load_bundle
from tests.bundles import write_untrained_bundle

IMAGES = np.random.default_rng(0).integers(0, 2, size=(5, 32, 32), dtype=np.uint8)


class StandIn(torch.nn.Module):
    """Answers as the published TorchScript network does: [B, 3, H, W] uint8 -> features."""

    def forward(self, images: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return images.float().mean(dim=(2, 3)) if return_features else images.float()


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


def test_inception_features_come_from_a_torchscript_file(tmp_path):
    """With a stand-in that answers as the network does; the file itself is not at hand here."""
    torch.jit.script(StandIn()).save(str(tmp_path / "inception.pt"))
    features = inception_features(tmp_path / "inception.pt")
    assert features.comparable and "inception.pt" in features.name
    assert features(IMAGES, 2)[:, 0] == pytest.approx(255 * IMAGES.mean(axis=(1, 2)))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        inception_features(tmp_path / "inception.pt")
    (tmp_path / "inception.pt").write_bytes(b"something else")
    with pytest.raises(InputError, match="not the expected TorchScript"):
        inception_features(tmp_path / "inception.pt")
