"""From a catalog entry to its file on this machine."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from restyle_cli.errors import RestyleError
from restyle_cli.io import reason_of, remove_abandoned, write_atomic
from restyle_cli.store.catalog import Entry, own_file
from restyle_cli.store.paths import home, sha256

if TYPE_CHECKING:
    from restyle_cli.store.download import ShowProgress

PACKAGE = Path(__file__).resolve().parent.parent

Note = Callable[[str], None]
"""Told a line that a person should read."""


def embedded_folder() -> Path:
    """Folder of the embedded networks: inside the installed package, or beside it in a source tree."""
    inside = PACKAGE / "weights"
    return inside if inside.is_dir() else PACKAGE.parent / "weights"


def path_of(entry: Entry) -> Path:
    """Where the file of `entry` is, or would be. RestyleError where there is no folder for it."""
    return (embedded_folder() if entry.embedded else home()) / entry.file


def installed(entry: Entry) -> bool:
    """Whether the file of `entry` is on this machine, and can be reached."""
    try:
        return path_of(entry).is_file()
    except (OSError, RestyleError):
        return False


def fetching_forbidden() -> bool:
    """Whether `RESTYLE_OFFLINE` forbids to fetch anything."""
    return os.environ.get("RESTYLE_OFFLINE", "") not in ("", "0")


def installed_path(entry: Entry) -> Path:
    """The file of `entry`, which is on this machine; RestyleError, with the way to get it, when it is not."""
    path = path_of(entry)
    if installed(entry):
        return path
    if entry.embedded:
        raise RestyleError(f"'{entry.name}' belongs to restyle, but '{path}' is missing", "install restyle again")
    add = f"`restyle weights add FILE --as {entry.name}` takes a file that you have"
    bring = f"`restyle weights get {entry.name}` brings it; " if entry.sources else ""
    raise RestyleError(f"'{entry.name}' is not installed", bring + add)


def ensure(
    entry: Entry, *, offline: bool = False, note: Note | None = None, progress: ShowProgress | None = None
) -> Path:
    """The file of `entry`, which exists on return: it is fetched if it is not on this machine.

    `note` is told, before much has come, its size, source and licence, and at last a SHA-256 that was not known;
    `progress` shows the transfer. RestyleError when it cannot be fetched, or must not: `offline`, or
    `RESTYLE_OFFLINE` is set. Two processes that want one file get it once.
    """
    path = path_of(entry)
    if installed(entry):
        return path
    if entry.embedded or not entry.sources:
        return installed_path(entry)
    if offline or fetching_forbidden():
        raise RestyleError(
            f"'{entry.name}' is not installed, and nothing may be fetched",
            f"leave out --offline (or RESTYLE_OFFLINE), or `restyle weights add FILE --as {entry.name}`",
        )
    with alone(entry, note):
        if not path.is_file():
            _fetch(entry, path, note or _silent, progress)
    return path


def remembered(entry: Entry) -> str | None:
    """The SHA-256 that a file of `entry` had when it was first seen here, if the catalog knows none."""
    try:
        text = _record(entry).read_text(encoding="ascii")
    except (OSError, ValueError, RestyleError):
        return None
    return text[:64] if re.match(r"[0-9a-f]{64}\b", text) else None


def remember(entry: Entry, digest: str) -> None:
    """Keep the SHA-256 of a file that the catalog knows none of; the form is that of `sha256sum`."""
    write_atomic(_record(entry), lambda aside: aside.write_text(f"{digest}  {entry.file}\n", encoding="ascii"))


def expected(entry: Entry) -> str:
    """The SHA-256 that the file must have, or its beginning, or nothing if nothing is known."""
    return entry.sha256 or remembered(entry) or entry.sha256_begins or ""


def verify(entry: Entry) -> tuple[bool, str]:
    """Whether the installed file of `entry` has the SHA-256 that it must have, and the one that it has.

    Where none is known, this one is kept from now on. RestyleError when the file cannot be read.
    """
    path = installed_path(entry)
    try:
        digest = sha256(path)
    except OSError as error:
        raise RestyleError(f"cannot read '{path}': {reason_of(error)}") from error
    good = digest.startswith(expected(entry))
    if good and entry.sha256 is None and remembered(entry) is None:
        remember(entry, digest)
    return good, digest


def remove(entry: Entry, forget: bool = False) -> int:
    """Delete the file of `entry`, and what is there of a fetch; the bytes that were freed.

    `forget`: its SHA-256 too, so that another file of that name may come. Of a network of the person's own, nothing
    stays. RestyleError where nothing is to delete.
    """
    path = path_of(entry)
    if entry.embedded:
        raise RestyleError(f"'{entry.name}' belongs to restyle", "only fetched and added networks can be removed")
    try:
        remove_abandoned(path.parent)
        files = [path, *left_by_fetching(path)]
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


def forget(entry: Entry, keep_digest: bool) -> None:
    """Take away what was noted of a file that did not come after all."""
    if entry.own:
        own_file(entry.name).unlink(missing_ok=True)
    if not keep_digest:
        _record(entry).unlink(missing_ok=True)


def left_by_fetching(path: Path) -> list[Path]:
    """What interrupted fetches of `path` have left; see `download`."""
    return list(path.parent.glob(f".{glob.escape(path.name)}.*.part*"))


def _record(entry: Entry) -> Path:
    return home() / f"{entry.file}.sha256"


def _fetch(entry: Entry, path: Path, note: Note, progress: ShowProgress | None) -> None:
    from restyle_cli.store import web
    from restyle_cli.store.download import Wanted, download

    told = []

    def begun(source: str, size: int | None) -> None:
        if source not in told:  # and not again at each attempt
            told.append(source)
            note(_announcement(entry, web.host_of(source), size))

    known = entry.sha256 or remembered(entry)
    wanted = Wanted(entry.name, entry.sources, entry.bytes, known, entry.sha256_begins)
    digest = download(wanted, path, begun, progress)
    if known is None:
        remember(entry, digest)
        note(f"{entry.name}: SHA-256 {digest}, not known before; another file of this name will be refused")


def _announcement(entry: Entry, host: str, size: int | None) -> str:
    amount = "size unknown" if size is None else f"{size / 1e6:.1f} MB"
    licence = f"licence: {entry.licence_weights}; commercial use: {entry.commercial}"
    return f"fetching {entry.name}: {amount} from {host}; {licence}"


@contextmanager
def alone(entry: Entry, note: Note | None = None) -> Iterator[None]:
    """Only one process at a time is inside for one file; the lock of one that was killed is free."""
    from filelock import FileLock, Timeout

    path = path_of(entry)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            (note or _silent)(f"another process is at {entry.name}; waiting for it")
            lock.acquire(poll_interval=0.2)
    except OSError as error:
        raise RestyleError(
            f"cannot write to '{path.parent}': {reason_of(error)}", "set RESTYLE_HOME to a folder that can be written"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _silent(text: str) -> None:
    """Tell nobody."""
