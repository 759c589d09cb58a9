"""Whether a solve fits into memory, asked before it allocates anything."""

import torch
from torch import Tensor

from engine.errors import InputError


def check_memory(volume: Tensor, needed: int) -> None:
    """Refuse a solve that needs more bytes than the volume's device has free.

    Raises:
        InputError: it does not fit.
    """
    if volume.device.type == "cuda":
        free = torch.cuda.mem_get_info(volume.device)[0]
        free += torch.cuda.memory_reserved(volume.device) - torch.cuda.memory_allocated(volume.device)
    else:
        from engine.micrographs.files import available_memory_bytes

        free = available_memory_bytes()
    if needed > free:
        raise InputError(
            f"volume of {'x'.join(map(str, volume.shape[-3:]))} voxels: its solve needs about {needed / 1e9:.1f} GB of "
            f"memory, {free / 1e9:.1f} GB are free; cut it into parts or coarsen it"
        )
