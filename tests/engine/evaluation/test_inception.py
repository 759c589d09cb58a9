import pickle
from pathlib import Path

import pytest
import torch

from engine.errors import InputError
from engine.evaluation.inception import SIDE, Inception, load_inception, resize
from tests.inception import random_weights


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return random_weights()


def saved(folder: Path, values: object) -> Path:
    torch.save(values, folder / "weights.pth")
    return folder / "weights.pth"


def test_the_network_has_the_weights_of_the_published_one():
    """Counted in torch-fidelity's network for the same file (0.4.0), without its classes."""
    counted = sum(each.numel() for name, each in Inception().named_parameters())
    assert counted == 21_785_568
    names = [name for name in Inception().state_dict() if name.endswith("conv.weight")]
    assert len(names) == 94


def test_weights_from_a_file_give_features(tmp_path, weights):
    network = load_inception(saved(tmp_path, weights))
    images = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = network(images)
        assert torch.allclose(network(images[:1]), found[:1], atol=1e-4)
    assert found.shape == (2, 2048) and found.isfinite().all() and found.std() > 0.01
    assert torch.equal(network.Mixed_7c.branch_pool.conv.weight, weights["Mixed_7c.branch_pool.conv.weight"])


def test_pixels_lie_where_tensorflow_1_put_them():
    images = torch.rand(1, 2, 7, 11, generator=torch.Generator().manual_seed(0))
    found = resize(images)
    assert found.shape == (1, 2, SIDE, SIDE)
    for y, x in ((0, 0), (150, 37), (298, 298), (13, 290)):
        at, across = y * 7 / SIDE, x * 11 / SIDE
        (i, s), (j, t) = divmod(at, 1), divmod(across, 1)
        i, j, below, right = int(i), int(j), min(int(i) + 1, 6), min(int(j) + 1, 10)
        upper = (1 - t) * images[0, :, i, j] + t * images[0, :, i, right]
        lower = (1 - t) * images[0, :, below, j] + t * images[0, :, below, right]
        assert torch.allclose(found[0, :, y, x], (1 - s) * upper + s * lower, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values.pop("Mixed_6a.branch3x3.conv.weight"), "1 of 470 weights .* first Mixed_6a.branch3x3"),
        (lambda values: values.update({"Mixed_5b.branch1x1.bn.bias": torch.zeros(63)}), "Mixed_5b.branch1x1.bn.bias"),
        (lambda values: values.update({"Mixed_5b.branch1x1.bn.bias": torch.full((64,), torch.nan)}), "not finite"),
        (lambda values: values.update({"AuxLogits.conv0.conv.weight": torch.zeros(1)}), "first AuxLogits"),
    ],
)
def test_other_weights_are_refused_by_name(tmp_path, weights, change, words):
    values = dict(weights)
    change(values)
    with pytest.raises(InputError, match=words):
        load_inception(saved(tmp_path, values))


class Program:
    """What a pickle must not be able to do."""

    def __reduce__(self):
        return print, ("a file of weights ran a program",)


def test_other_files_are_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="no such file"):
        load_inception(tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_bytes(b"something else")
    with pytest.raises(InputError, match="not a file of PyTorch weights"):
        load_inception(tmp_path / "text.pth")
    (tmp_path / "program.pth").write_bytes(pickle.dumps(Program(), protocol=2))
    with pytest.raises(InputError, match="not a file of PyTorch weights"):
        load_inception(tmp_path / "program.pth")
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match="470 of 470 weights"):
        load_inception(saved(tmp_path, [1, 2, 3]))
