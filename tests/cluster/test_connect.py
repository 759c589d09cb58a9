import os
import socket
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from cluster.connect import (
    CONNECT_TIMEOUT_S,
    FOLDER_PREFIX,
    PROTOCOL_TIMEOUT_S,
    SOCKET_PATH_ROOM,
    _attempt,
    _own_folder,
    _parent,
    check_address,
    start_patiently,
)
from engine.errors import InputError


def run_alone(code: str, repository: Path, *arguments: str) -> str:
    """In a process of its own: the tests' process may be connected to a Ray of another test."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "localhost:{}"])
def test_an_address_that_nothing_answers_at_is_refused_at_once(closed_port: int, form: str) -> None:
    address = form.format(closed_port)
    with pytest.raises(InputError, match=r"nothing answers there \(Connection refused\)") as caught:  # not waited for
        check_address(address)
    assert address in str(caught.value)


@pytest.mark.parametrize("address", ["nonsense", "ray://", "host:", ":6379", "host:99999", "host:port", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="must be local, auto, host:port or ray://host:port"):
        check_address(address)


SOMETHING_ELSE = """
import sys
import cluster.connect
from cluster.connect import connected
from engine.errors import InputError
cluster.connect.PROTOCOL_TIMEOUT_S = 3
try:
    with connected(sys.argv[1]):
        pass
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_something_that_is_no_ray_is_given_up_soon(repository: Path, form: str) -> None:
    assert CONNECT_TIMEOUT_S + PROTOCOL_TIMEOUT_S <= 15  # what a user waits; here it is 3 s
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = form.format(listener.getsockname()[1])
        assert f"{address}: cannot be used as a Ray cluster" in run_alone(SOMETHING_ELSE, repository, address)


LOCAL = """
import os, signal, sys
from pathlib import Path
os.environ["RAY_ADDRESS"] = sys.argv[1]
signal.signal(signal.SIGTERM, handler := lambda number, frame: None)
from cluster.connect import connected
with connected("local") as resources:
    import psutil, ray
    assert resources.local and resources.nodes == 1 and resources.cpus >= 1, resources
    assert signal.getsignal(signal.SIGTERM) is handler
    worker = ray.remote(lambda: (os.getcwd(), os.environ.get("RAY_ADDRESS")))
    assert ray.get(worker.remote()) == (os.getcwd(), None)
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    sockets = [each for process in family for each in process.net_connections(kind="inet") if each.status == "LISTEN"]
    open_to_all = [each.laddr for each in sockets if each.laddr.ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1")]
    assert sockets and not open_to_all, open_to_all
    folder = Path(ray._private.worker._global_node.get_temp_dir_path())
    assert folder.name.startswith("mesoforge-ray-") and folder.is_dir(), folder
assert not ray.is_initialized() and not folder.exists()
print("done")
"""


KILLED = """
import os, signal, sys
from pathlib import Path
from cluster.connect import _own_folder
with _own_folder(Path(sys.argv[1])) as folder:
    (folder / "session").mkdir()
    (folder / "session_latest").symlink_to("session")
    print(folder.name, flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def test_the_folders_of_killed_drivers_are_removed_and_those_of_living_ones_are_not(
    repository: Path, tmp_path: Path
) -> None:
    def start(what: str) -> tuple[subprocess.Popen[str], Path]:
        command = [sys.executable, "-c", KILLED, str(tmp_path), what]
        process = subprocess.Popen(command, cwd=repository, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout
        return process, tmp_path / process.stdout.readline().strip()

    alive, living = start("alive")
    killed, dead = start("killed")
    assert killed.wait() < 0 and (dead / "session").is_dir()
    others = [tmp_path / "mesoforge-ray-new", tmp_path / "mesoforge-cache-0", tmp_path / "elsewhere"]
    old = tmp_path / "mesoforge-ray-old"
    for other in (*others, old):  # without a lock: a driver may have made it a moment ago
        other.mkdir()
    for each in (old, others[1]):
        os.utime(each, (0, 0))
    with _own_folder(tmp_path) as own:
        assert {path for path in tmp_path.iterdir()} == {living, own, *others}
    alive.communicate("")
    assert set(tmp_path.iterdir()) == set(others)


def test_sockets_have_room_for_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = f"/{FOLDER_PREFIX}12345678/session_2026-11-20_14-43-38_431885_4194304/sockets/plasma_store"
    assert SOCKET_PATH_ROOM + len(longest) <= 107
    monkeypatch.setattr(tempfile, "tempdir", "/var/folders/zz/a_long_one")
    assert _parent() == Path("/tmp")
    monkeypatch.setattr(tempfile, "tempdir", "/scratch/me")
    assert _parent() == Path("/scratch/me")


def test_a_local_ray_ignores_ray_address_listens_here_alone_and_leaves_nothing(
    repository: Path, closed_port: int
) -> None:
    assert run_alone(LOCAL, repository, f"127.0.0.1:{closed_port}").strip() == "done"


def test_a_session_that_a_busy_server_does_not_start_is_asked_for_again() -> None:
    tries: list[int] = []

    def connect(needed: int) -> None:
        tries.append(1)
        if len(tries) < needed:
            raise ConnectionAbortedError("Initialization failure from server:\nTraceback:\nno channel in time")

    _attempt(lambda: connect(3), "ray://busy:10001")
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(InputError, match="Initialization failure from server: no channel in time"):
        _attempt(lambda: connect(99), "ray://busy:10001")
    assert len(tries) == 3


def test_a_local_ray_that_a_busy_machine_does_not_start_in_time_is_started_again() -> None:
    tries: list[int] = []

    def start(needed: int, message: str = "The current node timed out during startup.") -> None:
        tries.append(1)
        if len(tries) < needed:
            raise RuntimeError(message)

    start_patiently(lambda: start(3))
    assert len(tries) == 3
    for needed, message, made in ((99, "The current node timed out during startup.", 3), (99, "no space left", 1)):
        tries.clear()
        with pytest.raises(RuntimeError, match=message):
            start_patiently(partial(start, needed, message))
        assert len(tries) == made
