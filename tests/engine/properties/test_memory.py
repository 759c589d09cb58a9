import pytest
import torch

from engine.errors import InputError
from engine.properties.memory import check_memory
from engine.properties.transport import solve


def test_a_solve_that_does_not_fit_is_refused_by_size() -> None:
    check_memory(torch.zeros(1, 4, 5, 6), 1000)
    with pytest.raises(InputError, match=r"4x5x6.*1000000\.0 GB"):
        check_memory(torch.zeros(1, 4, 5, 6), 10**15)


def test_transport_asks_before_it_allocates() -> None:
    endless = torch.ones(1).expand(1, 10_000, 10_000, 10_000)  # a view of one number
    with pytest.raises(InputError, match="10000x10000x10000"):
        solve(endless, 0)
