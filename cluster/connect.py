"""Connecting to Ray: a fresh local one by default, or a running cluster by address."""

import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from engine.errors import InputError, WorkError

CONNECT_TIMEOUT_S = 5.0
"""A host that answers at all answers within this."""
PROTOCOL_TIMEOUT_S = 10.0
"""Something that listens but does not speak Ray's protocol is given up after this; with the connect time-out: at most
15 s."""
INIT_TIMEOUT_S = 120.0
"""What speaks it may take longer: a Ray client server starts a process for each of its clients."""
SESSION_TRIES = 3
"""A busy head node may not start the process of a client in its own time limit, a busy machine not a local Ray in
Ray's 30 s."""
NODES_TIMEOUT_S = 900.0
"""A cloud starts a machine in minutes."""
OBJECT_STORE_BYTES = 512 * 2**20
"""Of a local Ray: work in flight is bounded, so dozens of volumes of 128³ fit many times over."""
FOLDER_PREFIX, FOLDER_LOCK = "mesoforge-ray-", "driver.lock"
"""Of a local Ray's temporary folder."""
SOCKET_PATH_ROOM = 20
"""Of 107 characters for the path of a socket: our folder takes 23, Ray's session 43 and its longest name 21."""
FOLDER_AGE_S = 3600.0
"""A folder without a lock is a moment old, or what a dying Ray wrote into after its removal; this tells them apart."""

THREADS_SLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait for each other sleep instead of spinning. Where cores are shared, as those of a design actor are
with a property actor, spinning threads hold up the very ones they wait for: 56 s instead of 1.3 s were measured for two
volumes of 32³ with 2 threads on 2 busy cores. Read when OpenMP is loaded, that is with torch."""
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""A local Ray then takes 127.0.0.1 as its address, as it does on macOS, and listens there alone. Otherwise its ports
are open to the network. Read when ray is imported."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the coming default; silences a warning
    "RAY_DISABLE_IMPORT_WARNING": "1",
}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the connected Ray offers."""

    cpus: int
    gpus: int
    nodes: int
    local: bool

    def __str__(self) -> str:
        parts = [_count(self.cpus, "CPU core")] + ([_count(self.gpus, "GPU")] if self.gpus else [])
        where = "local Ray" if self.local else f"Ray cluster of {_count(self.nodes, 'node')}"
        return f"{where}, {', '.join(parts)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


@contextmanager
def connected(address: str = "local", nodes: int = 1, sources: Sequence[Path] = ()) -> Iterator[Resources]:
    """Connect to Ray for the length of the block.

    Args:
        address: `local` starts a fresh Ray on this machine, whatever RAY_ADDRESS says and earlier runs left behind;
            `auto` joins the Ray that runs on this machine or that RAY_ADDRESS names; `host:port` and
            `ray://host:port` join that one.
        nodes: of a cluster: wait until it has so many.
        sources: files of modules and folders of packages that the workers are to import, wherever they are.

    Raises:
        InputError: nothing reachable there, or it is no usable Ray.
        WorkError: the local Ray did not start.
    """
    os.environ.update(_QUIET)
    os.environ |= THREADS_SLEEP | os.environ  # what the user has set stays
    if address == "local":
        with _local_ray(sources):
            yield _resources(local=True)
        return
    check_address(address)
    _await_protocol(address)
    import ray

    with _signals_kept():
        # Workers of a local Ray inherit the environment; elsewhere it has to be sent.
        sent: dict[str, Any] = {"env_vars": THREADS_SLEEP}
        if sources:
            sent["py_modules"] = [str(source) for source in sources]
        _attempt(lambda: ray.init(address=address, runtime_env=sent, **_options()), address)
    try:
        _await_nodes(nodes, address)
        yield _resources(local=False)
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Refuse an address that nothing answers at; `local` and `auto` name no host and pass.

    Raises:
        InputError: not an address, or nothing listens there.
    """
    if address in ("local", "auto"):
        return
    host, _, port = _target(address).rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"--address {address}: must be local, auto, host:port or ray://host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise InputError(
            f"--address {address}: nothing answers there ({error.strerror or error}); start Ray on that host, "
            "or leave --address out to run on this machine"
        ) from None


def _target(address: str) -> str:
    return address.removeprefix("ray://")


def _await_protocol(address: str) -> None:
    """Refuse what does not speak gRPC, as every Ray does: Ray itself waits much longer for it. Raises InputError."""
    if address == "auto":
        return
    import grpc

    with grpc.insecure_channel(_target(address)) as channel:
        try:
            grpc.channel_ready_future(channel).result(PROTOCOL_TIMEOUT_S)
        except grpc.FutureTimeoutError:
            raise _unusable(
                address, f"what listens there is no Ray, or did not answer in {PROTOCOL_TIMEOUT_S:g} s"
            ) from None


def _unusable(address: str, reason: str) -> InputError:
    return InputError(
        f"--address {address}: cannot be used as a Ray cluster ({reason}); check the address and that Ray and Python "
        "have the same versions there, or leave --address out to run on this machine"
    )


def _await_nodes(nodes: int, address: str, timeout_s: float = NODES_TIMEOUT_S) -> None:
    """Wait until a cluster has as many nodes: a job may start before its machines do."""
    import ray

    deadline = time.monotonic() + timeout_s
    while (alive := sum(node["Alive"] for node in ray.nodes())) < nodes:
        if time.monotonic() >= deadline:
            raise WorkError(
                f"--address {address}: {_count(alive, 'node')} of {nodes} within {timeout_s:g} s; see 'ray status' "
                "there, or ask for fewer with --nodes"
            )
        time.sleep(1.0)


@contextmanager
def _local_ray(sources: Sequence[Path]) -> Iterator[None]:
    os.environ |= _LOOPBACK
    os.environ.pop("RAY_ADDRESS", None)  # also for the workers, which inherit the environment
    import ray

    with _own_folder(_parent()) as folder:
        try:
            with _signals_kept(), _on_path(sources):
                options = _options() | {"_temp_dir": str(folder), "object_store_memory": OBJECT_STORE_BYTES}
                start_patiently(lambda: ray.init(address="local", **options))
        except Exception as error:
            raise WorkError(
                f"Ray did not start on this machine ({_first_line(error)}); look for a full disk, a full /dev/shm "
                "or a firewall that closes local ports"
            ) from error
        try:
            open_to = ray.util.get_node_ip_address()
            assert open_to == "127.0.0.1", f"ray was imported before this, and listens on {open_to}"
            yield
        finally:
            ray.shutdown()


def start_patiently(start: Callable[[], object]) -> None:
    """Start a local Ray, again where it was not ready in Ray's own time limits, which cannot be set: by then its
    programs are in the cache of the disk. What is left of the first try ends with this process.
    """
    for left in reversed(range(SESSION_TRIES)):
        try:
            start()
            return
        except Exception as error:
            if not left or "timed out during startup" not in str(error):
                raise


@contextmanager
def _on_path(sources: Sequence[Path]) -> Iterator[None]:
    """What is started within the block can import these modules and packages."""
    before = os.environ.get("PYTHONPATH")
    folders = dict.fromkeys(str(source.parent) for source in sources)
    if folders:
        os.environ["PYTHONPATH"] = os.pathsep.join([*([before] if before else []), *folders])
    try:
        yield
    finally:
        if before is not None:
            os.environ["PYTHONPATH"] = before
        elif folders:
            del os.environ["PYTHONPATH"]


def _parent() -> Path:
    """Of our folder: the system's for temporary files, unless that leaves no room for the names of sockets."""
    named = tempfile.gettempdir()
    return Path(named if len(named) <= SOCKET_PATH_ROOM else "/tmp")


@contextmanager
def _own_folder(parent: Path) -> Iterator[Path]:
    """A folder for Ray's sockets and logs, removed at the end, as are those of drivers that were killed.

    Its lock is held as long as this process lives: the system frees it however that ends.
    """
    _remove_dead(parent)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent))
    try:
        with filelock.FileLock(folder / FOLDER_LOCK, timeout=0):
            yield folder
    finally:
        _remove_dead(parent)  # this one is among them


def _remove_dead(parent: Path) -> None:
    """Remove the folders whose drivers have died."""
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError, filelock.Timeout):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            if not (folder / FOLDER_LOCK).is_file():
                if time.time() - folder.stat().st_mtime > FOLDER_AGE_S:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            with filelock.FileLock(folder / FOLDER_LOCK, timeout=0):
                # The lock goes last: where a dying Ray still writes, the next start finds it and goes on.
                for item in folder.iterdir():
                    if item.is_dir() and not item.is_symlink():
                        shutil.rmtree(item, ignore_errors=True)
                    elif item.name != FOLDER_LOCK:
                        item.unlink()
                if len(list(folder.iterdir())) == 1:
                    shutil.rmtree(folder)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts its own handler on SIGTERM; the program's own is put back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _options() -> dict[str, Any]:
    return {
        "include_dashboard": False,
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "ignore_reinit_error": False,
    }


def _attempt(connect: Callable[[], object], address: str) -> None:
    """Call `connect` with a time limit. Raises InputError."""
    failure: list[BaseException] = []

    def call() -> None:
        for _ in range(SESSION_TRIES):
            failure.clear()
            try:
                connect()
                return
            except ConnectionAbortedError as error:  # a busy head node did not start our session in its time
                failure.append(error)
            except BaseException as error:
                failure.append(error)
                return

    thread = threading.Thread(target=call, daemon=True, name="connect to Ray")
    thread.start()
    thread.join(INIT_TIMEOUT_S)
    if thread.is_alive():
        reason = f"no answer within {INIT_TIMEOUT_S:g} s"
    elif failure:
        reason = _first_line(failure[0])
    else:
        return
    raise _unusable(address, reason)


def _first_line(error: BaseException) -> str:
    """What an error says at first; a heading together with the last line below it, where Ray puts the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return f"{lines[0]} {lines[-1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]


def _resources(*, local: bool) -> Resources:
    import ray

    total = ray.cluster_resources()
    return Resources(
        cpus=max(1, int(total.get("CPU", 1))),
        gpus=int(total.get("GPU", 0)),
        nodes=sum(node["Alive"] for node in ray.nodes()),
        local=local,
    )
