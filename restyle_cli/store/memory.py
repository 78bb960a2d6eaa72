"""Too little memory, which Python and torch report in several ways, often behind another error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from restyle_cli.errors import RestyleError

_SHORT = re.compile("not enough memory|cannot allocate memory|out of memory|can't allocate memory", re.IGNORECASE)
"""Texts of torch's allocator on the CPU and of a failed mmap, which raise a plain RuntimeError."""


@contextmanager
def memory_for(path: Path) -> Iterator[None]:
    """While the networks in `path` are read: RestyleError when the memory does not suffice, also where another error
    was raised because of that."""
    try:
        yield
    except Exception as error:
        if not _is_short(error):
            raise
        size = f" ({path.stat().st_size / 1e6:.0f} MB)" if path.is_file() else ""
        message = f"not enough memory to read '{path}'{size}"
        raise RestyleError(message, "end other programs, or use a machine with more memory") from error


def _is_short(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError | OSError) and _SHORT.search(str(error)):
            return True
        error = error.__cause__
    return False
