"""The memory of guidance, measured: the peak of a process of its own, which gives back what it frees."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.guidance.memory import guidance_bytes_per_voxel
from engine.guidance.targets import parse_target

PHASES = ("a", "b", "c")
CASES = (
    (40, ("fraction[a]=0.4±0.001",)),
    (40, ("diffusivity[a,z]=0.2±0.1%", "fraction[a]=0.4±0.001")),
    (40, ("surface_area[a]=0.05±0.1%",)),
    (40, ("s2[a]=training±0.1%",)),
    (40, ("tpb_density=0.01±0.1%",)),
    (32, ("elastic_modulus_gpa[z]=20±0.01%",)),
)  # sides at which the megabyte or so that a process holds whatever the volume is a few per cent
MEASURE = f"""
import sys
from pathlib import Path
import torch
from engine.guidance.targets import parse_target
from engine.guidance.volume import guide
from engine.properties.materials import Materials, PhaseMaterial

torch.set_num_threads(1)
phases = {PHASES!r}
made_of = Materials(name="m", phases={{
    name: PhaseMaterial(youngs_modulus_gpa=(modulus,), poissons_ratio=(0.3,))
    for name, modulus in zip(phases, (1.0, 50.0, 20.0))
}})
training = {{f"s2[{{phase}}]": [0.3] + [0.1] * 31 for phase in phases}}

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])

for side, texts in {CASES!r}:
    noise = torch.randn(1, 3, side + 4, side + 4, side + 4, generator=torch.Generator().manual_seed(0))
    p = (20 * torch.nn.functional.avg_pool3d(noise, 5, 1)).softmax(dim=1)
    del noise
    targets = [parse_target(text, phases) for text in texts]

    def run(volume):
        guide(volume, [targets], phases, lambda current, *_: current.clone(), 1, materials=[made_of], training=training)

    run(p[..., :16, :16, :16].contiguous())  # imports and buffers that stay
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    run(p)
    print((status("VmHWM") - before) / side**3)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak from /proc, which is Linux's")
def test_the_estimate_covers_what_each_kind_of_target_takes_and_not_much_more():
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command, root = [sys.executable, "-c", MEASURE], Path(__file__).parents[3]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    measured = [float(line) for line in done.stdout.split()]
    for (_, texts), found in zip(CASES, measured, strict=True):
        estimate = guidance_bytes_per_voxel([parse_target(text, PHASES) for text in texts], len(PHASES))
        assert found <= 1.05 * estimate, (texts, found, estimate)
        assert estimate <= 1.6 * found, (texts, found, estimate)


def test_means_of_axes_keep_a_field_of_each_and_no_target_needs_nothing():
    one, mean = (guidance_bytes_per_voxel([parse_target(f"diffusivity[{at}]>=0.1")], 2) for at in ("a,z", "a"))
    assert mean == one + 2 * (8 * 2 + 4)
    assert guidance_bytes_per_voxel([], 2) == 0
