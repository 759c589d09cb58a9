import threading
from collections.abc import Iterator

import pytest
import torch

from engine.parallel import side_by_side
from engine.properties.elasticity import homogenize
from engine.properties.stiffness import isotropic
from tests import structures


@pytest.fixture(autouse=True)
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> list[int]:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return seen


def test_each_works_on_one_thread_and_the_setting_is_left_as_it_was() -> None:
    meet = threading.Barrier(2, timeout=300)

    def work(item: int) -> tuple[int, int]:
        meet.wait()  # two at a time
        return 2 * item, torch.get_num_threads()

    assert side_by_side(work, range(4)) == [(0, 1), (2, 1), (4, 1), (6, 1)]
    assert torch.get_num_threads() == 2 and threads_of_a_new_thread() == [2]


def test_one_item_or_one_thread_needs_no_other() -> None:
    here = threading.get_ident()
    assert side_by_side(lambda _: threading.get_ident(), [0]) == [here]
    torch.set_num_threads(1)
    assert side_by_side(lambda _: threading.get_ident(), range(3)) == [here] * 3


def test_an_error_comes_through_and_leaves_the_setting() -> None:
    def fail(_: int) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        side_by_side(fail, range(3))
    assert torch.get_num_threads() == 2


def test_a_stiffness_does_not_depend_on_the_number_of_threads() -> None:
    inside = torch.from_numpy(structures.level_cut((26, 26, 26), 0.4, 1.5, seed=1)).float()  # load cases apart
    indicators, stiffness = torch.stack([1 - inside, inside])[None], torch.stack([isotropic(1, 0.3), isotropic(9, 0.2)])
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(homogenize(indicators, stiffness, tolerance=1e-2))
    assert found[0].iterations == found[1].iterations
    torch.testing.assert_close(found[0].displacements, found[1].displacements, rtol=0, atol=0)
