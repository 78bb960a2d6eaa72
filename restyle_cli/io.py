"""Write files completely or not at all, and read only regular files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from restyle_cli.errors import RestyleError

if sys.platform != "win32":  # Windows refuses to replace a file that is being written, so it needs no locks
    import fcntl

_OPEN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)


# --- reading


def check_regular(path: Path) -> None:
    """OSError unless `path` is a regular file or a link to one: reading a pipe or a device may never end."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kind = "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read bytes; OSError as from `check_regular`."""
    check_regular(path)
    return path.open("rb")


def reading_failed(path: Path, error: OSError) -> RestyleError:
    """The error to report if `path` could not be read."""
    if isinstance(error, FileNotFoundError):
        return RestyleError(f"no file or folder {str(path)!r}", "check the name; quote names that have spaces")
    denied = isinstance(error, PermissionError)
    hint = "give yourself the right to read it (chmod u+r), or run as its owner" if denied else None
    return RestyleError(f"{str(path)!r} cannot be read: {reason_of(error)}", hint)


def reason_of(error: OSError) -> str:
    """The reason in a few words: "permission denied"."""
    return (error.strerror or str(error) or type(error).__name__).lower()


# --- writing


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then move it to `path`; the folder is created.

    `path` is always the old file or the complete new one. A killed process leaves its temporary file, which the next
    process that writes to the folder removes. A process that is writing holds a lock on the file, so that others leave
    it alone, or wait if they write to the same path. An OSError becomes a RestyleError.
    """
    part = temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path.parent.absolute())
        lock = _lock(part)
        try:
            os.ftruncate(lock, 0)  # a killed process may have left content
            write(part)
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()  # before the lock is released: another writer could take the file
            raise
        finally:
            os.close(lock)
    except OSError as error:
        raise writing_failed(path, error) from error


def temporary_of(path: Path) -> Path:
    """The temporary file of `write_atomic` for `path`: the same for the same name, and short for long names."""
    return path.with_name(f".restyle-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:10]}.part")


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files that killed processes left in `folder`."""
    for part in folder.glob(".restyle-??????????.part"):
        with suppress(OSError):
            descriptor = os.open(part, _OPEN)
            try:
                _flock(descriptor, wait=False)
                part.unlink()
            finally:
                os.close(descriptor)


_clear = cache(remove_abandoned)  # once per process and folder: listing a large folder takes long


def writing_failed(path: Path, error: OSError) -> RestyleError:
    """The error to report if `path` could not be written."""
    hint = "choose another folder with --output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space, or choose another folder with --output; a second run continues from here"
    elif error.errno == errno.ENAMETOOLONG:
        hint = "give the image a shorter name"
    return RestyleError(f"cannot write {str(path)!r}: {reason_of(error)}", hint)


def _lock(part: Path) -> int:
    """Create the file `part` if needed, and return a descriptor that holds its lock."""
    while True:
        descriptor = os.open(part, _OPEN | os.O_CREAT, 0o666)
        try:
            with suppress(OSError):  # file systems without locks
                _flock(descriptor)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), part.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the process that had the lock has moved or removed the file


def _flock(descriptor: int, wait: bool = True) -> None:
    """Lock an open file until it is closed or the process ends; OSError if that is not possible."""
    if sys.platform == "win32":
        raise OSError(errno.ENOTSUP, "no file locks")
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


# --- text


def to_json(values: Any, indent: int | None = None, encoding: str = "utf-8") -> str:
    """`values` as JSON that can be written in `encoding`, with as few escapes as possible.

    File names that are not UTF-8 are escaped; `os.fsencode` gives the original bytes after `json.loads`.
    """
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(values, indent=indent)
    return text


def csv_name(name: str) -> str:
    """A file name as a cell of a CSV file that spreadsheets do not take for a formula."""
    return f"./{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else name
