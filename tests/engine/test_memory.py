import subprocess
import sys

import pytest
import torch

from engine.memory import (
    LARGEST_WORK,
    call_bytes,
    chunk_planes,
    free_bytes,
    planes_at_once,
    sampling_bytes,
    structure_bytes,
)

PEAK = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from engine.design import generate, request_bytes
import engine.memory
from engine.models.bundle import load_bundle
from engine.request import Request, Settings
bundle = load_bundle(sys.argv[1])
def request(side):
    return Request(structure_id="a", bundle=sys.argv[1], shape=(side, side, side), seed=1, settings=Settings(steps=1))
def peak():
    # Of this process alone: ru_maxrss begins with the peak of the process that started it.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
generate([request(32)], bundle)
engine.memory.LARGEST_WORK = 2**20
before = peak()
generate([request(160)], bundle)
print(peak() - before, request_bytes(request(160), bundle.card) - request_bytes(request(32), bundle.card))
"""


def test_free_memory_is_between_nothing_and_all_of_it():
    assert 0 < free_bytes("cpu") < 2**50


def test_calls_are_of_a_fixed_number_of_planes_and_what_is_held_at_once_is_not(monkeypatch):
    assert chunk_planes("cpu", 16, 16) == chunk_planes("cpu", 200, 200) == 8
    assert chunk_planes("cuda", 16, 16) == 1024 and chunk_planes("cuda", 32, 64) == 128
    assert chunk_planes("cuda:1", 4096, 4096) == 1
    held = {}
    for free in (0, 2**28, 2**40):
        monkeypatch.setattr("engine.memory.free_bytes", lambda device, free=free: free)
        held[free] = planes_at_once((64, 96, 128), 3, 4, "cpu")
    plane = 24 * 3 * 96 * 128
    assert held[0] == 8 * torch.get_num_threads()
    assert held[2**28] == 2**26 // plane
    assert held[2**40] == LARGEST_WORK // plane


def test_the_formula_by_hand():
    voxels, latent = 64**3, 16**3
    assert sampling_bytes((64, 64, 64), 4, 1) == 56 * latent + 224 * latent
    assert sampling_bytes((64, 64, 64), 4, 1, batch=8) - sampling_bytes((64, 64, 64), 4, 1) == 7 * 56 * latent
    assert structure_bytes((64, 64, 64), 2, 4, 1) == pytest.approx(25.75 * voxels)
    guided = structure_bytes((64, 64, 64), 3, 4, 2, guidance=276) - structure_bytes((64, 64, 64), 3, 4, 2)
    assert guided == 276 * voxels
    assert call_bytes((32, 64, 96), 2, 4, "cuda") == (1024 * 256 // (16 * 24)) * 96 * 128 * 560


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_a_volume_takes_what_the_formula_says(berea):
    """Peak of a process of its own, with hardly any planes held beside a call's; allocators keep some pages.

    So the volume is large: at 96 voxels what was taken came out at .2 to .6 of what is stated, at 160 at .5 to .6.
    """
    found = subprocess.run([sys.executable, "-c", PEAK, str(berea)], capture_output=True, text=True, check=True)
    taken, stated = (int(part) for part in found.stdout.split())
    assert 0.3 * stated < taken < 1.2 * stated
