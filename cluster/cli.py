"""The command line: `mesoforge COMMAND`. Exit status 0 done, 1 the work failed, 2 the input was wrong."""

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from cluster.commands import (
    characterize,
    compact,
    dashboard,
    evaluate,
    export,
    generate,
    models,
    query,
    regenerate,
    report,
    sample,
    sweep,
    synth,
    train,
)
from cluster.connect import THREADS_SLEEP
from cluster.terminal import Interrupted, say
from engine.errors import InputError, WorkError

EXIT_DONE, EXIT_FAILED, EXIT_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="mesoforge",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: the same in a terminal, a pipe and a log
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere on the line.")
    ] = False,
) -> None:
    """From 2D micrographs to generative models, from those to 3D microstructures with chosen properties.

    \b
    First steps:
      mesoforge models
      mesoforge reconstruct --model berea --count 2 --size 64 --seed 1 --out volumes
      mesoforge sweep berea_transport
    """
    if version:
        from engine.version import code_version

        print(f"mesoforge {code_version()}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command("models", short_help="list the bundles there are")(models.models)
app.command("train", short_help="micrographs into a bundle; --check examines them first")(train.train)
app.command("synth", short_help="samples of a synthetic material with known truth")(synth.synth)
app.command("sample", short_help="2D images that look like a bundle's micrographs")(sample.sample)
app.command("reconstruct", short_help="3D volumes that look like a bundle's material")(generate.reconstruct)
app.command("design", short_help="3D volumes that have the targets you give")(generate.design)
app.command("characterize", short_help="measure labelled volumes and images of any origin")(characterize.characterize)
app.command("evaluate", short_help="a generated set against a true one")(evaluate.evaluate)
app.command("sweep", short_help="run a study, or go on with it")(sweep.sweep)
app.command("query", short_help="SQL over a folder of results")(query.query)
app.command("report", short_help="one HTML file about a folder of results")(report.report)
app.command("regenerate", short_help="make a structure again from its row")(regenerate.regenerate)
app.command("dashboard", short_help="a sweep's trials in the browser")(dashboard.dashboard)
app.command("compact", short_help="merge the many small files of a sweep into few")(compact.compact)
app.command("export", short_help="structures as files: TIFF, NPY, VTI, STL, INP")(export.export)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status. Errors are one line on stderr."""
    words = [word for word in arguments if word != "--debug"]
    debug = len(words) < len(arguments)
    with warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")  # warnings of libraries are for their callers, not for a user
        try:
            return _call(words)
        except Interrupted as interrupt:
            say(f"interrupted: {interrupt.kept}")
            return EXIT_INTERRUPTED
        except KeyboardInterrupt:
            say("interrupted: nothing was written")
            return EXIT_INTERRUPTED
        except BrokenPipeError:  # the reader of stdout went away, as in `mesoforge query ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter's own flush at exit
            return EXIT_FAILED
        except Exception as error:
            if debug:
                raise
            return _report(error)


def _call(words: list[str]) -> int:
    """Parse and invoke. Not `app()`, which would turn Ctrl-C into a bare exit status."""
    command = get_command(app)
    try:
        with command.make_context("mesoforge", list(words), obj=tuple(words)) as context:
            command.invoke(context)
    except typer.Exit as stop:  # --help, --version
        return stop.exit_code
    finally:
        sys.stdout.flush()  # a reader that went away shows here, not at exit
    return EXIT_DONE


def _report(error: Exception) -> int:
    """Print the error in one line and return the exit status that goes with it."""
    if isinstance(error, InputError):
        say(f"error: {_one_line(error)}")
        return EXIT_INPUT
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "mesoforge"
        say(f"error: {' '.join(error.format_message().split())} (see {command} --help)")
        return error.exit_code
    if isinstance(error, WorkError):
        say(f"error: {_one_line(error)}")
        return EXIT_FAILED
    say(f"error: {type(error).__name__}: {_one_line(error)} (run again with --debug for the traceback)")
    return EXIT_FAILED


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _terminate(signal_number: int, frame: object) -> None:
    """End the work as Ctrl-C does, at the same safe places."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell script
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def main() -> None:
    """Entry point of the `mesoforge` program."""
    signal.signal(signal.SIGTERM, _terminate)
    os.environ |= THREADS_SLEEP | os.environ  # before torch is imported; what the user has set stays
    sys.exit(run(sys.argv[1:]))
