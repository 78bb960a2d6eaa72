"""Too little memory while a checkpoint is read, often hidden behind another error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from restyle_cli.errors import RestyleError
from restyle_cli.memory import is_out_of_memory


@contextmanager
def memory_for(path: Path) -> Iterator[None]:
    """While `path` is read: RestyleError when memory runs out, also where that caused another error."""
    try:
        yield
    except Exception as error:
        if not any(map(is_out_of_memory, _causes(error))):
            raise
        size = f" ({path.stat().st_size / 1e6:.0f} MB)" if path.is_file() else ""
        message = f"not enough memory to read '{path}'{size}"
        raise RestyleError(message, "close other programs, or use a machine with more memory") from error


def _causes(error: BaseException | None) -> Iterator[Exception]:
    while isinstance(error, Exception):
        yield error
        error = error.__cause__
