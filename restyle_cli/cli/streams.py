"""Standard streams that can be written to, whatever the caller has closed, redirected or encoded."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO


def prepare() -> None:
    """Open what is closed on the null device, and replace characters that standard output cannot encode.

    A closed stream is `None` in Python, and then `print(file=sys.stderr)` writes to standard output. Its number would
    go to the next file that is opened, into which C libraries would then print their warnings.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            _occupy(number)
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    sys.stdout.reconfigure(errors="replace")


def silence(stream: IO[str]) -> None:
    """Send what is still buffered in `stream`, and all that follows, to the null device.

    Python flushes the streams at exit, and complains where that fails.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _occupy(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, number)
        if nowhere != number:
            os.close(nowhere)
