"""All printing: results on standard output, everything else on standard error."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from textwrap import indent
from typing import TYPE_CHECKING, Any, Literal, Protocol

import typer

from restyle_cli.cli import streams
from restyle_cli.errors import RestyleError, RestyleWarning
from restyle_cli.io import to_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn, TaskID

LINE_EVERY = 10.0
"""Seconds between two lines of progress if standard error is not a terminal."""
_READABLE = 16  # minimum width of a column of text, if the text is that long
_LIST = "\N{OBJECT REPLACEMENT CHARACTER} list"  # placeholder of a stored list in the JSON around it
_UNLIMITED = 10_000  # width if the output is a file or a pipe: lines are never wrapped


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
    """Where a command prints. `json`: results as one JSON object. `quiet`: no notes and no progress.

    `verbose`: also the debug lines of the package, and the traceback of an error.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    _errors: Console = field(default_factory=lambda: _console(stderr=True), repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.verbose:
            _show_debug_lines()

    def result(self, values: dict[str, Any], *views: Table | str) -> None:
        """Print on standard output: `values` with --json, otherwise the `views`."""
        if self.json:
            _show_json(values)
            return
        for view in views:
            if isinstance(view, str):
                show(printable(view))
                continue
            text, hidden = _as_text(view)
            show(text)
            if hidden:
                self.note(f"the terminal is too narrow for: {', '.join(hidden)}; --json prints everything")

    def note(self, text: str) -> None:
        """A line that --quiet leaves out."""
        if not self.quiet:
            say(printable(text))

    def warn(self, text: str) -> None:
        """A line about a possible problem; the run continues."""
        say(f"{typer.style('warning:', fg='yellow', bold=True)} {printable(text)}")

    def error(self, error: RestyleError) -> None:
        """Print `error` and its hint; the caller decides whether the run continues."""
        report(error)

    @contextmanager
    def progress(self, what: str, total: int | None, done: int = 0, in_bytes: bool = False) -> Iterator[Progress]:
        """Progress of `total` items (None: unknown) and the time left: a bar on a terminal, else a line now and then.

        `what` is the label ("inverting"). Nothing is shown with --quiet.
        """
        if not self.quiet and not self._errors.is_terminal:
            yield _Lines(what, total, done, in_bytes)
            return
        from rich.progress import Progress as RichProgress

        columns = _columns(in_bytes)
        with RichProgress(*columns, console=self._errors, transient=True, disable=self.quiet) as bar:
            yield _Bar(bar, bar.add_task(what, total=total, completed=done), what)

    @contextmanager
    def transfer(self, what: str, total: int | None, done: int = 0) -> Iterator[Progress]:
        """Progress of a download of `total` bytes (None: unknown), of which `done` are already on disk."""
        with self.progress(what, total, done, in_bytes=True) as progress:
            yield progress


# --- lines


def report(error: RestyleError) -> None:
    """Print `error` and its hint on standard error."""
    say(f"{typer.style('error:', fg='red', bold=True)} {printable(error.message)}")
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
        raise RestyleError(f"the result cannot be printed: {reason}", "all output files were written") from error


def printable(text: str) -> str:
    """`text` with control characters escaped (file names may contain them), except line breaks."""
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def human_bytes(count: int) -> str:
    """`count` bytes as people read it: "381.6 MB"."""
    from rich.filesize import decimal

    return decimal(count)


def human_seconds(seconds: float) -> str:
    """`seconds` as people read it: "4.1 s", "42 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print every RestyleWarning in the block as a line, each text once. Threads that read images have no Terminal."""
    shown: set[str] = set()
    show_others = warnings.showwarning

    def show_once(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
        if not issubclass(category, RestyleWarning):
            show_others(message, category, *where, **options)
        elif (text := str(message)) not in shown:
            shown.add(text)
            Terminal().warn(text)

    with warnings.catch_warnings():
        warnings.simplefilter("always", RestyleWarning)
        warnings.showwarning = show_once
        yield


def _show_debug_lines() -> None:
    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(printable(f"{record.relativeCreated / 1000:.2f} s: {record.getMessage()}"))

    logger = logging.getLogger("restyle_cli")
    logger.handlers, logger.propagate = [Lines()], False
    logger.setLevel(logging.DEBUG)


# --- progress


class _Lines:
    def __init__(self, what: str, total: int | None, done: int, in_bytes: bool) -> None:
        self._what, self._total, self._first, self._done = what, total, done, done
        self._amount = human_bytes if in_bytes else str
        self._text = ""
        self._started = self._last = time.monotonic()

    def advance(self, count: int = 1) -> None:
        self._done += count
        self._show()

    def describe(self, text: str) -> None:
        self._text = f"; {text}"
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._last < LINE_EVERY or (self._total is not None and self._done >= self._total):
            return
        self._last = now
        text = f"{self._what}: {self._amount(self._done)}"
        if self._total is not None:
            text += f" of {self._amount(self._total)}"
            if self._done > self._first:
                left = (now - self._started) / (self._done - self._first) * (self._total - self._done)
                text += f", {human_seconds(left)} left"
        say(text + self._text)


@dataclass(frozen=True)
class _Bar:
    bar: RichProgress
    task: TaskID
    what: str

    def advance(self, count: int = 1) -> None:
        self.bar.advance(self.task, count)

    def describe(self, text: str) -> None:
        self.bar.update(self.task, description=f"{self.what}: {text}")


def _columns(in_bytes: bool) -> list[ProgressColumn]:
    from rich import progress

    amount = (
        [progress.DownloadColumn(), progress.TransferSpeedColumn()] if in_bytes else [progress.MofNCompleteColumn()]
    )
    left = progress.TimeRemainingColumn(compact=True, elapsed_when_finished=not in_bytes)
    return [progress.TextColumn("{task.description}"), progress.BarColumn(), *amount, left]


# --- tables and JSON


def _console(stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = _UNLIMITED
    return console


def _as_text(table: Table) -> tuple[str, list[str]]:
    """The table as text, and the titles of the columns left out because the terminal is too narrow."""
    from rich.cells import cell_len
    from rich.table import Table as RichTable

    console, gap = _console(stderr=False), 2
    rows = [[printable(cell) for cell in row] for row in table.rows]
    fixed = [not index or name in table.right for index, name in enumerate(table.columns)]
    least = {}  # width of each column at which no word is broken
    for index, column in enumerate(zip(table.columns, *rows, strict=True)):
        longest = max(cell_len(line) for cell in column for line in cell.split("\n"))
        word = max(cell_len(word) for cell in column for word in cell.split() or [""])
        least[index] = longest if fixed[index] else max(word, min(longest, _READABLE))
    for index in map(table.columns.index, table.spare):
        if sum(least.values()) + gap * (len(least) - 1) > console.width:
            del least[index]
    console.width = max(console.width, sum(least.values()) + gap * (len(least) - 1))
    laid = RichTable(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    laid.show_header = any(table.columns)
    for index, width in least.items():
        justify: Literal["left", "right"] = "right" if table.columns[index] in table.right else "left"
        laid.add_column(table.columns[index], justify=justify, min_width=width, no_wrap=fixed[index])
    for row in rows:
        laid.add_row(*(row[index] for index in least))
    with console.capture() as capture:
        console.print(laid)
    hidden = [name for index, name in enumerate(table.columns) if index not in least]
    return "\n".join(line.rstrip() for line in capture.get().splitlines()), hidden


def _show_json(values: dict[str, Any]) -> None:
    """Print the object; one of its values may be `Stored`."""
    stored = next((key for key, value in values.items() if isinstance(value, Stored)), None)
    if stored is None:
        show(_as_json(values))
        return
    before, after = _as_json(values | {stored: _LIST}).split(f'"{_LIST}"')
    show(before + "[", end="")
    comma = ""
    for value in values[stored]:
        show(f"{comma}\n{indent(_as_json(value), '    ')}", end="")
        comma = ","
    show(("\n  ]" if comma else "]") + after)


def _as_json(values: Any) -> str:
    """JSON; characters that standard output cannot encode are escaped."""
    return to_json(values, 2, sys.stdout.encoding or "ascii")
