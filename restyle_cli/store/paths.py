"""Folders and files on this machine."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import tempfile
from pathlib import Path

from restyle_cli.errors import RestyleError
from restyle_cli.io import check_regular, reason_of


def home() -> Path:
    """Folder of downloaded and converted models: `$RESTYLE_HOME`, else in the platform's cache folder.

    It need not exist. RestyleError where it cannot be known: `~nobody`, or a user without a home directory.
    """
    chosen = os.environ.get("RESTYLE_HOME")
    try:
        return Path(chosen).expanduser() if chosen else _cache_folder() / "restyle"
    except RuntimeError as error:
        reason = f"RESTYLE_HOME is {chosen!r}" if chosen else "this user has no home directory"
        message = f"there is no folder for downloaded models: {reason}"
        raise RestyleError(message, "set RESTYLE_HOME to a folder; bundled models do not need it") from error


def check_writable(folder: Path) -> None:
    """Create the folder; RestyleError when nothing can be written to it. For a check before the work."""
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
    """The SHA-256 of a file, in hexadecimal. An unchanged file is read once in a process: see `fresh_sha256`."""
    check_regular(path)
    status = path.stat()
    return _sha256(path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def fresh_sha256(path: Path) -> str:
    """The SHA-256 of a file as it is now, even if its size and times are those of before."""
    check_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.lru_cache(maxsize=1024)
def _sha256(path: Path, *_status: int) -> str:
    return fresh_sha256(path)


def _cache_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
