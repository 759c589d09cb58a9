import numpy as np
import pytest

from engine.errors import InputError
from engine.micrographs.synthetic.microscope import Polycrystal


def test_without_noise_and_blur_a_grain_has_one_grey_value():
    material = Polycrystal(diameter=20, blur=0.05, noise=0)
    image = material.sample((64, 64), 3)
    grains = material.grains().tessellation((64, 64), 3)
    edges = grains.boundaries(material.boundary) == 1
    assert (image[edges] == 0).all()
    for number in np.unique(grains.grains[~edges]):
        assert len(np.unique(image[(grains.grains == number) & ~edges])) == 1
    inner = image[~edges] / 255
    assert inner.min() >= 0.249 and inner.max() <= 0.901 and inner.std() > 0.1


def test_noise_has_the_standard_deviation_asked_for():
    with_noise, without = (Polycrystal(noise=noise).sample((256, 256), 1).astype(float) for noise in (0.05, 0.0))
    inner = (without > 40) & (without < 215)  # away from black and white, where it is cut
    apart = (with_noise - without)[inner] / 255
    assert apart.std() == pytest.approx(0.05, rel=0.03) and abs(apart.mean()) < 0.001


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"darkest": 0.9, "brightest": 0.5}, "must ascend"), ({"noise": -1}, "noise"), ({"blur": 0}, "blur")],
)
def test_refuses(changes, says):
    with pytest.raises(InputError, match=says):
        Polycrystal(**changes)
