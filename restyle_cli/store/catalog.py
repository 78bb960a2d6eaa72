"""The networks we know by name, read from `catalog.toml`. A new network is an entry there, never a class."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from restyle_cli.errors import RestyleError, did_you_mean

CATALOG = Path(__file__).with_name("catalog.toml")


@dataclass(frozen=True)
class Entry:
    """One file of weights. The fields are explained at the top of `catalog.toml`."""

    name: str
    kind: Literal["generator", "encoder", "perceptual"]
    domain: str
    file: str
    licence_code: str
    licence_weights: str
    licence_data: str
    commercial: Literal["yes", "no", "unclear"]
    summary: str
    method: str | None = None
    generator: str | None = None
    embedded: bool = False
    sources: tuple[str, ...] = ()
    bytes: int | None = None
    sha256: str | None = None


def entries() -> list[Entry]:
    """All known networks, in the order of the catalog."""
    return list(_read().values())


def find(name: str) -> Entry:
    """The network called `name`; RestyleError with the nearest name when there is none."""
    known = _read()
    if name not in known:
        near = did_you_mean(name, known)
        every = "`restyle weights list` shows all"
        raise RestyleError(f"no network named '{name}'", f"{near}  {every}" if near else every)
    return known[name]


@functools.cache
def _read() -> dict[str, Entry]:
    tables = tomllib.loads(CATALOG.read_text(encoding="utf-8"))
    return {name: _entry(name, table) for name, table in tables.items()}


def _entry(name: str, table: dict[str, Any]) -> Entry:
    return Entry(name=name, **{**table, "sources": tuple(table.get("sources", ()))})
