"""A file of weights with the names and shapes of the published Inception file, and random values."""

from pathlib import Path

import torch
from torch import Tensor

from engine.evaluation.inception import FEATURES, Inception


def random_weights(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def value(name: str, like: Tensor) -> Tensor:
        noise = torch.randn(like.shape, generator=generator)
        if name.endswith("conv.weight"):
            return noise * (2 / like[0].numel()) ** 0.5  # so that the features neither vanish nor grow
        return 1 + 0.1 * noise if name.endswith(("bn.weight", "running_var")) else 0.1 * noise

    names = {name: each for name, each in Inception().state_dict().items() if not name.endswith("num_batches_tracked")}
    return {name: value(name, each) for name, each in names.items()} | {
        "fc.weight": torch.zeros(1008, FEATURES),
        "fc.bias": torch.zeros(1008),
    }


def write_random_weights(path: Path) -> None:
    torch.save(random_weights(), path)
