"""What guidance holds of a volume, by what is asked for. Measured (a test does it again), rounded up.

Bytes per voxel, of K phases:

    44 K             probabilities, logits, the redrawn volume, the best state
    16 K per number  gradient, direction, and what the linear system makes of them; a curve has a number per lag, each
                     surface that is kept is one
    the largest      of what the metrics hold while they are evaluated, one after the other

Shapes: `K` phases.
"""

from collections.abc import Sequence
from math import comb

from engine.guidance.curves import LAGS
from engine.guidance.kept import kept_count
from engine.guidance.targets import Target
from engine.memory import TRANSPORT
from engine.properties.measured import ELASTIC

VOLUME = 44  # per phase
NUMBER = 16  # per phase
AUTOGRAD = 8  # per phase, of a descriptor
CURVE = 40
SURFACE = 24  # that is kept
TRIPLE_LINES = 600  # per triple of phases
PERIODIC_CELL = 1_000  # displacements and stresses of six strains in double precision, whatever the phases


def guidance_bytes_per_voxel(targets: Sequence[Target], phases: int) -> int:
    """Of one volume under guidance, beyond what its decoding takes.

    Args:
        targets: all of the volume; none needs nothing.
        phases: K.
    """
    if not targets:
        return 0
    held = sum(_numbers(target) * NUMBER * phases + _averaged(target) * (8 * phases + 4) for target in targets)
    surfaces = kept_count(targets, phases)
    evaluating = [_evaluating(target, phases) for target in targets] + [SURFACE] * (surfaces > 0)
    return VOLUME * phases + held + surfaces * NUMBER * phases + max(evaluating)


def _numbers(target: Target) -> int:
    return len(LAGS) if target.metric.name.endswith("_discrepancy") else 1


def _averaged(target: Target) -> int:
    """Axes beyond the first that a mean is taken of: each keeps a gradient, a direction and a field."""
    return len(target.metric.along()) - 1


def _evaluating(target: Target, phases: int) -> int:
    """While a metric is evaluated."""
    match target.metric.name:
        case "fraction":
            return 0
        case "diffusivity" | "multigrid_diffusivity" | "conductivity":
            return 4 * TRANSPORT
        case "tpb_density":
            return TRIPLE_LINES * comb(phases, 3)
        case name if name in ELASTIC:
            return PERIODIC_CELL
        case name if name.endswith("_discrepancy"):
            return CURVE
        case _:
            return AUTOGRAD * phases
