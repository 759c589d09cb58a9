"""What the benchmark scripts share: the machine in words, tables."""

import platform
from importlib.metadata import version
from pathlib import Path

import torch


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


def table(header: list[str], rows: list[list[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join("---" for _ in header) + " |"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
