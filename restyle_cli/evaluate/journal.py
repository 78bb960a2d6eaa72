"""The results of an evaluation as JSON lines on disk, from which an interrupted run continues.

The first line has the settings; a journal with other settings belongs to another run. Every other line is one image
and method. Lines are written at once, so a killed process leaves at most one partial line, the last, which is dropped.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from restyle_cli.errors import RestyleError
from restyle_cli.io import check_regular, write_atomic, writing_failed
from restyle_cli.records import RecordError, conform, parse_json

FORMAT = 2


@dataclass(frozen=True)
class Row:
    """The numbers of an image and a schedule: `values` by step and column, and the `seconds` until each step's end.

    `thumbnail`: target and result as a base64-encoded JPEG, of the best and worst images only.
    """

    schedule: str
    input: str
    sha256: str
    values: list[list[float]]
    seconds: list[float]
    thumbnail: str | None = None


@dataclass(frozen=True)
class Skip:
    """An image without numbers, the reason and a hint. `schedule`: the only one that failed; None if all would.

    `sha256` is None if the next run tries again; then it is not written to the journal.
    """

    input: str
    reason: str
    hint: str | None = None
    sha256: str | None = None
    schedule: str | None = None


@dataclass(frozen=True)
class Peak:
    """The peak memory of one pass over the images."""

    schedule: str
    peak_memory_mb: float


Entry = Row | Skip | Peak


@dataclass(frozen=True)
class Journal:
    """A file of JSON lines that starts with `settings`; call `open` first."""

    path: Path
    settings: Mapping[str, Any]

    def open(self, overwrite: bool = False) -> None:
        """Create the file, or prepare the existing one to be continued; `overwrite` replaces it.

        RestyleError if it has other settings or cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            whole = 0
            if not overwrite and self.path.exists():
                check_regular(self.path)
                whole = _whole_lines(self.path)
                os.truncate(self.path, whole)
        except OSError as error:
            raise writing_failed(self.path, error) from error
        if not whole:
            first = _line({"format": FORMAT, "settings": self.settings})
            write_atomic(self.path, lambda part: part.write_bytes(first))
        elif (other := self._difference()) is not None:
            raise RestyleError(
                f"{str(self.path.parent)!r} has the report of another run: {other}",
                "choose another folder with --output, or replace the report with --overwrite",
            )

    def add(self, entries: Iterable[Entry]) -> None:
        """Append the entries, a line each; RestyleError if they cannot be written."""
        lines = [_line({key: value for key, value in asdict(one).items() if value is not None}) for one in entries]
        try:
            with self.path.open("ab") as file:
                file.write(b"".join(lines))
        except OSError as error:
            raise writing_failed(self.path, error) from error

    def entries(self) -> Iterator[Entry]:
        """All entries in the order of writing, read one at a time; RestyleError at a damaged line."""
        lines = self._lines()
        next(lines, None)
        for number, line in enumerate(lines, start=2):
            kind: Any = Skip if "reason" in line else Peak if "peak_memory_mb" in line else Row
            try:
                yield conform(line, kind)
            except RecordError as error:
                raise self.damaged(f"line {number}: {error}") from error

    def rows(self, schedule: str, steps: int, columns: int) -> Iterator[Row]:
        """The rows of a schedule; RestyleError if a row does not have `columns` numbers for each of `steps` steps."""
        for row in self.entries():
            if isinstance(row, Row) and row.schedule == schedule:
                if [len(values) for values in row.values] != [columns] * steps or len(row.seconds) not in (0, steps):
                    raise self.damaged(f"the row of {row.input!r} has other columns or steps")
                yield row

    def damaged(self, reason: object) -> RestyleError:
        """The error for a damaged file."""
        return RestyleError(f"{str(self.path)!r} is damaged: {reason}", "start over with --overwrite")

    def _difference(self) -> str | None:
        """A description of the first setting that differs in the file; None if all are equal."""
        first = next(self._lines(), {})
        written = first.get("settings") if first.get("format") == FORMAT else None
        if not isinstance(written, dict):
            return "it has another version"
        current = json.loads(json.dumps(self.settings))
        for name in {**current, **written}:
            if current.get(name) != written.get(name):
                return f"it has other {name}" if name.endswith("s") else f"it has another {name}"
        return None

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    try:
                        yield conform(parse_json(line), dict)
                    except RecordError as error:
                        raise self.damaged(f"line {number}: {error}") from error
        except OSError as error:
            raise writing_failed(self.path, error) from error


def _line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, allow_nan=False).encode("ascii") + b"\n"


def _whole_lines(path: Path) -> int:
    """Number of bytes up to the end of the last complete line."""
    if not path.stat().st_size:  # cannot be mapped
        return 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.rfind(b"\n") + 1
