"""engine.models.training_curves against the known curves of random pixels and of the material."""

from pathlib import Path

import numpy as np
import pytest

from engine.micrographs.read import read_micrographs
from engine.models.training_curves import training_curves


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Independent pixels, label 0 with probability 0.3: S2 is 0.09 at every distance, the lineal path 0.3^(r+1)."""
    path = tmp_path_factory.mktemp("noise") / "noise.npy"
    np.save(path, (np.random.default_rng(0).random((256, 256)) > 0.3).astype(np.uint8))
    return path


def test_curves_of_independent_pixels(noise: Path) -> None:
    micrographs = read_micrographs([noise], ("a", "b"))
    curves = training_curves(micrographs, 64, count=200)
    assert set(curves) == {"s2[a]", "s2[b]", "lineal_path[a]", "lineal_path[b]"}
    s2, lineal = curves["s2[a]"], curves["lineal_path[a]"]
    assert len(s2["mean"]) == 32 and s2["mean"][0] == pytest.approx(0.3, abs=0.005)
    assert s2["mean"][1:] == pytest.approx([0.09] * 31, abs=0.004)
    assert lineal["mean"][:4] == pytest.approx([0.3, 0.09, 0.027, 0.0081], abs=0.004)
    for band in curves.values():
        low, mean, high = (np.array(band[name])[:8] for name in ("low", "mean", "high"))  # further out L is 0 in most
        assert (low <= mean).all() and (mean <= high).all()
