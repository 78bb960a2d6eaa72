"""Writing networks: in torch's form too, and with advice that fits where they are written to."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from restyle_cli.errors import RestyleError
from restyle_cli.io import write_atomic

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


def write_torch(path: Path, content: Any) -> None:
    """`torch.save`, whole or not at all."""

    def write(part: Path) -> None:
        with part.open("wb") as file:  # given a path, torch writes by itself, and its errors are no OSErrors
            try:
                torch.save(content, file)
            except RuntimeError as error:  # the file could not be finished, after it could not be written
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    write_atomic(path, write)


@contextmanager
def advising(instead: str) -> Iterator[None]:
    """What cannot be written in this block is reported with `instead` as what to do."""
    try:
        yield
    except RestyleError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError):
            raise
        hint = f"free some space, or {instead}" if cause.errno in _FULL else instead
        raise RestyleError(error.message, hint) from cause
