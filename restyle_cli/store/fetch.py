"""From a catalog entry to its file on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from restyle_cli.errors import RestyleError
from restyle_cli.store.catalog import Entry

PACKAGE = Path(__file__).resolve().parent.parent


def embedded_folder() -> Path:
    """Folder of the embedded networks: inside the installed package, or beside it in a source tree."""
    inside = PACKAGE / "weights"
    return inside if inside.is_dir() else PACKAGE.parent / "weights"


def home() -> Path:
    """Folder for everything fetched or converted: `$RESTYLE_HOME`, else the platform's cache folder.

    It need not exist.
    """
    chosen = os.environ.get("RESTYLE_HOME")
    if chosen:
        return Path(chosen).expanduser()
    return _cache_folder() / "restyle"


def path_of(entry: Entry) -> Path:
    """Where the file of `entry` is, or would be."""
    return (embedded_folder() if entry.embedded else home()) / entry.file


def installed(entry: Entry) -> bool:
    """Whether the file of `entry` is on this machine."""
    return path_of(entry).is_file()


def ensure(entry: Entry) -> Path:
    """The file of `entry`, which exists on return. RestyleError when it is not installed."""
    path = path_of(entry)
    if path.is_file():
        return path
    if entry.embedded:
        raise RestyleError(f"'{entry.name}' belongs to restyle, but '{path}' is missing", "install restyle again")
    raise RestyleError(f"'{entry.name}' is not installed", f"put its file at '{path}'")


def _cache_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
