"""Reading files: checks before, the header of safetensors, and too little memory while reading."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from restyle_cli.errors import RestyleError
from restyle_cli.io import open_regular, reason_of
from restyle_cli.memory import is_out_of_memory

MAX_HEADER = 16 * 1024 * 1024
"""Bytes of a safetensors header that are read at most; ours have some 100 kB."""


def check_input(path: Path) -> None:
    """RestyleError unless `path` is a regular file with content that may be read."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise RestyleError(f"'{path}' is a folder, not a model file", "name a file in it")
        if not stat.S_ISREG(status.st_mode):
            raise RestyleError(f"'{path}' is not a regular file", "copy its content to a file first")
        if status.st_size == 0:
            raise RestyleError(f"'{path}' is empty", "download it again")
        path.open("rb").close()
    except FileNotFoundError as error:
        raise RestyleError(f"'{path}' cannot be read: no such file", "check the path") from error
    except OSError as error:
        raise RestyleError(f"'{path}' cannot be read: {reason_of(error)}", "check path and permissions") from error


def is_file(name: str) -> bool:
    """Whether there is a file of this name, which may be any text."""
    try:
        return Path(name).is_file()
    except OSError:
        return False


def damaged(path: Path, reason: str, hint: str | None = None) -> RestyleError:
    """The error for a file written by restyle that cannot be used."""
    return RestyleError(f"'{path}' cannot be used: {reason}", hint or "download or write it again")


def read_safetensors_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file. RestyleError when it has none, or its length is not that of the file."""
    try:
        size = path.stat().st_size
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise damaged(path, "it is cut off, or no safetensors file" if size else "it is empty")
            if length > MAX_HEADER:
                raise damaged(path, f"its header claims {length / 1e6:.0f} MB")
            header = _parse_json(file.read(length))
    except OSError as error:
        raise RestyleError(f"'{path}' cannot be read: {reason_of(error)}") from error
    if not isinstance(header, dict):
        raise damaged(path, "its header is not JSON")
    try:
        end = max((one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"), default=0)
    except (LookupError, TypeError) as error:
        raise damaged(path, "its header describes no tensors") from error
    if end != size - 8 - length:
        raise damaged(path, "it is cut off, or its header belongs to another file")
    return header


def metadata(header: dict[str, Any]) -> dict[str, Any]:
    """The metadata in a safetensors header by name. Its values are texts; those that are JSON are parsed."""
    table = header.get("__metadata__")
    if not isinstance(table, dict):
        return {}
    parsed = {name: _parse_json(text.encode()) for name, text in table.items() if isinstance(text, str)}
    return {name: table[name] if value is None else value for name, value in parsed.items()}


def written_by_restyle(header: dict[str, Any]) -> bool:
    """Whether the metadata has restyle's description of the content, complete or damaged."""
    config = metadata(header).get("config")
    return isinstance(config, dict) and ("family" in config or "format" in config)


def _parse_json(text: bytes) -> Any:
    """The value in `text`; None when it is not JSON, or nested too deeply."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


@contextmanager
def memory_for(path: Path) -> Iterator[None]:
    """RestyleError when memory runs out while `path` is read, even where that caused another error."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while isinstance(cause, Exception) and not is_out_of_memory(cause):
            cause = cause.__cause__
        if not isinstance(cause, Exception):
            raise
        size = f" ({path.stat().st_size / 1e6:.0f} MB)" if path.is_file() else ""
        hint = "close other programs, or use a machine with more memory"
        raise RestyleError(f"not enough memory to read '{path}'{size}", hint) from error
