import numpy as np
import pytest

from engine.descriptors.discrepancy import relative_area
from engine.errors import InputError


def test_relative_area_is_lee_and_yun_equation_23():
    reference = np.array([4.0, 2.0, 1.0, 1.0])
    assert relative_area(np.array([4.4, 1.6, 1.0, 1.0]), reference) == pytest.approx(0.1)
    assert relative_area(1.3 * reference, reference) == pytest.approx(0.3)
    assert relative_area(-reference, -reference * 2) == pytest.approx(0.5)
    with pytest.raises(InputError, match="zero everywhere"):
        relative_area(reference, np.zeros(4))
