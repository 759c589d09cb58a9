"""What a user sees: results on stdout, progress on stderr, bars and colours only where stderr is a terminal."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a termination signal; `kept` says in one line what is kept and how to go on."""

    def __init__(self, kept: str) -> None:
        super().__init__(kept)
        self.kept = kept


@contextmanager
def kept_on_interrupt(kept: str) -> Iterator[None]:
    """Turn an interrupt of the block into one that says what was kept."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt as interrupt:
        raise Interrupted(kept) from interrupt


def say(line: str) -> None:
    """One line of progress on stderr."""
    print(line, file=sys.stderr, flush=True)


class Bar(Protocol):
    """A running phase."""

    def update(self, done: int, note: str = "", total: int | None = None) -> None:
        """`done` of `total` steps; `note` follows the bar (rate, loss, time left). No total yet: total stays."""


@contextmanager
def phase(title: str, total: int, *, unit: str = "", says_left: bool = False) -> Iterator[Bar]:
    """A phase of work: a live bar on a terminal, else a line at its start and one at its end.

    The bar tells the time left at the rate so far, unless the notes do (`says_left`), which may know better.
    """
    started = time.monotonic()
    if sys.stderr.isatty():
        with _live_bar(title, total, unit, says_left) as bar:
            yield bar
        return
    plain = _PlainBar(total)
    say(f"{title}: {total} {unit}".rstrip() if total else title)
    try:
        yield plain
    except BaseException:
        where = f" at {plain.done} of {plain.total}" if plain.total else ""
        say(f"{title}: stopped{where} after {duration(time.monotonic() - started)}")
        raise
    end = f"stopped at {plain.done} of {plain.total} after" if plain.done < plain.total else "done in"
    note = f" ({plain.note})" if plain.note else ""
    say(f"{title}: {end} {duration(time.monotonic() - started)}{note}")


class _PlainBar:
    """Remembers the last state for the line at the end."""

    def __init__(self, total: int) -> None:
        self.done, self.total, self.note = 0, total, ""

    def update(self, done: int, note: str = "", total: int | None = None) -> None:
        self.done, self.note = done, note
        self.total = self.total if total is None else total


@contextmanager
def _live_bar(title: str, total: int, unit: str, says_left: bool) -> Iterator[Bar]:
    """The bar on one line, the note on a second: together they would not fit 80 columns."""
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Noted(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            for running in self.tasks:
                yield Text(f"  {running.fields['note']}", no_wrap=True, overflow="ellipsis")

    class Live:
        def __init__(self, total: int) -> None:
            self._total, self._begun, self._first = total, time.monotonic(), -1

        def update(self, done: int, note: str = "", total: int | None = None) -> None:
            self._total = self._total if total is None else total
            self._first = done if self._first < 0 else self._first  # a run that goes on does not begin at 0
            if not says_left and self._first < done < self._total:
                rate = (done - self._first) / (time.monotonic() - self._begun)
                note = ", ".join([*([note] if note else []), f"about {duration((self._total - done) / rate)} left"])
            progress.update(task, completed=done, note=note, total=total)

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit, markup=False),
        TimeElapsedColumn(),
    )
    with Noted(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total or None, note="")
        yield Live(total)


def duration(seconds: float) -> str:
    """`0.4 s`, `38 s`, `3:20 min`, `2:05 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h"


def size_text(count: float) -> str:
    """`0 B`, `512 B`, `1.4 kB`, `23 MB`: decimal units, as disks are sold and file managers show."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 9.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Plain text columns, numbers to the right; never cut, whatever the width of the terminal."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(header), *(len(row[i]) for row in cells), 0) for i, header in enumerate(headers)]
    right = [bool(rows) and all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(headers))]
    lines = [headers, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
