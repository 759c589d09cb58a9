"""Threads: independent work side by side, and everything else on one."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`work` of every item, in their order; as many at a time as torch has threads, each on one.

    A solve is thousands of short passes over arrays that fit into the cache. Sharing each of them among threads costs a
    rendezvous every time (and where another process holds a core, a time slice); solves of their own cost none, and
    give the same numbers whatever the number of threads.
    """
    given, threads = list(items), torch.get_num_threads()
    if threads == 1 or len(given) == 1:
        return [work(item) for item in given]
    try:
        with single_threads(min(threads, len(given))) as pool:
            return list(pool.map(work, given))
    finally:
        torch.set_num_threads(threads)  # what a thread sets is also what threads to come start with


def single_threads(count: int) -> ThreadPoolExecutor:
    """So many workers in each of which torch has one thread."""
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


@contextmanager
def one_thread() -> Iterator[None]:
    """Run everything on one thread: the last bits of a transform depend on the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
