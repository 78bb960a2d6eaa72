"""The JSON at the beginning of a safetensors file: which tensors it holds, and what its writer added as metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from restyle_cli.errors import RestyleError
from restyle_cli.io import open_regular

MAX_HEADER = 16 * 1024 * 1024
"""Bytes of header that are read at most; ours have some 100 kB."""


def read_safetensors_header(path: Path) -> dict[str, Any]:
    """The header, its claimed length checked against the file's. RestyleError when there is none."""
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
        raise RestyleError(f"'{path}' cannot be read: {error.strerror or error}") from error
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
    """The metadata by name; values that are JSON are parsed, as safetensors has texts only."""
    table = header.get("__metadata__")
    if not isinstance(table, dict):
        return {}
    parsed = {name: _parse_json(text.encode()) for name, text in table.items() if isinstance(text, str)}
    return {name: table[name] if value is None else value for name, value in parsed.items()}


def written_by_restyle(header: dict[str, Any]) -> bool:
    """Whether the metadata has restyle's description of the content, whole or spoiled."""
    config = metadata(header).get("config")
    return isinstance(config, dict) and ("family" in config or "format" in config)


def damaged(path: Path, reason: str, hint: str | None = None) -> RestyleError:
    """The error of a file of restyle's own that cannot be used."""
    return RestyleError(f"'{path}' cannot be used: {reason}", hint or "fetch or write it again")


def _parse_json(text: bytes) -> Any:
    """The value written in `text`, or None when it is not JSON (or nested without end)."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
