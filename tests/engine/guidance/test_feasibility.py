import math

import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.guidance.feasibility import check_feasible, doubts
from engine.guidance.targets import parse_target
from engine.properties.bounds import hashin_shtrikman, hashin_shtrikman_bulk, hashin_shtrikman_shear
from engine.properties.materials import Materials, PhaseMaterial
from engine.properties.stiffness import youngs_modulus

PHASES = ("pore", "solid")
MATERIALS = Materials(
    name="rock",
    phases={
        "pore": PhaseMaterial(conductivity=(0.5,), youngs_modulus_gpa=(2.0,), poissons_ratio=(0.45,)),
        "solid": PhaseMaterial(conductivity=(5.0,), youngs_modulus_gpa=(50.0,), poissons_ratio=(0.1,)),
    },
)


def parsed(*texts):
    return [parse_target(text) for text in texts]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["fraction[pore]=1.4±0.1"], r"lies within \[0, 1\]"),
        (["fraction[pore]<=-0.1"], r"lies within \[0, 1\]"),
        (["fraction[pore]=0.2±0.01", "fraction[pore]=0.3±0.01"], "contradicts"),
        (["fraction[pore]=0.6±0.01", "fraction[solid]=0.6±0.01"], "cannot sum to 1"),
        (["fraction[pore]=0.2±0.01", "fraction[solid]=0.2±0.01"], "cannot sum to 1"),
        (["fraction[pore]=0.2±0.01", "diffusivity[pore,z]=0.3±0.01"], "Voigt"),
        (["fraction[solid]=0.8±0.01", "diffusivity[pore,z]>=0.25"], "Voigt"),
        (["diffusivity[pore,z]=1.2±0.1"], "lies within"),
        (["diffusivity[pore]>=0.31", "fraction[pore]<=0.3"], r"Voigt.* feasible range \[0, 0.3\]"),
        (["diffusivity[pore,z]>=0.6", "diffusivity[solid,x]>=0.5"], "cannot hold together.*pore 0.6, solid 0.5"),
        (["diffusivity[pore]<=0.1", *(f"diffusivity[pore,{axis}]>=0.2" for axis in "zyx")], "contradicts those along"),
        (["surface_area[pore]>=0.5", "fraction[pore]<=0.1"], r"six faces.* feasible range \[0, 0.4129\]"),
        (["surface_area[pore]>=0.2", "surface_area[solid]<=0.1"], "contradicts those of the other phases"),
        (["tpb_density>=0.01"], "needs 3 phases"),
    ],
)
def test_impossible_targets_are_refused(texts, says):
    with pytest.raises(InputError, match=says):
        check_feasible([parse_target(text, PHASES) for text in texts], PHASES)


def test_possible_targets_pass():
    texts = ["fraction[pore]=0.2±0.01", "fraction[solid]=0.8±0.01", "diffusivity[pore,z]=0.2±0.01"]
    check_feasible([parse_target(text, PHASES) for text in texts], PHASES)


@pytest.mark.parametrize(
    ("text", "feasible"),
    [
        ("conductivity[z]=4.2±1%", "[1.351, 4.1]"),  # 1 / (0.3 / 0.5 + 0.7 / 5) and 0.2 * 0.5 + 0.8 * 5
        ("conductivity[x]<=1.3", "[1.351, 4.1]"),
        ("conductivity<=1.3", "[1.351, 4.1]"),
    ],
)
def test_conductivities_beyond_voigt_and_reuss_are_refused(text, feasible):
    targets = parsed("fraction[pore]=[0.2,0.3]", text)
    check_feasible(targets, PHASES)  # nothing is known without materials
    with pytest.raises(InputError) as refused:
        check_feasible(targets, PHASES, MATERIALS)
    assert f"feasible range {feasible}" in str(refused.value)
    check_feasible(parsed("fraction[pore]=[0.2,0.3]", "conductivity[z]=[1.2,1.36]"), PHASES, MATERIALS)
    check_feasible(parsed("fraction[pore]=[0.2,0.3]", "conductivity[z]=[4.09,4.2]"), PHASES, MATERIALS)


def test_moduli_beyond_voigt_and_reuss_are_refused():
    """At a fixed fraction the bound is the modulus of the mean stiffness, which exceeds the mean of the moduli."""
    stiffness = MATERIALS.stiffnesses(PHASES)
    most = youngs_modulus(0.4 * stiffness[0] + 0.6 * stiffness[1], 2)
    least = 1 / (0.4 / 2 + 0.6 / 50)
    assert most > 0.4 * 2 + 0.6 * 50
    held = "fraction[pore]=0.4±1e-9"
    check_feasible(parsed(held, f"elastic_modulus_gpa[z]=[{0.999 * most},100]"), PHASES, MATERIALS)
    check_feasible(parsed(held, f"elastic_modulus_gpa[z]=[0,{1.001 * least}]"), PHASES, MATERIALS)
    for text in (f"elastic_modulus_gpa[z]>={1.002 * most}", f"elastic_modulus_gpa[y]<={0.999 * least}"):
        with pytest.raises(InputError, match="Voigt and Reuss"):
            check_feasible(parsed(held, text), PHASES, MATERIALS)


def test_the_bound_of_a_modulus_covers_every_mixture_within_the_ranges():
    names = ("a", "b", "c")
    phases = {
        name: PhaseMaterial(youngs_modulus_gpa=(modulus,), poissons_ratio=(ratio,))
        for name, modulus, ratio in zip(names, (10.0, 11.0, 3.0), (0.0, 0.48, 0.3), strict=True)
    }
    materials = Materials(name="odd", phases=phases)
    stiffness = materials.stiffnesses(names)
    shares = np.random.default_rng(0).dirichlet(np.ones(3), 2000)
    best = max(youngs_modulus(torch.einsum("k,kij->ij", torch.tensor(share), stiffness), 2) for share in shares)
    assert best > 11.0  # a mixture is stiffer than each phase
    check_feasible([parse_target(f"elastic_modulus_gpa[z]=[{best},100]")], names, materials)
    with pytest.raises(InputError, match="no structure has it"):
        check_feasible([parse_target(f"elastic_modulus_gpa[z]>={1.01 * best}")], names, materials)


def test_shear_moduli_beyond_voigt_and_reuss_are_refused():
    """Isotropic phases: the arithmetic and the harmonic mean of their shear moduli, which layers reach."""
    soft, stiff = 2 / (2 * 1.45), 50 / (2 * 1.1)
    most, least = 0.4 * soft + 0.6 * stiff, 1 / (0.4 / soft + 0.6 / stiff)
    held = "fraction[pore]=0.4±1e-9"
    for metric in ("shear_modulus_gpa[xy]", "shear_modulus_gpa[zx]", "shear_modulus_gpa"):
        check_feasible(parsed(held, f"{metric}=[{0.999 * most},100]"), PHASES, MATERIALS)
        check_feasible(parsed(held, f"{metric}=[0,{1.001 * least}]"), PHASES, MATERIALS)
        for text in (f"{metric}>={1.002 * most}", f"{metric}<={0.999 * least}"):
            with pytest.raises(InputError, match=r"Voigt and Reuss.*feasible range"):
                check_feasible(parsed(held, text), PHASES, MATERIALS)


def test_poissons_ratios_beyond_stability_are_refused():
    """|nu_ab| < sqrt(E_a / E_b), here at most as far apart as the bounds of the moduli leave them."""
    stiffness = MATERIALS.stiffnesses(PHASES)
    most = youngs_modulus(0.4 * stiffness[0] + 0.6 * stiffness[1], 2)
    limit = math.sqrt(most * (0.4 / 2 + 0.6 / 50))
    held = "fraction[pore]=0.4±1e-9"
    for metric in ("poissons_ratio[xz]", "poissons_ratio"):
        check_feasible(parsed(held, f"{metric}=[{0.99 * limit},100]"), PHASES, MATERIALS)
        for text in (f"{metric}>={1.01 * limit}", f"{metric}<={-1.01 * limit}"):
            with pytest.raises(InputError, match=rf"stable body.*feasible range \[-{limit:.4g}, {limit:.4g}\]"):
                check_feasible(parsed(held, text), PHASES, MATERIALS)
    foam = {**MATERIALS.phases, "pore": PhaseMaterial(youngs_modulus_gpa=(0.0,))}
    check_feasible(parsed(held, "poissons_ratio[xz]=[8,9]"), PHASES, Materials(name="foam", phases=foam))


def test_elastic_means_beyond_hashin_and_shtrikman_are_doubted():
    held = "fraction[pore]=0.4±1e-9"
    k, g = [2 / (3 * 0.1), 50 / (3 * 0.8)], [2 / 2.9, 50 / 2.2]
    bulk, shear = hashin_shtrikman_bulk((0.4, 0.6), k, g), hashin_shtrikman_shear((0.4, 0.6), k, g)
    young = [9 * k * g / (3 * k + g) for k, g in ((bulk.low, shear.low), (bulk.high, shear.high))]
    ratio = [(3 * k - 2 * g) / (6 * k + 2 * g) for k, g in ((bulk.low, shear.high), (bulk.high, shear.low))]
    within = {
        "elastic_modulus_gpa": young,
        "shear_modulus_gpa": [shear.low, shear.high],
        "poissons_ratio": ratio,
    }
    for metric, (low, high) in within.items():
        gap = 0.02 * (high - low)
        for text in (f"{metric}>={high - gap}", f"{metric}<={low + gap}"):
            assert doubts(parsed(held, text), PHASES, MATERIALS) == []
        for text in (f"{metric}>={high + gap}", f"{metric}<={low - gap}"):
            [doubt] = doubts(parsed(held, text), PHASES, MATERIALS)
            assert f"{low:.4g} to {high:.4g}" in doubt
    assert doubts(parsed(held, f"poissons_ratio[xy]>={ratio[1] + 0.01}"), PHASES, MATERIALS) == []  # one pair alone
    anything = "fraction[pore]>=0"
    assert doubts(parsed(anything, "shear_modulus_gpa>=22.6"), PHASES, MATERIALS) == []  # 22.7 of the solid alone
    turned = PhaseMaterial(youngs_modulus_gpa=(9.0, 3.0, 3.0), poissons_ratio=(0.2,) * 3, shear_modulus_gpa=(1.0,) * 3)
    fibre = Materials(name="fibre", phases={**MATERIALS.phases, "solid": turned})
    assert doubts(parsed(held, "shear_modulus_gpa=[0.9,1]"), PHASES, fibre) == []


def test_a_void_may_leave_nothing_stiff():
    materials = Materials(
        name="foam",
        phases={
            "pore": PhaseMaterial(youngs_modulus_gpa=(0.0,)),
            "solid": PhaseMaterial(youngs_modulus_gpa=(50.0,), poissons_ratio=(0.1,)),
        },
    )
    check_feasible(parsed("fraction[pore]>=0.1", "elastic_modulus_gpa[z]<=1"), PHASES, materials)
    with pytest.raises(InputError, match="at most 45"):
        check_feasible(parsed("fraction[pore]>=0.1", "elastic_modulus_gpa[z]>=46"), PHASES, materials)


def test_a_property_without_its_constants_is_refused():
    bare = Materials(name="bare", phases={name: PhaseMaterial(conductivity=(1.0,)) for name in PHASES})
    with pytest.raises(InputError, match="phase 'pore' has no youngs_modulus_gpa"):
        check_feasible(parsed("elastic_modulus_gpa[z]>=1"), PHASES, bare)


def test_a_mean_beyond_hashin_and_shtrikman_is_doubted_and_one_axis_is_not():
    most = 2 * 0.3 / (3 - 0.3)
    held = "fraction[pore]=[0.2,0.3]"
    assert doubts(parsed(held, "diffusivity[pore,z]>=0.29"), PHASES) == []
    assert doubts(parsed(held, f"diffusivity[pore]>={0.99 * most}"), PHASES) == []
    [mean] = doubts(parsed(held, f"diffusivity[pore]>={1.01 * most}"), PHASES)
    assert "diffusivity[pore]" in mean and "0 to 0.2222" in mean
    [axes] = doubts(parsed(held, *(f"diffusivity[pore,{axis}]>={1.01 * most}" for axis in "zyx")), PHASES)
    assert axes == mean


def test_conductivities_are_doubted_on_both_sides():
    known = hashin_shtrikman((0.3, 0.7), (0.5, 5.0))
    held = "fraction[pore]=0.3±1e-9"
    assert doubts(parsed(held, f"conductivity=[{0.99 * known.high},5]"), PHASES, MATERIALS) == []
    assert len(doubts(parsed(held, f"conductivity=[{1.01 * known.high},5]"), PHASES, MATERIALS)) == 1
    assert len(doubts(parsed(held, f"conductivity=[0,{0.99 * known.low}]"), PHASES, MATERIALS)) == 1
    assert doubts(parsed(held, f"conductivity=[0,{1.01 * known.low}]"), PHASES, MATERIALS) == []


def test_fractions_that_the_training_never_had_are_doubted():
    seen = {"pore": (0.1, 0.3)}
    [doubt] = doubts(parsed("fraction[pore]=0.4±0.01"), PHASES, training_fractions=seen)
    assert "nine of ten training crops had 0.1 to 0.3" in doubt
    assert doubts(parsed("fraction[pore]=[0.25,0.4]"), PHASES, training_fractions=seen) == []
    assert doubts(parsed("surface_area[pore]=[0.1,0.2]"), PHASES, training_fractions=seen) == []


def test_what_is_to_be_largest_is_no_contradiction():
    targets = parsed("fraction[pore]=0.2±0.01", "maximize diffusivity[pore,z]")
    check_feasible(targets, PHASES, MATERIALS)
    assert doubts(targets, PHASES, MATERIALS) == []
    assert math.isinf(targets[1].high)
