"""A real PostgreSQL server of the tests' own, for studies whose trials are on one."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "a-secret-of-the-tests"
PROGRAMS = ("initdb", "postgres")


@contextmanager
def postgres_server() -> Iterator[str]:
    """URL of a server without the password, which is PASSWORD; skips the test where there is no PostgreSQL."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs a PostgreSQL server: {', '.join(missing)} not found (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'psycopg[binary]'")
    user = None
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("needs the user postgres: PostgreSQL does not run as root")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    home = Path(tempfile.mkdtemp(prefix="mesoforge-postgres-"))
    (home / "password").write_text(PASSWORD)
    if user is not None:
        for path in (home, home / "password"):
            shutil.chown(path, user)
    data = home / "data"
    initdb = ["initdb", "-D", data, "-U", "meso", "--auth=scram-sha-256", f"--pwfile={home / 'password'}", "--no-sync"]
    subprocess.run(initdb, check=True, user=user, capture_output=True, cwd=home)
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(home), "-c", "fsync=off"]
    process = subprocess.Popen(
        ["postgres", "-D", data, *options], user=user, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, "PostgreSQL did not start"
                time.sleep(0.1)
        yield f"postgresql://meso@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown
        process.wait()
        shutil.rmtree(home, ignore_errors=True)
