"""Folders and files on this machine."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from restyle_cli.errors import RestyleError
from restyle_cli.io import open_regular, reason_of


def home() -> Path:
    """Folder for everything fetched or converted: `$RESTYLE_HOME`, else the platform's cache folder.

    It need not exist. RestyleError where there is no telling: `~nobody`, or a user without a home directory.
    """
    chosen = os.environ.get("RESTYLE_HOME")
    try:
        return Path(chosen).expanduser() if chosen else _cache_folder() / "restyle"
    except RuntimeError as error:
        reason = f"RESTYLE_HOME is {chosen!r}" if chosen else "this user has no home directory"
        message = f"there is no folder for fetched models: {reason}"
        raise RestyleError(message, "set RESTYLE_HOME to a folder; bundled models work without") from error


def check_writable(folder: Path) -> None:
    """RestyleError, once and before the work, when nothing can be written to `folder`; creates it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = reason_of(error)
        if folder.is_file():
            reason = "it is a file"
        elif folder.is_symlink() and not folder.exists():
            reason = "it is a link that leads nowhere"
        message = f"cannot write to the folder {str(folder)!r}: {reason}"
        raise RestyleError(message, "choose another with --output") from error


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
