"""Folders and files on this machine."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from restyle_cli.io import open_regular


def home() -> Path:
    """Folder for everything fetched or converted: `$RESTYLE_HOME`, else the platform's cache folder.

    It need not exist.
    """
    chosen = os.environ.get("RESTYLE_HOME")
    if chosen:
        return Path(chosen).expanduser()
    return _cache_folder() / "restyle"


def sha256(path: Path) -> str:
    """The SHA-256 of any file, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
