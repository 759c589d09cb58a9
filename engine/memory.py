"""Memory: what is free on a device, and what a structure needs of it, known before anything is allocated.

Of `V` voxels, `K` phases and `N = V / f^3` latent pixels of `C` channels, f the factor of the autoencoder, in bytes:

    sampling     B x 56 C N + (160 C + 64) N    latent volumes of a batch of B; spectra and gains, shared
    decoding     (12 K + 12 C / f^2 + 1) V      probabilities as they are and as they become; draw; noise; labels
    guidance     by what is asked for           `engine.guidance.memory`
    a call       512 A                          activations of one network call on A pixels
    planes       24 K A                         in work around that call

A is what one call works on: 8 planes with their margin on a CPU, for each of its threads, and 1024 x 16 x 16 latent
pixels on a GPU, or one plane where it is larger. That number is fixed, whatever is free, because the last bits of a
convolution depend on it. What follows the free memory, and changes no voxel, is how many calls' planes are held at
once, and how many structures are made together.
"""

import math

import torch

SHARE = 0.25
"""Of the free memory that planes in work may take; the rest is for volumes."""
LARGEST_WORK = 2**30
"""Bytes of planes in work: more brings no speed."""
COPIES = 6
"""Of a plane's probabilities while it is in work: as it came, wrapped, encoded, decoded, joined and cut."""
ACTIVATIONS = 512
"""Bytes for each pixel of a network call: about eight layers of 32 channels in half precision, at full resolution."""
MARGIN = 16
"""Pixels around a plane at most."""
TRANSPORT = 22
"""Volumes that a transport solve holds (`engine.properties.transport`), in single precision."""
CPU_PLANES = 8
"""Planes of one network call on a CPU: their activations stay in its caches."""
GPU_PIXELS = 1024 * 16 * 16
"""Latent pixels of one network call on a GPU."""


def free_bytes(device: str | torch.device) -> int:
    """Memory that can be taken on a device without swapping, in bytes; torch's own cache counts as free."""
    device = torch.device(device)
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    from engine.micrographs.files import available_memory_bytes

    return available_memory_bytes()


def chunk_planes(device: str, h: int, w: int) -> int:
    """Planes of h x w latent pixels in one network call."""
    return CPU_PLANES if torch.device(device).type == "cpu" else max(1, GPU_PIXELS // (h * w))


def sampling_bytes(shape: tuple[int, int, int], factor: int, channels: int, batch: int = 1) -> int:
    """Of latent volumes on their way, without the networks.

    Args:
        shape: voxels.
        factor, channels: f and C.
        batch: B, all sampled together.
    """
    latent = math.prod(shape) // factor**3
    return batch * 56 * channels * latent + (160 * channels + 64) * latent


def structure_bytes(shape: tuple[int, int, int], phases: int, factor: int, channels: int, *, guidance: int = 0) -> int:
    """Of one structure from its latents to its labels, without network calls.

    Args:
        shape: voxels.
        phases, factor, channels: K, f and C.
        guidance: bytes per voxel that it takes (`guidance_bytes_per_voxel`); 0 without targets.
    """
    voxels = math.prod(shape)
    return round((12 * phases + 12 * channels / factor**2 + 1 + guidance) * voxels)


def call_bytes(shape: tuple[int, int, int], phases: int, factor: int, device: str = "cpu") -> int:
    """Of the network calls that run at once, and of their planes."""
    height, width = sorted(shape)[1:]  # the largest planes
    planes = chunk_planes(device, height // factor, width // factor)
    pixels = planes * (height + 2 * MARGIN) * (width + 2 * MARGIN)
    at_once = torch.get_num_threads() if torch.device(device).type == "cpu" else 1
    return at_once * pixels * (ACTIVATIONS + 4 * COPIES * phases)


def planes_at_once(shape: tuple[int, int, int], phases: int, factor: int, device: str) -> int:
    """How many planes to work on at once: as many as a share of the free memory holds, a call's at least."""
    height, width = sorted(shape)[1:]
    held = int(min(SHARE * free_bytes(device), LARGEST_WORK)) // (4 * COPIES * phases * height * width)
    least = chunk_planes(device, height // factor, width // factor)
    if torch.device(device).type == "cpu":
        least *= torch.get_num_threads()
    return max(least, held)
