"""What a long measurement has come to, line by line on disk: one that was killed goes on where it stopped.

The first line says what is measured and how; a journal of other settings is another run's. Every line is JSON and is
written at once, so that a killed process leaves at most one piece of a line, at the end, which is dropped.
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
    """A file of lines, the first of which is `settings`; `open` begins or continues it."""

    path: Path
    settings: Mapping[str, Any]

    def open(self, overwrite: bool = False) -> None:
        """Make the file ready to be added to; `overwrite`: empty, whatever was there.

        RestyleError when it holds a run of other settings, or cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if overwrite or not self.path.exists():
                self._begin()
                return
            check_regular(self.path)
            with self.path.open("r+b") as file:
                whole = _whole_lines(file)
                file.truncate(whole)
            if not whole:  # killed before it wrote a line
                self._begin()
                return
        except OSError as error:
            raise self._failed(error) from error
        if (other := self.difference()) is not None:
            raise RestyleError(
                f"{str(self.path.parent)!r} holds the report of another run: {other}",
                "choose another folder with --output, or replace the report with --overwrite",
            )

    def difference(self) -> str | None:
        """Which setting the file has otherwise, in words; None when all are equal."""
        first = next(self._lines(), {})
        theirs = first.get("settings") if first.get("format") == FORMAT else None
        if not isinstance(theirs, dict):
            return "one of another version"
        ours = json.loads(json.dumps(self.settings))
        for name in {**ours, **theirs}:
            if ours.get(name) != theirs.get(name):
                return f"it has other {name}" if name.endswith("s") else f"it has another {name}"
        return None

    def add(self, values: Mapping[str, Any]) -> None:
        """Append a line. RestyleError when it cannot be written."""
        try:
            with self.path.open("ab") as file:
                file.write(_line(values))
        except OSError as error:
            raise self._failed(error) from error

    def entries(self, kind: Any = dict) -> Iterator[Any]:
        """All lines but the first, each as the type `kind`, in the order in which they were added, read one at a time.

        RestyleError at a line that is none.
        """
        lines = self._lines(kind)
        next(lines, None)
        yield from lines

    def damaged(self, reason: object) -> RestyleError:
        """The error of a file that is not as it was written."""
        return RestyleError(f"{str(self.path)!r} is damaged: {reason}", "begin again with --overwrite")

    def _begin(self) -> None:
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
    """Bytes up to the end of the last whole line."""
    position = file.seek(0, os.SEEK_END)
    while position > 0:
        start = max(position - 65536, 0)
        file.seek(start)
        end = file.read(position - start).rfind(b"\n")
        if end >= 0:
            return start + end + 1
        position = start
    return 0
