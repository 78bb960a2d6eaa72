"""Makes the standard streams writable, whatever the caller has closed or redirected."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import IO


def prepare() -> None:
    """Open closed streams on the null device; replace characters that standard output cannot encode.

    A closed stream is `None` in Python, and then `print(file=sys.stderr)` writes to standard output. The next file
    opened would get its descriptor, and C libraries would print their warnings into that file.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            _occupy(number)
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def silence(stream: IO[str]) -> None:
    """Redirect `stream`, its buffer included, to the null device.

    Python flushes the streams at exit, and prints an error if that fails.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _occupy(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, number)
        if null != number:
            os.close(null)
