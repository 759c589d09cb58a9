"""A Google Cloud Storage of one bucket on this machine: the emulator of PyPI, in memory, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BUCKET = "bucket"
SERVE = f"""
import sys
from gcp_storage_emulator.server import create_server
server = create_server("127.0.0.1", 0, in_memory=True, default_bucket={BUCKET!r})
server.start()  # it listens by then, at a port that the system chose
print(server._api._httpd.server_port, flush=True)
sys.stdin.read()
"""


@contextmanager
def gcs_server() -> Iterator[str]:
    """Run a server; gives its `HOST:PORT`. In this process pyarrow would wait for it with Python's lock held."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert server.stdin and server.stdout and server.stderr
    try:
        port = server.stdout.readline().strip()
        assert port, server.stderr.read()
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.communicate()


def gs_uri(endpoint: str, prefix: str) -> str:
    return f"gs://anonymous@{BUCKET}/{prefix}?scheme=http&endpoint_override={endpoint}&retry_limit_seconds=2"
