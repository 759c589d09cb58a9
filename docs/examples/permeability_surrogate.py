"""A property of one's own: permeability along z, by a small surrogate that is trained on volumes solved once.

    python docs/examples/permeability_surrogate.py --model berea --volumes 24 --size 48 --times 1.3

makes volumes of several pore fractions, solves slow viscous flow in each (`engine.properties.permeability`, seconds a
volume and without a gradient), fits a ridge regression of ln k on two differentiable numbers of the pores, and
designs a volume that has so many times the median permeability. The solver has the last word on what the surrogate
promised. The coefficients are written to `permeability_surrogate.json`, from where the command line takes the same
function:

    PYTHONPATH=docs/examples mesoforge design --model berea --size 48 --out permeable \\
        --property ln_k=permeability_surrogate:ln_permeability --target 'ln_k=-3.0±0.1'
"""

import argparse
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import engine
from engine.descriptors.surface import soft_surface_area
from engine.outcomes import Outcome
from engine.properties.permeability import permeability
from engine.properties.transport import solve_with_gradient

COEFFICIENTS = Path("permeability_surrogate.json")
RIDGE = 0.01  # of standardised features: a few volumes hardly tell two numbers apart that go together
CONTRAST = 1e-3  # conductivity of the solid in the solve, so that its gradient says where to open a pore
FRACTIONS = (0.20, 0.32)  # of the pores in the volumes it learns from: less often does not percolate


class Diffusivity(torch.autograd.Function):
    """The exact transport solve of the engine as a number that torch differentiates: its gradient by the adjoint."""

    @staticmethod
    def forward(context: Any, pores: Tensor) -> Tensor:
        found = solve_with_gradient(pores.bool()[None], 0, contrast=CONTRAST)
        context.save_for_backward(found.gradient[0].to(pores))
        return found.value[0].to(pores)

    @staticmethod
    def backward(context: Any, slope: Tensor) -> Tensor:
        [gradient] = context.saved_tensors
        return slope * gradient


def features(phases: Tensor) -> Tensor:
    """[K, D, H, W] -> [2]: ln of the pores' diffusivity along z and of their fraction over their surface area.

    Johnson, Koplik and Schwartz (Phys. Rev. Lett. 57, 2564, 1986): k ~ D (fraction / surface)^2, about.
    """
    pores = phases[0]
    width = pores.mean() / soft_surface_area(pores).clamp(min=1e-6)
    return torch.stack([Diffusivity.apply(pores), width]).clamp(min=1e-6).log()  # type: ignore[no-untyped-call]


def fit(found: Tensor, values: Tensor) -> dict[str, list[float]]:
    """Ridge regression of values [M] on features [M, F]."""
    mean, sd = found.mean(dim=0), found.std(dim=0).clamp(min=1e-6)
    x, y = (found - mean) / sd, values - values.mean()
    slope = torch.linalg.solve(x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1]), x.T @ y) / sd
    return {"slope": slope.tolist(), "offset": [float(values.mean() - slope @ mean)]}


def predict(coefficients: dict[str, list[float]], found: Tensor) -> Tensor:
    """Features [..., F] -> [...]."""
    return found @ found.new_tensor(coefficients["slope"]) + coefficients["offset"][0]


def ln_permeability(phases: Tensor) -> Tensor:
    """The property: ln of the permeability along z in voxels squared, with the coefficients in the current folder."""
    return predict(_read(str(COEFFICIENTS.resolve())), features(phases))


@cache
def _read(path: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = json.loads(Path(path).read_text())
    return found


def indicators(structure: "engine.notebook.Structure", labels: list[int]) -> Tensor:  # type: ignore[name-defined]
    """[K, D, H, W] of a structure."""
    return torch.stack([torch.from_numpy(structure.labels == label) for label in labels]).float()


def solved(phases: Tensor) -> float:
    """ln of the permeability that the solver finds; NaN where the pores do not percolate."""
    result = permeability(phases[:1].bool(), axis=0).measured()
    return math.log(result.value) if result.outcome is Outcome.CONVERGED and result.value else math.nan


def main(arguments: list[str] | None = None) -> tuple[float, float, float]:
    """Returns the ln k that was asked for, that the surrogate says and that the solver finds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="berea")
    parser.add_argument("--volumes", type=int, default=24)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--times", type=float, default=1.3, help="of the median permeability")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    bundle = engine.load_bundle(given.model)
    labels = [phase.label for phase in bundle.card.phases]

    pores = bundle.card.phase_names[0]
    volumes = []
    for i in range(given.volumes):
        low, high = FRACTIONS
        fraction = low + (high - low) * (i + 0.5) / given.volumes
        volumes += engine.design(
            bundle, [f"fraction[{pores}]={fraction:.3f}±0.01"], size=given.size, seed=given.seed + i
        )
    known = [indicators(volume, labels) for volume in volumes]
    values = torch.tensor([solved(phases) for phases in known])
    found = torch.stack([features(phases) for phases in known])
    percolates = values.isfinite()
    coefficients = fit(found[percolates], values[percolates])
    left = values[percolates] - predict(coefficients, found[percolates])
    print(
        f"{int(percolates.sum())} of {len(values)} volumes percolate; ln k scatters by {values[percolates].std():.2f}"
    )
    print(f"what the surrogate leaves of it: {left.std():.2f}; coefficients {coefficients}")
    COEFFICIENTS.write_text(json.dumps(coefficients))
    _read.cache_clear()

    goal = float(values[percolates].median()) + math.log(given.times)
    [designed] = engine.design(
        bundle,
        [f"fraction[{pores}]={sum(FRACTIONS) / 2:.3f}±0.02", f"ln_k={goal:.6g}±0.1"],
        size=given.size,
        seed=given.seed + given.volumes,
        properties={"ln_k": ln_permeability},
    )
    said = designed.values["property[ln_k]"]
    assert said is not None
    exact = solved(indicators(designed, labels))
    print(f"asked ln k = {goal:.3f}, the surrogate says {said:.3f}, the solver finds {exact:.3f}")
    return goal, said, exact


if __name__ == "__main__":
    main()
