"""Several processes that train one network, one per device, started by `torchrun`.

Every process draws the same batch and works on its share of it; gradients are averaged. So the same training comes out
whatever the number of processes, up to rounding. Without `torchrun` there is one process and nothing happens here.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Team:
    """The processes of one training."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    """Of this process."""

    @property
    def leads(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def average_gradients(self, model: nn.Module) -> None:
        """Mean over the processes, in one message."""
        if self.size == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.size
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):  # type: ignore[no-untyped-call]
            gradient.copy_(part.view_as(gradient))

    def agree(self, here: bool) -> bool:
        """Whether any process says so; all learn it at the same step."""
        if self.size == 1:
            return here
        flag = torch.tensor([float(here)], device=self.device)
        torch.distributed.all_reduce(flag)
        return bool(flag.item() > 0)

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            torch.distributed.barrier()


@contextmanager
def team(device: str) -> Iterator[Team]:
    """The team that `torchrun` started, each process with a GPU of its own; a team of one without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(device=device)
        return
    own = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    if own.startswith("cuda"):
        torch.cuda.set_device(own)
    torch.distributed.init_process_group("nccl" if own.startswith("cuda") else "gloo")
    try:
        yield Team(rank=torch.distributed.get_rank(), size=size, device=own)
    finally:
        torch.distributed.destroy_process_group()
