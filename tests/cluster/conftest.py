"""Calling the command line in this process, and something for it to work on."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cluster.cli import run
from tests.bundles import write_untrained_bundle


@dataclass(frozen=True)
class Called:
    """What one command line did."""

    status: int
    stdout: str
    stderr: str


Call = Callable[..., Called]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs `mesoforge ARGUMENTS` in an empty folder, `tmp_path/cwd`."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run_it(*arguments: object) -> Called:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Called(status=status, stdout=captured.out, stderr=captured.err)

    return run_it


@pytest.fixture
def refused(call: Call, tmp_path: Path) -> Callable[..., str]:
    """Runs a command line that must be refused: status 2, one line, nothing written. Returns the line."""

    def run_it(*arguments: object) -> str:
        before = {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")}
        called = call(*arguments)
        after = {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")}
        assert called.status == 2, called
        assert called.stdout == ""
        assert called.stderr.startswith("error: ") and called.stderr.count("\n") == 1, called.stderr
        assert after == before
        return called.stderr.strip()

    return run_it


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 that nothing answers at and nobody else can take: bound, and not listened to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a bundle with untrained networks. Read only: damage a copy."""
    folder = tmp_path_factory.mktemp("bundles") / "untrained"
    write_untrained_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `labels.npy` (96x96, labels 0 and 1), `grey.npy`, `small.npy` (32x32), `broken.tif`."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    grey = generator.integers(0, 256, (96, 96), dtype=np.uint8)
    np.save(folder / "grey.npy", grey)
    np.save(folder / "labels.npy", (grey > 200).astype(np.uint8))
    np.save(folder / "small.npy", (grey[:32, :32] > 200).astype(np.uint8))
    (folder / "broken.tif").write_bytes(b"II*\0 not a whole file")
    return folder
