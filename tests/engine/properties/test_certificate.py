import sys

import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.outcomes import Measured, Outcome
from engine.properties.certificate import certify_axes, certify_diffusivity
from engine.properties.transport import solve
from tests import structures

SHAPE = (12, 14, 16)


@pytest.mark.parametrize("axis", range(3))
def test_layers_conduct_their_fraction_along_and_nothing_across(axis: int) -> None:
    phase = structures.laminate(SHAPE, normal=axis, period=2, thickness=1)
    for flux in range(3):
        certified = certify_diffusivity(phase, flux)
        if flux == axis:
            assert certified == Measured(value=0.0, outcome=Outcome.DOES_NOT_PERCOLATE)
        else:
            assert certified.outcome == Outcome.CONVERGED
            assert certified.value == pytest.approx(0.5, rel=1e-3)


def test_full_and_absent_phase() -> None:
    full = certify_diffusivity(np.ones(SHAPE, bool), 1)
    assert full.outcome == Outcome.CONVERGED and full.value == pytest.approx(1, rel=1e-4) and full.value <= 1
    assert certify_diffusivity(np.zeros(SHAPE, bool), 1) == Measured(value=0.0, outcome=Outcome.ABSENT)


def test_one_layer_conducts_the_fraction_of_the_phase() -> None:
    mask = np.zeros((1, 4, 5), bool)
    mask[0, 0, :3] = True
    assert certify_diffusivity(mask, 0) == Measured(value=pytest.approx(0.15), outcome=Outcome.CONVERGED)


def test_clusters_that_do_not_span_change_nothing() -> None:
    phase = structures.channel(SHAPE, 0, 4)
    alone = certify_diffusivity(phase, 0)
    phase[:9, 8:, 8:] = 1
    assert certify_diffusivity(phase, 0) == alone


def test_out_of_iterations_is_said() -> None:
    winding = np.zeros((32, 12, 12), np.uint8)  # a channel that runs to and fro: slow to settle
    winding[::2] = 1
    winding[1::4, :, 0] = winding[3::4, :, -1] = 1
    winding[-1] = 1
    hurried = certify_diffusivity(winding, 0, conv_crit=1e-5, iter_limit=100)
    assert hurried.outcome == Outcome.OUT_OF_ITERATIONS
    assert hurried.value is None or 0 < hurried.value <= 1
    with pytest.raises(InputError, match="iter_limit"):
        certify_diffusivity(winding, 0, iter_limit=50)


def test_axes_by_name_agree_with_the_axes_one_by_one() -> None:
    phase = structures.level_cut(SHAPE, 0.5, 1.0, seed=0)
    certified = certify_axes(phase)
    assert list(certified) == ["z", "y", "x"]
    for axis, name in enumerate(certified):
        assert certified[name] == certify_diffusivity(phase, axis)
    assert len({measured.value for measured in certified.values()}) == 3
    assert list(certify_axes(phase, ("x",))) == ["x"]
    with pytest.raises(InputError, match="z, y or x"):
        certify_axes(phase, ("w",))


def test_leaves_the_process_as_it_was_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    stdout, threads, gradients = sys.stdout, torch.get_num_threads(), torch.is_grad_enabled()
    certify_diffusivity(structures.level_cut(SHAPE, 0.5, 1.0, seed=0), 0)
    certify_diffusivity(structures.channel(SHAPE, 0, 3), 0, conv_crit=1e-12, iter_limit=100)  # does not converge
    assert (sys.stdout, torch.get_num_threads(), torch.is_grad_enabled()) == (stdout, threads, gradients)
    assert capfd.readouterr() == ("", "")


def test_periodic_sides() -> None:
    winding = np.zeros((8, 8, 8), bool)
    winding[:6, 0] = winding[3:, 7] = True
    assert certify_diffusivity(winding, 0).outcome is Outcome.DOES_NOT_PERCOLATE
    certified = certify_axes(winding, ["z"], periodic=True)["z"]
    ours = solve(torch.from_numpy(winding)[None], 0, periodic=True).value.item()
    assert certified.outcome is Outcome.CONVERGED and certified.value == pytest.approx(ours, rel=5e-3)


@pytest.mark.parametrize("shape", [(12, 13, 11), (12, 1, 11), (12, 14, 1)])
def test_odd_periodic_sides(shape: tuple[int, int, int]) -> None:
    """Two periods are solved, for TauFactor's black and white voxels would meet their like across an odd side."""
    phase = structures.level_cut(shape, 0.7, 1.2, seed=3)
    certified = certify_diffusivity(phase, 0, periodic=True)
    ours = solve(torch.from_numpy(phase)[None], 0, periodic=True).value.item()
    assert certified.outcome is Outcome.CONVERGED and certified.value == pytest.approx(ours, rel=5e-3)


def test_asks_for_memory_first() -> None:
    with pytest.raises(InputError, match="9000x9000x9000"):
        certify_diffusivity(np.broadcast_to(np.ones(1, bool), (9000, 9000, 9000)), 0)
