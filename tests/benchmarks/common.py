"""What the benchmark scripts share: the machine in words, the truth, tables."""

import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BEREA_FILE = "berea_sandstone_200x400x400.tif"
BEREA_JUDGED_FROM = 272  # x below 256 trains; the gap keeps neighbouring grains out of both


def machine() -> str:
    """One line: processor, threads, versions."""
    model = platform.processor() or "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ""
    packages = []
    for name in ("torch", "numpy", "taufactor"):
        try:
            packages.append(f"{name} {version(name)}")
        except ModuleNotFoundError:
            continue
    return f"{model}, {torch.get_num_threads()} threads{gpu}; Python {platform.python_version()}, {', '.join(packages)}"


def berea(data: Path = DATA) -> np.ndarray:
    """The Berea tomogram, uint8 (z, y, x), 0 pore, 1 solid.

    Raises:
        SystemExit: the real data are not at hand.
    """
    import tifffile

    path = data / BEREA_FILE
    if not path.is_file():
        raise SystemExit(f"needs {path}; give the folder of the tomograms with --data")
    volume: np.ndarray = tifffile.imread(path)
    return volume


def table(header: list[str], rows: list[list[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join("---" for _ in header) + " |"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
