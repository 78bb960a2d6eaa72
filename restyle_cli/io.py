"""Files: written whole or not at all, and read only where reading comes to an end."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from restyle_cli.errors import RestyleError

try:
    import fcntl
except ImportError:  # Windows: there a file that is being written cannot be replaced, which is error enough
    fcntl = None

_OPEN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
_KINDS: dict[Callable[[int], bool], str] = {
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


# --- reading


def check_regular(path: Path) -> None:
    """OSError unless `path` is a regular file or a link to one: reading a pipe or a device may never end."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kind = next((kind for is_kind, kind in _KINDS.items() if is_kind(mode)), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))


def open_regular(path: Path) -> BinaryIO:
    """The file at `path` for reading bytes; OSError as `check_regular`."""
    check_regular(path)
    return path.open("rb")


def reading_failed(path: Path, error: OSError) -> RestyleError:
    """What to report when `path` could not be read."""
    if isinstance(error, FileNotFoundError):
        return RestyleError(f"no file or folder {str(path)!r}", "check the name; quote names that have spaces")
    hint = None
    if isinstance(error, PermissionError):
        hint = "give yourself the right to read it (chmod u+r), or run as its owner"
    return RestyleError(f"{str(path)!r} cannot be read: {reason_of(error)}", hint)


# --- writing


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then move it to `path`; the folder is created.

    Whatever happens, `path` is the old file or the whole new one. A killed process leaves its temporary file, which
    the next one that writes to the folder removes. A process that is still writing holds a lock on the file: others
    leave it alone, and wait where they write to the same path. OSError becomes RestyleError.
    """
    part = temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path.parent.absolute())
        lock = _lock(part)
        try:
            os.ftruncate(lock, 0)  # of a killed process there may be something in it
            write(part)
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()  # while it is still locked: later it could be another writer's
            raise
        finally:
            os.close(lock)
    except OSError as error:
        raise writing_failed(path, error) from error


def temporary_of(path: Path) -> Path:
    """Where `write_atomic` prepares `path`: the same for the same name, and short, so that long names have room."""
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


_clear = cache(remove_abandoned)
"""Before a process first writes to a folder; a look at all its files each time would take long in large ones."""


def _lock(part: Path) -> int:
    """A descriptor of the file `part`, created if need be, that only this caller holds the lock of."""
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
        os.close(descriptor)  # whoever had the lock has moved or removed the file meanwhile


def _flock(descriptor: int, wait: bool = True) -> None:
    """Lock an open file until it is closed, or its process ends; OSError where that is not possible."""
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "no file locks")
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def writing_failed(path: Path, error: OSError) -> RestyleError:
    """What to report when `path` could not be written."""
    hint = "choose another folder with --output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space, or choose another folder with --output; a second run goes on from here"
    elif error.errno == errno.ENAMETOOLONG:
        hint = "give the image a shorter name"
    return RestyleError(f"cannot write {str(path)!r}: {reason_of(error)}", hint)


def reason_of(error: OSError) -> str:
    """Why, in a few words: "permission denied"."""
    return (error.strerror or str(error) or type(error).__name__).lower()


# --- text


def to_json(values: Any, indent: int | None = None, encoding: str = "utf-8") -> str:
    """`values` as JSON that can be written in `encoding`.

    Letters stay readable where they can; file names that are not UTF-8 are escaped, and come back from `json.loads`
    and `os.fsencode` as they were.
    """
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(values, indent=indent)
    return text


def csv_name(name: str) -> str:
    """`name`, of a file, as a cell of a CSV file: spreadsheets must not take it for a formula."""
    return f"./{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else name
