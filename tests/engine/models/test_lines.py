import torch

from engine.models.bundle import load_bundle
from engine.models.inference import Inference
from engine.models.lines import LineConfig, LineDenoiser
from tests.bundles import write_untrained_bundle


def lines(count, channels=1, length=16):
    return torch.randn(count, channels, length, generator=torch.Generator().manual_seed(0))


def test_a_line_is_seen_as_far_as_the_dilations_reach_and_no_further():
    model = LineDenoiser(LineConfig(channels=1, width=16, blocks=2)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    for norm in (module for module in model.modules() if isinstance(module, torch.nn.GroupNorm)):
        norm.forward = lambda x: x  # the mean of a line would be seen everywhere
    x = lines(1, length=32).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x, torch.tensor([300.0]))[0, 0, 16], x)
    reach = 1 + (1 + 1) + (2 + 1) + 1  # stem, two blocks, head
    seen = gradient[0, 0].nonzero().flatten().tolist()
    assert seen == list(range(16 - reach, 16 + reach + 1))


def test_a_network_that_is_told_the_axis_answers_to_it():
    x, time = lines(2), torch.full((2,), 300.0)
    told = LineDenoiser(LineConfig(channels=1, width=16, blocks=1, axes=True))
    torch.nn.init.normal_(told.condition.planes.weight)
    torch.nn.init.normal_(told.blocks[0].conv_out.weight)
    along = [told(x, time, torch.full((2,), axis)) for axis in range(3)]
    assert not torch.allclose(along[0], along[1]) and not torch.allclose(along[1], along[2])
    deaf = LineDenoiser(LineConfig(channels=1, width=16, blocks=1))
    assert torch.equal(deaf(x, time, torch.zeros(2, dtype=torch.long)), deaf(x, time))


def test_the_estimate_of_a_line_does_not_depend_on_its_company(tmp_path):
    write_untrained_bundle(tmp_path / "noise")
    inference = Inference(load_bundle(tmp_path / "noise"))
    x = lines(300)
    together = inference.lines(x, 0.3, 1)
    assert together.shape == x.shape
    assert torch.equal(inference.lines(x[200:201], 0.3, 1)[0], together[200])


def test_a_line_without_noise_is_itself(tmp_path):
    write_untrained_bundle(tmp_path / "noise")
    inference = Inference(load_bundle(tmp_path / "noise"))
    assert torch.allclose(inference.lines(lines(5), 1 - 1e-6, 0), lines(5), atol=0.01)
