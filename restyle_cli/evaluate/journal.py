"""Results of a long evaluation as lines on disk, from which an interrupted run continues.

The first line has the settings; a journal with other settings belongs to another run. Every line is JSON and written
at once, so a killed process leaves at most one partial line, the last, which is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from restyle_cli.errors import RestyleError
from restyle_cli.io import check_regular, write_atomic, writing_failed
from restyle_cli.records import Misfit, conform, parse_json

FORMAT = 1


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
            if overwrite or not self.path.exists():
                self._create()
                return
            check_regular(self.path)
            with self.path.open("r+b") as file:
                whole = _whole_lines(file)
                file.truncate(whole)
            if not whole:  # killed before the first line was written
                self._create()
                return
        except OSError as error:
            raise self._failed(error) from error
        if (other := self.difference()) is not None:
            raise RestyleError(
                f"{str(self.path.parent)!r} has the report of another run: {other}",
                "choose another folder with --output, or replace the report with --overwrite",
            )

    def difference(self) -> str | None:
        """A description of the first setting that differs in the file; None if all are equal."""
        first: dict[str, Any] = next(self._lines(), {})
        written = first.get("settings") if first.get("format") == FORMAT else None
        if not isinstance(written, dict):
            return "it has another version"
        current = json.loads(json.dumps(self.settings))
        for name in {**current, **written}:
            if current.get(name) != written.get(name):
                return f"it has other {name}" if name.endswith("s") else f"it has another {name}"
        return None

    def add(self, values: Mapping[str, Any]) -> None:
        """Append a line; RestyleError if it cannot be written."""
        try:
            with self.path.open("ab") as file:
                file.write(_line(values))
        except OSError as error:
            raise self._failed(error) from error

    def entries(self, kind: Any = dict) -> Iterator[Any]:
        """All lines but the first as values of the type `kind`, in the order of writing, read one at a time.

        RestyleError at a line of another type.
        """
        lines = self._lines(kind)
        next(lines, None)
        yield from lines

    def damaged(self, reason: object) -> RestyleError:
        """The error for a damaged file."""
        return RestyleError(f"{str(self.path)!r} is damaged: {reason}", "start over with --overwrite")

    def _create(self) -> None:
        first = _line({"format": FORMAT, "settings": self.settings})
        write_atomic(self.path, lambda part: part.write_bytes(first))

    def _lines(self, kind: Any = dict) -> Iterator[Any]:
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    try:
                        yield conform(parse_json(line), kind if number > 1 else dict)
                    except Misfit as error:
                        raise self.damaged(f"line {number}: {error}") from error
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> RestyleError:
        return writing_failed(self.path, error)


def _line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, allow_nan=False).encode("ascii") + b"\n"


def _whole_lines(file: BinaryIO) -> int:
    """Number of bytes up to the end of the last complete line."""
    position = file.seek(0, os.SEEK_END)
    while position > 0:
        start = max(position - 65536, 0)
        file.seek(start)
        end = file.read(position - start).rfind(b"\n")
        if end >= 0:
            return start + end + 1
        position = start
    return 0
