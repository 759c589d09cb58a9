"""What a study will do before it does it: structures, time, disk. For `mesoforge sweep --check`."""

import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.terminal import duration, size_text

if TYPE_CHECKING:
    from studies.config import StudyConfig

ROW_BYTES = 6_000  # of a row with a few hundred columns, compressed in a file of its own (the usual case: slow engines)
CURVES_BYTES = 4_000  # a dozen curves of some thirty lags
BITS_KEPT = 0.6  # of a packed volume after compression; 0.4 to 0.6 was seen on sandstone and cathodes


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of one structure of a study, on the average over its sizes."""

    seconds: float
    """Of one design actor on this machine, with its measurement."""
    bytes: int
    source: str
    """Where the time comes from, in words."""


def plan_lines(config: "StudyConfig", folder: Path, estimate: Estimate, *, goes_on: bool, address: str) -> list[str]:
    """The plan in a few lines."""
    shapes = " or ".join("x".join(map(str, shape)) for shape in config.shapes)
    per_trial = f"{config.samples} structure{'s' if config.samples > 1 else ''}"
    where = "goes on with the study there" if goes_on else "new"
    trials = config.budget.trials
    count = None if trials is None else trials * config.samples
    volumes = "volumes" if count is None else f"{count} volumes"
    first = (
        f"plan: {config.budget} of {per_trial} ({volumes} of {shapes}), on Ray at {address}, into {folder} ({where})"
    )
    one = f"{duration(estimate.seconds)} and {size_text(estimate.bytes)} a structure"
    if count is None:
        return [first, f"estimate: about {one} for each design actor ({estimate.source})"]
    total = (
        f"about {duration(count * estimate.seconds)} with one design actor, {size_text(count * estimate.bytes)} of disk"
    )
    lines = [first, f"estimate: {total} ({one}; {estimate.source})"]
    free = shutil.disk_usage(next(place for place in (folder, *folder.absolute().parents) if place.exists())).free
    if count * estimate.bytes > free:
        lines.append(f"warning: the disk of {folder} has {size_text(free)} free, less than that")
    return lines


def estimate(config: "StudyConfig", folder: Path) -> Estimate:
    """From the structures that the folder holds, else from a small one that is made and measured here."""
    voxels = sum(math.prod(shape) for shape in config.shapes) / len(config.shapes)
    bits = max(1, math.ceil(math.log2(len(config.phases))))
    size = int(BITS_KEPT * bits * voxels / 8) + ROW_BYTES + CURVES_BYTES
    there = _measured(folder)
    if there is not None:
        seconds, count = there
        return Estimate(seconds=seconds, bytes=size, source=f"mean of the {count} structures there")
    from engine.design import SMALLEST_SIDE

    shape = (SMALLEST_SIDE,) * 3
    seconds = _probe(config, shape) * voxels / math.prod(shape)
    source = f"one of {SMALLEST_SIDE}³ was timed on this machine, time grows with the voxels"
    return Estimate(seconds=seconds, bytes=size, source=source)


def _measured(folder: Path) -> tuple[float, int] | None:
    """Mean seconds of the structures in a folder, and their number; None where there are none."""
    from studies.folder import STRUCTURES
    from studies.table import read_structures

    if not (folder / STRUCTURES).is_dir():
        return None
    table = read_structures(folder)
    parts = [table[name].to_pylist() for name in ("generate_wall_time_s", "measure_wall_time_s")]
    times = [
        made + measured for made, measured in zip(*parts, strict=True) if made is not None and measured is not None
    ]
    return (sum(times) / len(times), len(times)) if times else None


def _probe(config: "StudyConfig", shape: tuple[int, int, int]) -> float:
    """Seconds of a structure like those of the study, of another shape."""
    from dataclasses import replace

    from engine.design import design
    from engine.models.bundle import load_bundle
    from studies.space import Points, requests_of

    request = replace(requests_of(config, 0, Points(config)[0])[0], shape=shape)
    bundle = load_bundle(request.bundle)
    started = time.perf_counter()
    design(request, bundle)
    return time.perf_counter() - started
