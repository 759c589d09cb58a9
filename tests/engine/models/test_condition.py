"""engine.models.condition inside a denoiser: what it is told matters, what it is not told does not."""

import pytest
import torch

from engine.models.condition import NOTHING, Condition
from engine.models.denoiser import Denoiser, DenoiserConfig

PLANES = torch.tensor([0, 1, 2])
LABELS = torch.tensor([0, 3, 1])
VALUES = torch.tensor([[0.1, -1.0], [0.5, 0.0], [2.0, 1.0]])
EVERYTHING = Condition(plane=PLANES, label=LABELS, descriptors=VALUES)


@pytest.fixture(scope="module", params=[False, True], ids=["added", "attended"])
def model(request):
    torch.manual_seed(0)
    config = DenoiserConfig(
        channels=2, width=16, multipliers=(1, 2), planes=True, classes=4, descriptors=2, attends=request.param
    )
    model = Denoiser(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model


def run(model, condition):
    x = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(x, torch.full((3,), 300.0), condition)


@pytest.mark.parametrize(
    "changed",
    [
        Condition(plane=torch.tensor([1, 1, 2]), label=LABELS, descriptors=VALUES),
        Condition(plane=PLANES, label=torch.tensor([2, 3, 1]), descriptors=VALUES),
        Condition(plane=PLANES, label=LABELS, descriptors=VALUES + torch.tensor([[0.3, 0.0], [0.0, 0.0], [0.0, 0.0]])),
    ],
    ids=["plane", "label", "descriptor"],
)
def test_what_is_told_changes_the_member_it_is_told_of(model, changed):
    before, after = run(model, EVERYTHING), run(model, changed)
    assert not torch.allclose(before[0], after[0], atol=1e-5)
    assert torch.allclose(before[1:], after[1:], atol=1e-6)


def test_forgetting_everything_is_knowing_nothing(model):
    forgotten = EVERYTHING.without(torch.ones(3, dtype=torch.bool))
    assert torch.allclose(run(model, forgotten), run(model, NOTHING), atol=1e-6)
    assert not torch.allclose(run(model, EVERYTHING), run(model, NOTHING), atol=1e-4)


def test_some_members_forget(model):
    some = run(model, EVERYTHING.without(torch.tensor([False, True, False])))
    assert torch.allclose(some[[0, 2]], run(model, EVERYTHING)[[0, 2]], atol=1e-6)
    assert torch.allclose(some[1], run(model, NOTHING)[1], atol=1e-6)


def test_a_network_that_takes_no_condition_ignores_it():
    torch.manual_seed(0)
    plain = Denoiser(DenoiserConfig(channels=2, width=16, multipliers=(1, 2))).eval()
    assert not [name for name, _ in plain.named_parameters() if name.startswith("condition")]
    assert torch.equal(run(plain, EVERYTHING), run(plain, NOTHING))


def test_a_fresh_network_knows_nothing_yet():
    """Zero-initialised tables: a new condition does not disturb what the network does."""
    torch.manual_seed(0)
    fresh = Denoiser(DenoiserConfig(channels=2, width=16, multipliers=(1, 2), planes=True, descriptors=2)).eval()
    told = Condition(plane=PLANES, descriptors=VALUES)
    assert torch.equal(run(fresh, told), run(fresh, NOTHING))
