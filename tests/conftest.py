"""Set-up shared by all tests: few threads, no display, no Ray of somebody else."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browsers import MISSING, is_there, open_browser

# Before numpy and torch are imported anywhere, subprocesses included: two threads are what the smallest machine has.
os.environ.setdefault("OMP_NUM_THREADS", "2")
for _name in ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ.setdefault(_name, os.environ["OMP_NUM_THREADS"])
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # tests share cores with Ray's workers: waiting threads sleep
# A shell that starts a job in the background makes it deaf to Ctrl-C, and everything the job starts too; the tests of
# interrupts must not depend on how they were started.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["MPLBACKEND"] = "Agg"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Ray ends workers when the machine, not they, runs short of memory: what else runs here must not fail a test.
os.environ.update(RAY_memory_monitor_refresh_ms="0")
os.environ.pop("RAY_ADDRESS", None)
os.environ.pop("MESOFORGE_BUNDLES", None)

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
BEREA = REPOSITORY / "engine" / "models" / "zoo" / "berea"


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real tomograms, which lies beside the checkout on the project's own machines only."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the real data in {SHARED_DATA}, which is not here")
    return SHARED_DATA


@pytest.fixture(scope="session")
def berea() -> Path:
    """Folder of the shipped bundle."""
    if not (BEREA / "weights.safetensors").is_file():
        pytest.skip(f"needs the shipped bundle in {BEREA}, which is not here yet")
    return BEREA


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Selenium driver of a real browser without a window."""
    if not is_there():
        pytest.skip(MISSING)
    with open_browser() as driver:
        yield driver
