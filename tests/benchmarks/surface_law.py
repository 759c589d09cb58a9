"""How the surface of a phase follows its fraction among pieces of one material, in logarithms.

    python -m tests.benchmarks.surface_law

log S_V against log f (1 - f), least squares: over the disjoint 64^3 blocks and the 64^2 crops of the training part. It
says what `natural_surface_area` takes the exponent from, and how natural volumes scatter about it.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.descriptors.surface import surface_area
from engine.evaluation.null import blocks
from tests.benchmarks.common import machine, table
from tests.benchmarks.materials import DATA, MATERIALS, crops

SIDE, LEAST = 64, 12


def law(fractions: NDArray[np.float64], areas: NDArray[np.float64]) -> tuple[float, float, float, int]:
    """Exponent, scatter about the line and about an exponent of one half, how many pieces."""
    use = (areas > 0) & (fractions > 0) & (fractions < 1)
    x, y = np.log(fractions[use] * (1 - fractions[use])), np.log(areas[use])
    line = np.polyfit(x, y, 1)
    return float(line[0]), float(np.std(y - np.polyval(line, x))), float(np.std(y - 0.5 * x)), int(use.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    rows: list[list[object]] = []
    for name, material in MATERIALS.items():
        training = material.training(parser.parse_args().data)
        pieces = {"crops": (crops(training, SIDE), 2)}
        if training.ndim == 3:
            pieces["blocks"] = (blocks(training, SIDE), 3)
        for kind, (arrays, dimensions) in pieces.items():
            if len(arrays) < LEAST:
                continue
            for k, phase in enumerate(material.phases):
                mask = arrays == k
                fractions = mask.mean(axis=tuple(range(1, 1 + dimensions)))
                exponent, about, half, count = law(fractions, surface_area(mask, space_dims=dimensions))
                rows.append([name, phase, f"{count} {kind}", f"{exponent:.2f}", f"{about:.3f}", f"{half:.3f}"])
    print(machine())
    print(table(["material", "phase", "pieces", "exponent", "scatter", "about one half"], rows))


if __name__ == "__main__":
    main()
