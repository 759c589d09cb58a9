"""What each run of a study did, in its folder: `runs/<start>.json` (a summary, kept up to date) and
`runs/<start>.jsonl` (events). Nothing that a study needs to go on is in them, but the hours spent.

Both may lag behind or be missing after a kill or on a full disk: results and trials never wait for them.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.version import code_version
from studies.folder import RUNS, write_text

KEEP_S = 30.0  # a killed run may lose this much of its wall time
LOGGER = logging.getLogger("mesoforge")
"""Everything that is logged under this name during a run lands in its file."""


class RunRecord:
    """The summary file of this run."""

    def __init__(self, out: Path, name: str) -> None:
        self._out, self._name = out, f"{RUNS}/{name}.json"
        self._started, self._kept = time.monotonic(), -KEEP_S
        self._head = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "code_version": code_version(),
        }

    @property
    def wall_time_s(self) -> float:
        return time.monotonic() - self._started

    @property
    def due(self) -> bool:
        return time.monotonic() - self._kept >= KEEP_S

    def keep(self, document: Mapping[str, Any]) -> None:
        """Write the state of the run; a disk that refuses is said elsewhere."""
        self._kept = time.monotonic()
        body = {**self._head, "wall_time_s": round(self.wall_time_s, 3), **document}
        with suppress(OSError):
            write_text(json.dumps(body, indent=1, default=str), self._out, self._name)


def seconds_before(out: Path) -> float:
    """Work of earlier runs; what cannot be read counts as nothing."""
    seconds = 0.0
    for path in (out / RUNS).glob("*.json"):
        with suppress(OSError, ValueError, TypeError, KeyError):
            seconds += float(json.loads(path.read_text(encoding="utf-8"))["wall_time_s"])
    return seconds


@contextmanager
def recorded(out: Path) -> Iterator[RunRecord]:
    """Log this run into a file of its own, and keep its summary beside it."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
    handler: logging.Handler = logging.NullHandler()
    with suppress(OSError):
        (out / RUNS).mkdir(exist_ok=True)
        handler = _Quiet(out / RUNS / f"{name}.jsonl", encoding="utf-8", delay=True)
        handler.setFormatter(JsonLines())
    level, propagate = LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False  # the terminal shows the progress bar
    try:
        yield RunRecord(out, name)
    finally:
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate
        LOGGER.removeHandler(handler)
        with suppress(OSError):
            handler.close()


def log(event: str, **fields: object) -> None:
    """Log an event with fields, as one line of JSON."""
    LOGGER.info(event, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "event": ..., and the fields}`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class _Quiet(logging.FileHandler):
    """A log that cannot be written (a full disk) is no reason to stop, nor to print."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass
