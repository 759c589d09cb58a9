"""Shear moduli and Poisson's ratios; the other metrics are steered in `test_volume`."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.errors import InputError
from engine.guidance.steering import Modulus, Poisson, steered
from engine.guidance.targets import parse_target
from engine.guidance.volume import guide
from engine.measure import measure
from engine.metrics import parse_metric
from engine.models.bundle import Phase
from engine.outcomes import DesignOutcome
from engine.properties.elasticity import homogenize
from engine.properties.materials import Materials, PhaseMaterial
from engine.properties.stiffness import modulus, poissons_ratio, voigt_component
from tests import structures

PHASES = ("pore", "solid")
ROCK = Materials(
    name="rock",
    phases={
        "pore": PhaseMaterial(youngs_modulus_gpa=(2.0,), poissons_ratio=(0.45,)),
        "solid": PhaseMaterial(youngs_modulus_gpa=(50.0,), poissons_ratio=(0.1,)),
    },
)
FOAM = Materials(name="foam", phases={**ROCK.phases, "pore": PhaseMaterial(youngs_modulus_gpa=(0.0,))})


def soft_volume(side: int = 16, width: float = 2.0) -> torch.Tensor:
    """[2, D, H, W] probabilities of a smooth random structure, the half of it pore."""
    noise = torch.from_numpy(np.random.default_rng(3).standard_normal((side, side, side))).float()
    spectrum = torch.fft.fftn(noise)
    squares = sum(torch.meshgrid(*[torch.fft.fftfreq(side).square()] * 3, indexing="ij"))
    field = torch.fft.ifftn(spectrum * torch.exp(-2 * (math.pi * width) ** 2 * squares)).real
    return torch.softmax(4 * torch.stack([field / field.std(), torch.zeros_like(field)]), dim=0)


def measured(probabilities: torch.Tensor, metric: str, materials: Materials = ROCK) -> float | None:
    labels = probabilities.argmax(dim=0).to(torch.uint8).numpy()
    phases = [Phase(name=name, label=label, fraction=0.5) for label, name in enumerate(PHASES)]
    wanted = parse_metric(metric, PHASES)
    return measure(labels, phases, metrics=[wanted], materials=materials).values[wanted].value


@pytest.mark.parametrize(
    ("metric", "factor"),
    [
        ("shear_modulus_gpa[xy]", 0.9),
        ("shear_modulus_gpa[yz]", 1.1),
        ("shear_modulus_gpa", 1.05),
        ("poissons_ratio[xz]", 0.9),
        ("poissons_ratio[xz]", 1.1),
        ("poissons_ratio", 0.96),
    ],
)
def test_the_target_is_met_with_the_fraction_held(metric: str, factor: float) -> None:
    soft = soft_volume()
    wanted = factor * measured(soft, metric)
    fraction = float((soft.argmax(dim=0) == 0).float().mean())
    texts = (f"fraction[pore]={fraction}±0.01", f"{metric}={wanted}±1.5%")
    targets = [parse_target(text, PHASES) for text in texts]
    (result,) = guide(soft[None], [targets], PHASES, lambda current, *_: current.clone(), 30, materials=[ROCK])
    assert result.outcome is DesignOutcome.ATTAINED
    assert measured(result.probabilities, metric) == pytest.approx(wanted, rel=0.015)
    assert float((result.probabilities.argmax(dim=0) == 0).float().mean()) == pytest.approx(fraction, abs=0.01)


@pytest.mark.parametrize("metric", ("shear_modulus_gpa[xz]", "poissons_ratio[zx]", "poissons_ratio"))
def test_gradients_agree_with_finite_differences(metric: str) -> None:
    """Of single voxels that turn, on a hard volume: as guidance has them."""
    hard = F.one_hot(torch.from_numpy(structures.level_cut((5, 4, 4), 0.6, 0.7, seed=4)).long(), 2)
    hard = hard.movedim(-1, 0).double()
    table = ROCK.stiffnesses(PHASES)
    parsed = parse_metric(metric, PHASES)
    found = steered(parsed, PHASES, ROCK)(hard, 0.8 * hard + 0.1, lambda value: 10.0)

    def number(indicators: torch.Tensor) -> float:
        effective = homogenize(indicators[None], table, tolerance=1e-12).stiffness[0]
        values = []
        for part in parsed.along():
            if metric.startswith("shear"):
                values.append(modulus(effective, voigt_component(part.axis or "")))
            else:
                values.append(poissons_ratio(effective, part.axis or "", table).value)
        return sum(values) / len(values)

    assert found.value == pytest.approx(number(hard), rel=1e-3)
    [move] = found.moves
    size = float(move.gradient.abs().max())
    step = 1e-4
    for voxel in ((0, 1, 2), (4, 3, 0), (2, 2, 2)):
        change = torch.zeros_like(hard)
        change[(slice(None), *voxel)] = 1 - 2 * hard[(slice(None), *voxel)]
        values = [number(hard + multiple * step * change) for multiple in (0, 1, 2)]
        difference = (-3 * values[0] + 4 * values[1] - values[2]) / (2 * step)
        assert float((move.gradient * change).sum()) == pytest.approx(difference, rel=0.02, abs=0.01 * size)


def test_what_hangs_together_by_nothing_has_no_ratio_and_no_push() -> None:
    """Guidance goes on with the other targets; a shear modulus is 0 there, and has a direction."""
    grains = torch.zeros(8, 8, 8, dtype=torch.bool)
    grains[2:5, 2:5, 2:5] = True
    hard = torch.stack([~grains, grains]).float()
    soft, table = 0.8 * hard + 0.1, FOAM.stiffnesses(PHASES)
    ratio = Poisson(table, ["xy"])(hard, soft, lambda value: 10.0)
    assert math.isnan(ratio.value) and not ratio.moves[0].direction.any()
    shear = Modulus(table, ["xy"])(hard, soft, lambda value: 10.0)
    assert shear.value == pytest.approx(0.0, abs=1e-3) and torch.isfinite(shear.moves[0].direction).all()
    assert measured(hard, "poissons_ratio[xy]", FOAM) is None and measured(hard, "shear_modulus_gpa[xy]", FOAM) == 0


@pytest.mark.parametrize("metric", ("shear_modulus_gpa[xy]", "poissons_ratio"))
def test_materials_are_asked_for(metric: str) -> None:
    with pytest.raises(InputError, match="needs the phases' materials"):
        steered(parse_metric(metric), PHASES)
