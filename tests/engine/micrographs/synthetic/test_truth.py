import numpy as np
import pytest

from engine.descriptors.two_point import directional_s2
from engine.micrographs.synthetic.matched import DescriptorMatched
from engine.micrographs.synthetic.materials import MATERIALS, make_material
from engine.micrographs.synthetic.truth import known_truth


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", MATERIALS)
def test_every_material_states_what_is_known_of_it(name, dimensions):
    known = known_truth(make_material(name, dimensions=dimensions), (64,) * dimensions)
    assert known and all(np.isfinite(each.value) and each.value >= 0 for each in known)
    assert len({each.quantity for each in known if not each.quantity.startswith("their")}) >= 2


@pytest.mark.parametrize("name", ["spheres", "levelcut", "sheets", "anisotropic", "plurigaussian"])
def test_s2_and_fractions_are_what_samples_have_on_average(name):
    material, shape = make_material(name, dimensions=2), (96, 96)
    samples = np.stack([material.sample(shape, seed) for seed in range(40)])
    known = {each.quantity: each.value for each in known_truth(material, shape)}
    phase = material.phases[-1]
    mask = samples == len(material.phases) - 1
    at = next(key for key in known if key.startswith(f"s2[{phase}] at 4"))
    for found, value in (
        (mask.mean(axis=(1, 2)), known[f"fraction[{phase}]"]),
        (directional_s2(mask, 5, space_dims=2, periodic=True)[:, 1, 4].numpy(), known[at]),
    ):
        assert abs(found.mean() - value) < 3 * found.std(ddof=1) / 40**0.5


def test_bodies_fill_what_is_stated_in_every_sample():
    material, shape = make_material("disks"), (64, 64)
    known = {each.quantity: each.value for each in known_truth(material, shape)}
    assert (material.sample(shape, 1) == 1).mean() == pytest.approx(known["fraction[fibre]"], abs=0.01)
    target = np.zeros((64, 64), dtype=np.uint8)
    target[:, :20] = 1
    matched = DescriptorMatched(target=target, phases=("a", "b"), lags=4, iterations=6)
    known = {each.quantity: each.value for each in known_truth(matched, (20, 20))}
    assert matched.sample((20, 20), 0).mean() == pytest.approx(known["fraction[b]"])
