"""One local Ray for all tests of the room that need it."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Two CPUs, as on the smallest machine, and little of /dev/shm; nothing of a running cluster is touched."""
    import ray

    from cluster.connect import start_patiently

    options = {"num_cpus": 2, "num_gpus": 0, "object_store_memory": 100 * 2**20}
    start_patiently(lambda: ray.init(address="local", include_dashboard=False, log_to_driver=False, **options))
    yield
    ray.shutdown()
