"""`mesoforge dashboard`: Optuna's dashboard over a study."""

import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.terminal import say
from engine.errors import InputError

LOCAL = "127.0.0.1"
REFRESH_S = 5.0


def dashboard(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep.")],
    port: Annotated[int, typer.Option(metavar="N", help="Port of the server; 0 takes a free one.")] = 8080,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen at; any but 127.0.0.1 shows it to others too.")
    ] = LOCAL,
) -> None:
    """Show a study in the browser: trials, parameters and their importance, pictures and targets of each trial.

    The study is only read, also while its sweep runs. Every trial has slices, a turning volume, a table of targets
    against what was achieved, and the commands that export or regenerate its structures. Ctrl-C ends it.

    \b
    Examples:
      mesoforge dashboard runs/berea_transport
      mesoforge dashboard runs/berea_transport --port 0
    """
    if not 0 <= port < 65536:
        raise InputError(f"--port {port}: must lie within 0 and 65535")
    import optuna

    from studies.dashboard import Board

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    board = Board(folder)
    server = _server(board.application(), host, port)
    if host != LOCAL:
        say(f"note: listens at {host}: whoever reaches this machine there sees the study")
    print(f"http://{host}:{server.server_port}/dashboard/studies/0", flush=True)
    say(f"study {board.name}, {folder}; Ctrl-C ends the server")
    stopped = threading.Event()
    follower = threading.Thread(target=_follow, args=(board, stopped), daemon=True)
    follower.start()
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        say("ended; the study is as it was")
    finally:
        stopped.set()
        server.server_close()


def _follow(board: object, stopped: threading.Event) -> None:
    """Take over new trials now and then."""
    from studies.dashboard import Board

    assert isinstance(board, Board)
    while not stopped.wait(REFRESH_S):
        try:
            board.refresh()
        except Exception as error:  # a file in the middle of a change: the next look sees it whole
            say(f"note: the study could not be read again ({error}); the page shows it as it was")


def _server(application: Any, host: str, port: int) -> Any:
    """A server that answers several requests at once: a turning volume takes a moment, the page asks all the time."""
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    class Threaded(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Silent(WSGIRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            """Not a line per request."""

    try:
        return make_server(host, port, application, server_class=Threaded, handler_class=Silent)
    except OSError as error:
        raise InputError(
            f"--port {port}: cannot listen at {host} ({error.strerror or error}); give another --port, or 0 to take one"
        ) from None
