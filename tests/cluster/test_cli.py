"""The frame around every command: help, exit status, one line for an error."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cluster import cli
from cluster.terminal import Interrupted
from engine.errors import InputError, WorkError
from tests.cluster.conftest import Call

COMMANDS = (
    "models",
    "train",
    "reconstruct",
    "sample",
    "design",
    "characterize",
    "sweep",
    "query",
    "report",
    "dashboard",
    "compact",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(call: Call, command: str) -> None:
    called = call(command, "--help")
    assert called.status == 0
    assert "Example" in called.stdout and f"\n    mesoforge {command}" in called.stdout


def test_without_a_command_the_commands_are_listed(call: Call) -> None:
    called = call()
    assert called.status == 0
    assert all(f"\n  {command} " in called.stdout for command in COMMANDS)


def test_help_is_quick(repository: Path) -> None:
    """In time of the processor: the machine may be busy with something else."""
    command = [sys.executable, "-c", "from cluster.cli import run; run(['--help'])"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_version(call: Call) -> None:
    assert call("--version").stdout.startswith("mesoforge 0.1.0")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["modls"], ["modls", "models"]),
        (["train"], ["--images"]),
        (
            ["design", "--model", "berea", "--out", "x", "--target", "fraction[pore]>=0.1", "--count", "many"],
            ["--count"],
        ),
        (["sweep", "berea_transport", "--adress", "local"], ["--adress"]),
    ],
)
def test_a_wrong_line_is_one_line_of_error(refused: Call, arguments: list[str], words: list[str]) -> None:
    line = refused(*arguments)
    assert all(word in line for word in words) and "--help" in line


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("a: must be b,\nnot c"), 2, "error: a: must be b, not c"),
        (WorkError("no space"), 1, "error: no space"),
        (KeyError("x"), 1, "error: KeyError: 'x' (run again with --debug for the traceback)"),
        (Interrupted("all of it is kept"), 130, "interrupted: all of it is kept"),
        (KeyboardInterrupt(), 130, "interrupted: nothing was written"),
    ],
)
def test_errors_become_a_line_and_a_status(
    call: Call, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, line: str
) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    called = call()
    assert (called.status, called.stderr, called.stdout) == (status, line + "\n", "")


def test_debug_shows_the_traceback(call: Call) -> None:
    with pytest.raises(InputError):
        call("reconstruct", "--model", "no-such-bundle", "--out", "x", "--debug")


def test_a_reader_that_goes_away_is_no_error(repository: Path) -> None:
    code = "from cluster.cli import run; import sys; sys.exit(run(['--help']))"
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    child.wait()
