"""Memory: what is free on a device, and what a structure needs of it, known before anything is allocated.

Of `V` voxels, `K` phases and `N = V / f^3` latent pixels of `C` channels, f the factor of the autoencoder:

    sampling     B x 56 C N + (160 C + 64) N      latent volumes of a batch of B; spectra and gains, shared
    decoding     (8 K + 12 C / f^2) V + W         probabilities as they are and as they become; noise; planes in work
    guidance     44 K V + (8 K + 4) T V + 88 V    of a structure with T targets, one at a time through the solver

and what the networks take. The planes in work, W, are as many as fit into a share of the free memory; each network call
takes a fixed number of them, whatever is free, because the last bits of a convolution depend on that number.
"""

import math

import torch

SHARE = 0.25
"""Of the free memory that planes in work may take; the rest is for volumes."""
LARGEST_WORK = 2**30
"""Bytes of planes in work: more brings no speed."""
COPIES = 6
"""Of a plane's probabilities while it is in work: as it came, wrapped, encoded, decoded, joined and cut."""
TRANSPORT = 22
"""Volumes that a transport solve holds (`engine.properties.transport`), in single precision."""


def free_bytes(device: str | torch.device) -> int:
    """Memory that can be taken on a device without swapping, in bytes; torch's own cache counts as free."""
    device = torch.device(device)
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    from engine.micrographs.files import available_memory_bytes

    return available_memory_bytes()


def sampling_bytes(shape: tuple[int, int, int], factor: int, channels: int, batch: int = 1) -> int:
    """Of latent volumes on their way, without the networks.

    Args:
        shape: voxels.
        factor, channels: f and C.
        batch: B, all sampled together.
    """
    latent = math.prod(shape) // factor**3
    return batch * 56 * channels * latent + (160 * channels + 64) * latent


def structure_bytes(
    shape: tuple[int, int, int], phases: int, factor: int, channels: int, *, targets: int = 0, work: bool = True
) -> int:
    """Of one structure from its latents to its labels.

    Args:
        shape: voxels.
        phases, factor, channels: K, f and C.
        targets: T; 0 without guidance.
        work: with the least planes in work (`least_work_bytes`).
    """
    voxels = math.prod(shape)
    out = (8 * phases + 12 * channels // factor**2 + 1) * voxels
    if targets:
        out += (44 * phases + (8 * phases + 4) * targets + 4 * TRANSPORT) * voxels
    return out + (least_work_bytes(shape, phases) if work else 0)


def plane_bytes(shape: tuple[int, int, int], phases: int) -> int:
    """Of the largest plane while it is in work."""
    largest = math.prod(shape) // min(shape)
    return 4 * COPIES * phases * largest


def least_work_bytes(shape: tuple[int, int, int], phases: int) -> int:
    """Of one network call's worth of planes on a CPU."""
    return 16 * plane_bytes(shape, phases)


def planes_at_once(shape: tuple[int, int, int], phases: int, free: int) -> int:
    """How many planes to work on at once: what fits into a share of the free memory, 16 at least."""
    return max(16, int(min(SHARE * free, LARGEST_WORK)) // plane_bytes(shape, phases))


def structures_at_once(each: int, free: int) -> int:
    """How many structures of so many bytes to decode together, one at least."""
    return max(1, int((1 - SHARE) * free) // each)
