"""A Google Cloud Storage of one bucket on this machine: the emulator of PyPI, in memory, in a process of its own."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

BUCKET = "bucket"
START_S = 60.0


@contextmanager
def gcs_server() -> Iterator[str]:
    """Run a server; gives its `HOST:PORT`. In this process pyarrow would wait for it with Python's lock held."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    options = ["start", "--host=127.0.0.1", f"--port={port}", "--in-memory", f"--default-bucket={BUCKET}"]
    command = [sys.executable, "-m", "gcp_storage_emulator", *options]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_S
        while True:
            assert server.poll() is None and time.monotonic() < deadline, "the emulator did not start"
            try:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def gs_uri(endpoint: str, prefix: str) -> str:
    return f"gs://anonymous@{BUCKET}/{prefix}?scheme=http&endpoint_override={endpoint}&retry_limit_seconds=2"
