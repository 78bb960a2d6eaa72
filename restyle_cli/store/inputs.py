"""Files that a person names, looked at before they are read."""

from __future__ import annotations

import stat
from pathlib import Path

from restyle_cli.errors import RestyleError


def check_input(path: Path) -> None:
    """RestyleError unless `path` is a regular file with something in it that may be read."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise RestyleError(f"'{path}' is a folder, not a file of networks", "name a file in it")
        if not stat.S_ISREG(status.st_mode):
            raise RestyleError(f"'{path}' is not a regular file", "copy what it gives to a file first")
        if status.st_size == 0:
            raise RestyleError(f"'{path}' is empty", "get it again from where it came")
        path.open("rb").close()
    except FileNotFoundError as error:
        raise RestyleError(f"'{path}' cannot be read: no such file", "check the path") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RestyleError(f"'{path}' cannot be read: {reason}", "check the path and its permissions") from error


def is_file(name: str) -> bool:
    """Whether a file has this name. It may be anything, also what cannot be a file's."""
    try:
        return Path(name).is_file()
    except OSError:
        return False
