"""Writing networks: in torch's form too, and with advice that fits where they are written to."""

from __future__ import annotations

import errno
import io
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
    # Through bytes: of a full disk, torch's own writing says only that it failed, and not as an OSError.
    buffer = io.BytesIO()
    torch.save(content, buffer)

    def write(aside: Path) -> None:
        aside.write_bytes(buffer.getbuffer())

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
