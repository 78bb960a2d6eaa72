"""Bringing a file from one of several sources: gone on with where it stopped, and checked before it counts.

What has come so far lies in `.NAME.<source>.part`, one for each source, so that two never mix; the small
`….part.json` beside it tells which content the bytes belong to. A process that is killed leaves both, and the next
one goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from restyle_cli.errors import RestyleError
from restyle_cli.store import web
from restyle_cli.store.fetch import left_by_fetching
from restyle_cli.store.paths import sha256
from restyle_cli.store.web import Answer, NothingThere, SourceError

_PIECE = 1 << 18
_SPARE = 50_000_000
"""Bytes of disk that are left free."""
_PROGRESS = 1_000_000
"""Bytes after which a source that failed before is as good as new."""


class Progress(Protocol):
    """Shows how far a transfer is."""

    def advance(self, count: int) -> None:
        """`count` more bytes are there."""


ShowProgress = Callable[[str, int | None, int], AbstractContextManager[Progress]]
"""(name, bytes in all if known, bytes there already) -> a context that shows the transfer."""


@dataclass(frozen=True)
class Wanted:
    """A file, and what is known of it beforehand."""

    name: str
    sources: tuple[str, ...]
    bytes: int | None = None
    sha256: str | None = None
    sha256_begins: str | None = None


@dataclass(frozen=True)
class Limits:
    """How patient a download is."""

    timeout: float = 30.0  # seconds without a byte
    attempts: int = 4  # of one source, without progress between them
    pause: float = 1.0  # seconds before the second attempt, doubled for each further one
    window: float = 60.0  # in so many seconds …
    least: int = 60_000  # … so many bytes have to come
    most: int = 8_000_000_000  # bytes of a file whose size is not known


def download(
    wanted: Wanted,
    target: Path,
    begun: Callable[[str, int | None], None] | None = None,
    progress: ShowProgress | None = None,
    limits: Limits = Limits(),
) -> str:
    """Bring the file to `target` from the first source that gives it; its SHA-256.

    `begun` is told the source and the size as soon as bytes come. RestyleError, with the reason of each source, when
    none gives the file, or when it cannot be written; what came is kept for another time. Two processes must not do
    this for one `target` at once.
    """
    failures = []
    for source in wanted.sources:
        part = _Part(target, source)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = _from_source(_Transfer(wanted, source, part, begun, progress, limits))
            part.path.replace(target)
        except SourceError as error:
            failures.append(f"{web.host_of(source)} {error.reason}")
        except OSError as error:
            raise _writing_failed(target, error) from error
        else:
            for left in left_by_fetching(target):  # from other sources
                left.unlink(missing_ok=True)
            return digest
    page = web.page_of(wanted.sources[0])
    raise RestyleError(
        f"'{wanted.name}' could not be fetched: {'; '.join(failures)}",
        f"fetch it by hand from {page} and then `restyle weights add FILE --as {wanted.name}`",
    )


class _Part:
    """What has come from one source of `target`."""

    def __init__(self, target: Path, source: str) -> None:
        short = hashlib.sha256(source.encode()).hexdigest()[:10]
        self.path = target.with_name(f".{target.name}.{short}.part")
        self.described = target.with_name(f".{target.name}.{short}.part.json")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def content(self) -> tuple[int | None, str | None]:
        """Bytes of the whole and the server's mark of what the part belongs to, as far as known."""
        try:
            noted = json.loads(self.described.read_text(encoding="utf-8"))
            total, tag = noted["total"], noted["tag"]
        except (OSError, ValueError, LookupError, TypeError):
            return None, None
        return total if isinstance(total, int) else None, tag if isinstance(tag, str) else None

    def begin(self, answer: Answer) -> None:
        """Start anew, with the content of `answer`."""
        self.path.write_bytes(b"")
        self.described.write_text(json.dumps({"total": answer.total, "tag": answer.tag}), encoding="utf-8")

    def clear(self) -> None:
        for path in (self.path, self.described):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Transfer:
    wanted: Wanted
    source: str
    part: _Part
    begun: Callable[[str, int | None], None] | None
    progress: ShowProgress | None
    limits: Limits


def _from_source(transfer: _Transfer) -> str:
    """Bring the whole part from one source, in several attempts if need be; its SHA-256."""
    failed = 0
    while True:
        before = transfer.part.size()
        try:
            return _attempt(transfer)
        except SourceError as error:
            failed = 1 if transfer.part.size() >= before + _PROGRESS else failed + 1
            if not error.again or failed >= transfer.limits.attempts:
                raise
            time.sleep(transfer.limits.pause * 2 ** (failed - 1))


def _attempt(transfer: _Transfer) -> str:
    part = transfer.part
    have = part.size()
    unchecked = have > 0 and have == part.content()[0]  # it was stopped between the last byte and the check
    digest = sha256(part.path) if unchecked else _complete(transfer, have)
    _check_content(transfer, digest, resumed=have > 0)
    return digest


def _complete(transfer: _Transfer, have: int) -> str:
    """Ask for what comes behind the first `have` bytes, and receive it; the SHA-256 of the whole."""
    part, (total, tag) = transfer.part, transfer.part.content()
    if (total is None and tag is None) or have > (total or have):
        have = 0  # nobody knows of which content these bytes are
    try:
        answer = web.ask(transfer.source, have, tag, transfer.limits.timeout)
    except NothingThere:
        part.clear()
        raise
    with answer.stream:
        _check_offer(transfer, answer)
        if answer.start == 0:
            part.begin(answer)
        elif answer.start != have or answer.total != total or (answer.tag or tag) != tag:
            part.clear()
            raise SourceError("has another file now", again=True)
        _check_space(part.path, (answer.total or transfer.wanted.bytes or 0) - answer.start)
        if transfer.begun:
            transfer.begun(transfer.source, answer.total)
        return _receive(transfer, answer)


def _check_offer(transfer: _Transfer, answer: Answer) -> None:
    """SourceError when the answer cannot be the file, judged by its size."""
    expected, offered = transfer.wanted.bytes, answer.total
    if expected is not None and offered is not None and offered != expected:
        transfer.part.clear()
        raise SourceError(f"offers a file of {offered} bytes, which should have {expected}")
    if (offered or 0) > (expected or transfer.limits.most):
        raise SourceError(f"offers {offered / 1e9:.0f} GB, more than any network has")


def _check_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed + _SPARE > free:
        raise RestyleError(
            f"not enough space in '{path.parent}': {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free",
            "free some, or set RESTYLE_HOME to a folder on a larger disk",
        )


def _receive(transfer: _Transfer, answer: Answer) -> str:
    """Write what comes behind what is there; the SHA-256 of the whole. SourceError when it ends too early."""
    digest = hashlib.sha256()
    with transfer.part.path.open("r+b") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
        size = file.tell()
        with _shown(transfer, answer.total, size) as shown:
            size = _pump(transfer, answer, file, digest, shown)
        file.flush()
        os.fsync(file.fileno())
    if answer.total is not None and size < answer.total:
        raise SourceError(f"cut the connection after {size} of {answer.total} bytes", again=True)
    return digest.hexdigest()


def _shown(transfer: _Transfer, total: int | None, size: int) -> AbstractContextManager[Progress | None]:
    return transfer.progress(transfer.wanted.name, total, size) if transfer.progress else nullcontext()


def _pump(transfer: _Transfer, answer: Answer, file: BinaryIO, digest: Any, shown: Progress | None) -> int:
    """Copy until the answer ends; the bytes in the file then."""
    limits, size = transfer.limits, file.tell()
    most = answer.total or transfer.wanted.bytes or limits.most
    since, then = time.monotonic(), size
    while piece := answer.read(_PIECE):
        if size == 0 and web.looks_like_page(piece):
            raise SourceError("sends a web page instead of the file")
        if size + len(piece) > most:
            raise SourceError(f"sends more than {most} bytes")
        file.write(piece)
        digest.update(piece)
        size += len(piece)
        if shown:
            shown.advance(len(piece))
        if (now := time.monotonic()) - since > limits.window:
            if size - then < limits.least:
                raise SourceError(f"is too slow: {size - then} bytes in {now - since:.0f} s")
            since, then = now, size
    return size


def _check_content(transfer: _Transfer, digest: str, resumed: bool) -> None:
    """SourceError, and the part is gone, unless it is the file that is wanted."""
    wanted, size = transfer.wanted, transfer.part.size()
    if wanted.bytes is not None and size != wanted.bytes:
        reason = f"sent {size} bytes, not {wanted.bytes}"
    elif not digest.startswith(expected := wanted.sha256 or wanted.sha256_begins or ""):
        reason = f"sent another file: its SHA-256 begins with {digest[:8]}, not {expected[:8]}"
    elif size == 0:
        reason = "sent an empty file"
    else:
        return
    transfer.part.clear()
    raise SourceError(reason, again=resumed)


def _writing_failed(target: Path, error: OSError) -> RestyleError:
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    return RestyleError(
        f"cannot write '{target}': {reason}", "free some space, or set RESTYLE_HOME to a folder that can be written"
    )
