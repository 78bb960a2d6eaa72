"""All printing: results on standard output, everything else on standard error."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from textwrap import indent
from typing import TYPE_CHECKING, Any, Literal, Protocol

import typer

from restyle_cli.cli import streams
from restyle_cli.errors import RestyleError
from restyle_cli.io import to_json

if TYPE_CHECKING:
    from rich.console import Console

LINE_EVERY = 10.0
"""Seconds between two lines of progress if standard error is not a terminal."""

_GAP = 2  # between columns
_READABLE = 16  # minimum width of a column of text, if the text is that long
_HERE = "\N{OBJECT REPLACEMENT CHARACTER} here"  # placeholder of a stored list in the JSON around it
_WIDE = 10_000  # width if the output is a file or a pipe: lines are never wrapped


@dataclass(frozen=True)
class Table:
    """Rows of text under column titles (all empty: no title line). Columns in `right` are right-aligned.

    Lines break between words, and never in the first column or a right-aligned one. If the terminal is too narrow,
    columns are left out in the order of `spare`.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: frozenset[str] = frozenset()
    spare: Sequence[str] = ()


class Stored:
    """A list whose values are read and printed as JSON one at a time."""

    def __iter__(self) -> Iterator[Any]:
        """The values."""
        raise NotImplementedError


class Progress(Protocol):
    """What `Terminal.progress` yields."""

    def advance(self, count: int = 1) -> None:
        """Count `count` more as done."""

    def describe(self, text: str) -> None:
        """Show `text` next to the count."""


@dataclass(frozen=True)
class Terminal:
    """Where a command prints. `json`: results as one JSON object. `quiet`: no notes and no progress."""

    json: bool = False
    quiet: bool = False
    _errors: Console = field(default_factory=lambda: _console(stderr=True), repr=False, compare=False)

    def result(self, values: dict[str, Any], *views: Table | str) -> None:
        """Print on standard output: `values` with --json, otherwise the `views`."""
        if self.json:
            _show_json(values)
            return
        for view in views:
            if isinstance(view, str):
                show(printable(view))
                continue
            text, hidden = _laid_out(view)
            show(text)
            if hidden:
                self.note(f"the terminal is too narrow for: {', '.join(hidden)}; --json prints everything")

    def note(self, text: str) -> None:
        """A line that --quiet leaves out."""
        if not self.quiet:
            say(printable(text))

    def warn(self, text: str) -> None:
        """A line about a possible problem; the run continues."""
        label = typer.style("warning:", fg="yellow", bold=True)
        say(f"{label} {printable(text)}")

    def error(self, error: RestyleError) -> None:
        """Print `error` and its hint; the caller decides whether the run continues."""
        report(error)

    @contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[Progress]:
        """Progress of `total` items (None: unknown) and the time left: a bar on a terminal, else a line now and then.

        `what` is the label ("inverting"). Nothing is shown with --quiet.
        """
        if self.quiet:
            yield _Silent()
        elif not self._errors.is_terminal:
            yield _Lines(what, total)
        else:
            with _bar(self._errors) as bar:
                yield _Bar(bar, bar.add_task(what, total=total))

    @contextmanager
    def transfer(self, what: str, total: int | None, done: int = 0) -> Iterator[Progress]:
        """Progress of a download of `total` bytes (None: unknown), of which `done` are already on disk."""
        if self.quiet:
            yield _Silent()
        elif not self._errors.is_terminal:
            yield _Lines(what, total, done, human_bytes)
        else:
            with _transfer_bar(self._errors) as bar:
                yield _Bar(bar, bar.add_task(what, total=total, completed=done))


def report(error: RestyleError) -> None:
    """Print `error` and its hint on standard error."""
    label = typer.style("error:", fg="red", bold=True)
    say(f"{label} {printable(error.message)}")
    if error.hint:
        say(f"  {typer.style('hint:', fg='cyan')} {printable(error.hint)}")


def say(text: str) -> None:
    """Print a line on standard error; if that is no longer possible, drop it."""
    try:
        typer.echo(text, err=True)
    except OSError:
        streams.silence(sys.stderr)


def show(text: str, end: str = "\n") -> None:
    """Print text on standard output. RestyleError if it cannot be written, BrokenPipeError if the pipe is closed."""
    with _printing():
        print(text, end=end, flush=bool(end))


def finish() -> None:
    """Flush standard output; errors as in `show`."""
    with _printing():
        sys.stdout.flush()


@contextmanager
def _printing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        streams.silence(sys.stdout)
        reason = (error.strerror or str(error)).lower()
        hint = "all output files were written"
        raise RestyleError(f"the result cannot be printed: {reason}", hint) from error


def printable(text: str) -> str:
    """`text` with control characters escaped (file names may contain them), except line breaks."""
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def human_bytes(count: int) -> str:
    """`count` bytes as people read it: "381.6 MB"."""
    if count < 1000:
        return f"{count} B"
    if count < 999_950:
        return f"{count / 1e3:.1f} kB"
    return f"{count / 1e6:.1f} MB" if count < 999_950_000 else f"{count / 1e9:.1f} GB"


def human_seconds(seconds: float) -> str:
    """`seconds` as people read it: "4.1 s", "42 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class _Silent:
    def advance(self, count: int = 1) -> None:
        """Show nothing."""

    def describe(self, text: str) -> None:
        """Show nothing."""


class _Lines:
    def __init__(self, what: str, total: int | None, done: int = 0, amount: Callable[[int], str] = str) -> None:
        self._what, self._total, self._done, self._amount = what, total, done, amount
        self._first = done
        self._text = ""
        self._started = self._last = time.monotonic()

    def advance(self, count: int = 1) -> None:
        self._done += count
        self._show()

    def describe(self, text: str) -> None:
        self._text = text
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._last < LINE_EVERY or (self._total is not None and self._done >= self._total):
            return
        self._last = now
        text = f"{self._what}: {self._amount(self._done)}"
        if self._total is not None:
            text += f" of {self._amount(self._total)}"
        if self._total is not None and self._done > self._first:
            left = (now - self._started) / (self._done - self._first) * (self._total - self._done)
            text += f", {human_seconds(left)} left"
        if self._text:
            text += f"; {self._text}"
        say(text)


class _Bar:
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task
        self._what = bar.tasks[task].description

    def advance(self, count: int = 1) -> None:
        self._bar.advance(self._task, count)

    def describe(self, text: str) -> None:
        self._bar.update(self._task, description=f"{self._what}: {text}")


def _bar(console: Console) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=console,
        transient=True,
    )


def _transfer_bar(console: Console) -> Any:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )


def _console(stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = _WIDE
    return console


def _show_json(values: dict[str, Any]) -> None:
    """Print the object; one of its values may be `Stored`."""
    stored = next((key for key, value in values.items() if isinstance(value, Stored)), None)
    if stored is None:
        show(_as_json(values))
        return
    before, after = _as_json(values | {stored: _HERE}).split(f'"{_HERE}"')
    show(before + "[", end="")
    any_yet = False
    for value in values[stored]:
        show(",\n" if any_yet else "\n", end="")
        show(indent(_as_json(value), "    "), end="")
        any_yet = True
    show(("\n  ]" if any_yet else "]") + after)


def _as_json(values: Any) -> str:
    """JSON; characters that standard output cannot encode are escaped."""
    return to_json(values, 2, sys.stdout.encoding or "ascii")


def _laid_out(table: Table) -> tuple[str, list[str]]:
    """The table as text, and the titles of the columns left out because the terminal is too narrow."""
    from rich.table import Table as RichTable

    console = _console(stderr=False)
    rows = [[printable(cell) for cell in row] for row in table.rows]
    widths = _widths(table, rows, console.width)
    console.width = max(console.width, sum(widths.values()) + _GAP * len(widths))
    laid = RichTable(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    laid.show_header = any(table.columns)
    for index, width in widths.items():
        justify: Literal["left", "right"] = "right" if table.columns[index] in table.right else "left"
        laid.add_column(table.columns[index], justify=justify, width=width)
    for row in rows:
        laid.add_row(*(row[index] for index in widths))
    with console.capture() as capture:
        console.print(laid)
    hidden = [name for index, name in enumerate(table.columns) if index not in widths]
    return "\n".join(line.rstrip() for line in capture.get().splitlines()), hidden


def _widths(table: Table, rows: Sequence[Sequence[str]], room: int) -> dict[int, int]:
    """Width by index of the columns that are shown: at least the longest word, so that no word is broken.

    If even that is too wide, columns are left out in the order of `table.spare`.
    """
    from rich.cells import cell_len

    cells = list(zip(table.columns, *rows, strict=True))
    whole = [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in cells]
    least = [max(cell_len(word) for cell in column for word in (cell.split() or [""])) for column in cells]
    for i, name in enumerate(table.columns):
        unbroken = not i or name in table.right
        least[i] = whole[i] if unbroken else max(least[i], min(whole[i], _READABLE))
    shown = list(range(len(table.columns)))
    for name in table.spare:
        if sum(least[i] + _GAP for i in shown) - _GAP <= room:
            break
        shown.remove(table.columns.index(name))
    left = max(room - sum(least[i] + _GAP for i in shown) + _GAP, 0)
    wanted = sum(whole[i] - least[i] for i in shown)
    part = min(left / wanted, 1) if wanted else 0
    return {i: least[i] + int((whole[i] - least[i]) * part) for i in shown}
