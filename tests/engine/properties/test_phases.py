import pytest
import torch

from engine.errors import InputError
from engine.properties.phases import by_indicators, mixed, phase_indices


def test_labels_become_positions_in_the_declared_order() -> None:
    labels = torch.tensor([[7, 0], [3, 7]], dtype=torch.uint8)
    assert phase_indices(labels, [3, 7, 0]).tolist() == [[1, 2], [0, 1]]


def test_a_declared_phase_may_be_absent_but_a_label_may_not_be_undeclared() -> None:
    labels = torch.tensor([0, 0, 5, 5, 5])
    assert phase_indices(labels, [5, 9, 0]).tolist() == [2, 2, 0, 0, 0]
    with pytest.raises(InputError, match="3 voxels have the label 5"):
        phase_indices(labels, [0, 1])
    with pytest.raises(InputError, match="once"):
        phase_indices(labels, [0, 5, 5])


@pytest.mark.parametrize("values", [torch.tensor([2.0, 0.0, 5.0]), torch.rand(3, 3)], ids=["isotropic", "per axis"])
def test_mixing_and_its_chain_rule_are_adjoint(values: torch.Tensor) -> None:
    soft = torch.rand(2, 3, 4, 3, 5).softmax(1)
    field = mixed(soft, values)
    assert field.shape == ((2, 4, 3, 5) if values.ndim == 1 else (2, 3, 4, 3, 5))
    by_field = torch.rand_like(field)
    by_phase = by_indicators(by_field, values)
    assert by_phase.shape == soft.shape
    torch.testing.assert_close((by_phase * soft).sum(), (by_field * field).sum())


def test_as_many_values_as_phases() -> None:
    with pytest.raises(InputError, match="3 phases"):
        mixed(torch.rand(1, 3, 2, 2, 2), torch.ones(2))
