"""Download a file over HTTP from one of several sources: interrupted downloads continue, and the content is checked.

Incomplete content is in `.NAME.<source>.part`, one for each source, so that two never mix; `….part.json` has the size
and the ETag of the content that it belongs to. Both stay when a process is killed. Proxies are those of the
environment.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import html
import http.client
import http.cookiejar
import json
import os
import re
import shutil
import socket
import ssl
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from restyle_cli import __version__
from restyle_cli.errors import RestyleError
from restyle_cli.io import reason_of
from restyle_cli.store.catalog import Entry
from restyle_cli.store.paths import fresh_sha256

DRIVE = "https://drive.google.com/uc?export=download&id="
_CHUNK = 1 << 18
_MAX_PAGE = 1_000_000
_MAX_DIGITS = 15  # of a size: a petabyte
_SPARE = 50_000_000
"""Bytes of disk that are left free."""
_PROGRESS = 1_000_000
"""After so many bytes, the attempts of a source are counted from the beginning."""
_FAILURES = (OSError, http.client.HTTPException, ValueError, OverflowError)
"""What Python raises for a failed connection, and for addresses and numbers that make no sense."""
_REASONS: tuple[tuple[type[Exception], str, bool], ...] = (
    (TimeoutError, "does not answer in time", True),
    (http.client.IncompleteRead, "cut the connection", True),
    (socket.gaierror, "cannot be found; is there a connection to the internet?", False),
    (ssl.SSLCertVerificationError, "has no valid certificate", False),
)
_TEMPORARY = frozenset((408, 425, 429, 500, 502, 503, 504))


class Progress(Protocol):
    """Shows how far a download is."""

    def advance(self, count: int) -> None:
        """`count` more bytes have arrived."""


ShowProgress = Callable[[str, int | None, int], AbstractContextManager[Progress]]
"""(name, total bytes if known, bytes on disk) -> a context that shows the progress."""


@dataclass(frozen=True)
class Limits:
    """When a download gives up."""

    timeout: float = 30.0  # seconds without a byte
    attempts: int = 4  # of one source, without progress between them
    pause: float = 1.0  # seconds before the second attempt, doubled for each further one
    window: float = 60.0  # in so many seconds …
    least: int = 60_000  # … so many bytes must arrive
    most: int = 8_000_000_000  # bytes of a file of unknown size


class SourceError(Exception):
    """A source does not send the file. `reason` completes "HOST …"; `again`: another attempt may succeed."""

    def __init__(self, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.again = reason, again


def page_of(source: str) -> str:
    """The address at which a person downloads the file of `source` with a browser."""
    if source.startswith("drive:"):
        return f"https://drive.google.com/file/d/{source.removeprefix('drive:')}/view"
    return source


def looks_like_page(beginning: bytes) -> bool:
    """Whether a file that begins like this is a web page, whatever the server calls it."""
    return beginning[:200].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def host_of(source: str) -> str:
    """The host of `source`, for messages."""
    return urllib.parse.urlsplit(_address(source)).hostname or source


def leftovers(target: Path) -> list[Path]:
    """What interrupted downloads of `target` have left."""
    return list(target.parent.glob(f".{glob.escape(target.name)}.*.part*"))


def download(
    entry: Entry,
    target: Path,
    started: Callable[[str, int | None], None] | None = None,
    progress: ShowProgress | None = None,
    limits: Limits = Limits(),
) -> str:
    """Download the file of `entry` to `target` from the first source that sends it; returns its SHA-256.

    `started` is called with the source and the size when bytes arrive. RestyleError, with the reason of each source,
    when none sends the file, or when it cannot be written; the next call continues. Two processes must not do this for
    one `target` at once.
    """
    failures = []
    for source in entry.sources:
        transfer = _Transfer(entry, source, target, started, progress, limits)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if inside := urllib.parse.urldefrag(source).fragment:
                transfer.entry = replace(entry, bytes=None, sha256=None, sha256_begins=None)  # of the archive
                transfer.run()
                digest = transfer.unpack(inside, entry)
            else:
                digest = transfer.run()
            transfer.part.replace(target)
        except SourceError as error:
            failures.append(f"{host_of(source)} {error.reason}")
        except OSError as error:
            hint = "free some space, or set RESTYLE_HOME to a folder that can be written"
            raise RestyleError(f"cannot write '{target}': {reason_of(error)}", hint) from error
        else:
            for path in leftovers(target):
                path.unlink(missing_ok=True)
            return digest
    raise RestyleError(
        f"'{entry.name}' could not be downloaded: {'; '.join(failures)}",
        f"download it by hand from {page_of(entry.sources[0])} and then `restyle weights add FILE --as {entry.name}`",
    )


@dataclass
class _Transfer:
    """The download of one file from one source."""

    entry: Entry
    source: str
    target: Path
    started: Callable[[str, int | None], None] | None
    progress: ShowProgress | None
    limits: Limits

    def __post_init__(self) -> None:
        short = hashlib.sha256(self.source.encode()).hexdigest()[:10]
        self.part = self.target.with_name(f".{self.target.name}.{short}.part")
        self.record = self.part.with_name(f"{self.part.name}.json")

    def run(self) -> str:
        """Complete the part, in several attempts if necessary; its SHA-256."""
        failed = 0
        while True:
            before = self.size()
            try:
                return self.attempt()
            except SourceError as error:
                failed = 1 if self.size() >= before + _PROGRESS else failed + 1
                if not error.again or failed >= self.limits.attempts:
                    raise
                time.sleep(self.limits.pause * 2 ** (failed - 1))

    def attempt(self) -> str:
        size = self.size()
        total, tag = self.recorded()
        if not size or size != total:  # else the process ended between the last byte and the check
            known = (total is not None or tag is not None) and size <= (total or size)
            self.receive(size if known else 0, total, tag)
        digest = fresh_sha256(self.part)
        if reason := _mismatch(self.entry, self.part, digest):
            self.clear()
            raise SourceError(reason, again=size > 0)
        return digest

    def receive(self, offset: int, total: int | None, tag: str | None) -> None:
        """Request what follows the first `offset` bytes of a file of this size and ETag, and append it to the part."""
        try:
            response = _request(self.source, offset, tag, self.limits.timeout)
        except _Changed:
            self.clear()
            raise
        with response:
            start, offered = _extent(response)
            self.check_size(offered, start)
            new_tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
            if start == 0:
                self.part.write_bytes(b"")
                self.record.write_text(json.dumps({"total": offered, "tag": new_tag}), encoding="utf-8")
            elif start != offset or offered != total or (new_tag or tag) != tag:
                self.clear()
                raise _Changed()
            if self.started:
                self.started(self.source, offered)
            shown = self.progress(self.entry.name, offered, start) if self.progress else nullcontext()
            with self.part.open("ab") as file, shown as bar:
                for chunk in self.chunks(response, start, offered or self.entry.bytes or self.limits.most):
                    file.write(chunk)
                    if bar:
                        bar.advance(len(chunk))
                file.flush()
                os.fsync(file.fileno())
        if offered is not None and (size := self.size()) < offered:
            raise SourceError(f"cut the connection after {size} of {offered} bytes", again=True)

    def check_size(self, offered: int | None, start: int) -> None:
        """SourceError when a file of this size cannot be the right one; RestyleError when the disk is too full."""
        expected = self.entry.bytes
        if expected is not None and offered is not None and offered != expected:
            self.clear()
            raise SourceError(f"offers a file of {offered} bytes, which should have {expected}")
        if offered is not None and offered > (expected or self.limits.most):
            raise SourceError(f"offers {offered / 1e9:.0f} GB, more than any model has")
        needed, free = (offered or expected or 0) - start, shutil.disk_usage(self.part.parent).free
        if needed + _SPARE > free:
            sizes = f"{needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
            hint = "free some, or set RESTYLE_HOME to a folder on a larger disk"
            raise RestyleError(f"not enough space in '{self.part.parent}': {sizes}", hint)

    def chunks(self, response: http.client.HTTPResponse, size: int, most: int) -> Iterator[bytes]:
        """What arrives behind the first `size` bytes. SourceError when it is a web page, too long or too slow."""
        since, before = time.monotonic(), size
        while chunk := _read(response, _CHUNK):
            if size == 0 and looks_like_page(chunk):
                raise SourceError("sends a web page instead of the file")
            size += len(chunk)
            if size > most:
                raise SourceError(f"sends more than {most} bytes")
            yield chunk
            if (now := time.monotonic()) - since > self.limits.window:
                if size - before < self.limits.least:
                    raise SourceError(f"is too slow: {size - before} bytes in {now - since:.0f} s")
                since, before = now, size

    def unpack(self, inside: str, entry: Entry) -> str:
        """Replace the part, an archive, by the file `inside` it, which is that of `entry`; its SHA-256."""
        member = self.part.with_name(f"{self.part.name}.member")
        most = entry.bytes or self.limits.most
        reason: str | None = f"sent no archive with '{inside}' in it"
        digest = ""
        try:
            with tarfile.open(self.part) as archive, member.open("wb") as file:
                packed = archive.extractfile(inside)
                while packed and file.tell() <= most and (chunk := packed.read(_CHUNK)):
                    file.write(chunk)
            digest = fresh_sha256(member)
            reason = _mismatch(entry, member, digest)
        except (tarfile.TarError, LookupError, EOFError, zlib.error, gzip.BadGzipFile):
            pass
        self.clear()
        if reason is not None:
            member.unlink(missing_ok=True)
            raise SourceError(reason)
        member.replace(self.part)
        return digest

    def size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def recorded(self) -> tuple[int | None, str | None]:
        """The total size and the ETag of the content that the part belongs to, as far as known."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
            total, tag = record["total"], record["tag"]
        except (OSError, ValueError, LookupError, TypeError):
            return None, None
        return total if isinstance(total, int) else None, tag if isinstance(tag, str) else None

    def clear(self) -> None:
        self.part.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)


def _mismatch(entry: Entry, path: Path, digest: str) -> str | None:
    """Why `path` is not the file of the entry; None if it is."""
    size, expected = path.stat().st_size, entry.sha256 or entry.sha256_begins or ""
    if entry.bytes is not None and size != entry.bytes:
        return f"sent {size} bytes, not {entry.bytes}"
    if not digest.startswith(expected):
        return f"sent another file: its SHA-256 begins with {digest[:8]}, not {expected[:8]}"
    return None if size else "sent an empty file"


# --- HTTP


class _Changed(SourceError):
    """The source has another file than when the download started."""

    def __init__(self) -> None:
        super().__init__("has another file now", again=True)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith(("https:", f"{req.type}:")):
            raise _not_followed(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _not_followed(address: str) -> SourceError:
    return SourceError(f"redirects to {address[:200]!r}, which is not followed")


def _address(source: str) -> str:
    return DRIVE + source.removeprefix("drive:") if source.startswith("drive:") else source


def _request(source: str, offset: int, tag: str | None, timeout: float) -> http.client.HTTPResponse:
    """The response with the file of `source` from byte `offset` on, if it still has this ETag.

    Not every server can send a part: see `_extent`. SourceError when it sends no file.
    """
    cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    opener = urllib.request.build_opener(_Redirects, cookies)
    resume = {"Range": f"bytes={offset}-"} if offset else {}
    if offset and tag and not tag.startswith("W/"):  # weak tags are not allowed here
        resume["If-Range"] = tag
    drive = source.startswith("drive:")
    # Drive asks for a confirmation before it sends a large file; only what follows can be resumed.
    response = _open(opener, _address(source), {} if drive else resume, timeout)
    if drive and _is_page(response):
        page, address = _page(response), response.url
        response = _open(opener, _confirmed(page, address), resume, timeout)
    if _is_page(response):
        raise _page_instead(_page(response))
    if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
        response.close()
        raise SourceError(f"sends the file as {encoding}, which was not requested")
    return response


def _open(
    opener: urllib.request.OpenerDirector, address: str, headers: dict[str, str], timeout: float
) -> http.client.HTTPResponse:
    ours = {"User-Agent": f"restyle-cli/{__version__}", "Accept-Encoding": "identity"}
    try:
        if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
            raise SourceError(f"is no web address: {address!r}")
        return opener.open(urllib.request.Request(address, headers=ours | headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(error) from error
    except _FAILURES as error:
        raise _failed(error) from error


def _read(response: http.client.HTTPResponse, most: int) -> bytes:
    try:
        return response.read1(most)
    except _FAILURES as error:
        raise _failed(error) from error


def _refused(error: urllib.error.HTTPError) -> SourceError:
    if 300 <= error.code < 400:
        return _not_followed(error.url) if "not allowed" in error.reason else SourceError("redirects without end")
    if error.code == 416:  # the offset is behind the end of the file
        return _Changed()
    known = http.client.responses.get(error.code, "")
    return SourceError(f"answers {error.code} {known}".rstrip(), again=error.code in _TEMPORARY)


def _failed(error: Exception) -> SourceError:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    for kind, reason, again in _REASONS:
        if isinstance(cause, kind):
            return SourceError(reason, again)
    if isinstance(cause, OSError):
        return SourceError(f"cannot be reached: {reason_of(cause)}", again=True)
    return SourceError(f"gives no proper answer: {cause}", again=isinstance(cause, http.client.HTTPException))


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Where in the file the response starts, and the size of the whole file if known."""
    if response.status == 200:
        return 0, _numbers(response, "Content-Length", r"(\d+)")[0] if "Content-Length" in response.headers else None
    if response.status == 206:
        start, _, total = _numbers(response, "Content-Range", r"bytes (\d+)-(\d+)/(\d+)")
        if start < total:
            return start, total
    raise SourceError(f"gives no proper answer: status {response.status}")


def _numbers(response: http.client.HTTPResponse, header: str, form: str) -> list[int]:
    value = response.headers.get(header, "").strip()
    match = re.fullmatch(form, value, re.ASCII)
    if match is None or any(len(number) > _MAX_DIGITS for number in match.groups()):
        raise SourceError(f"gives no proper answer: {header} {value[:60]!r}")
    return [int(number) for number in match.groups()]


def _is_page(response: http.client.HTTPResponse) -> bool:
    return response.headers.get_content_type() in ("text/html", "application/xhtml+xml")


def _page(response: http.client.HTTPResponse) -> str:
    with response:
        try:
            return response.read(_MAX_PAGE).decode("utf-8", "replace")
        except _FAILURES as error:
            raise _failed(error) from error


def _page_instead(page: str) -> SourceError:
    match = re.search(r"<title[^>]*>([^<]*)", page, re.IGNORECASE)
    title = " ".join(html.unescape(match[1]).split())[:100] if match else ""
    return SourceError("sends a web page instead of the file" + (f" ({title!r})" if title else ""))


def _confirmed(page: str, address: str) -> str:
    """The address of Google Drive's "download anyway" on `page`. SourceError when the page has none."""
    for form in re.findall(r"<form\b.*?(?=<form\b|</form|\Z)", page, re.IGNORECASE | re.DOTALL):
        tags = [_attributes(tag) for tag in re.findall(r"<[^>]*>", form)]
        fields = {tag["name"]: tag.get("value", "") for tag in tags if tag.get("type") == "hidden" and "name" in tag}
        if "confirm" not in fields or not tags[0].get("action"):
            continue
        try:
            target = urllib.parse.urljoin(address, tags[0]["action"])
            if urllib.parse.urlsplit(target).scheme == urllib.parse.urlsplit(address).scheme:
                return f"{target}{'&' if '?' in target else '?'}{urllib.parse.urlencode(fields)}"
        except ValueError:  # no address
            continue
    raise _page_instead(page)


def _attributes(tag: str) -> dict[str, str]:
    found = re.findall(r"""([\w-]+)\s*=\s*["']([^"']*)["']""", tag)
    return {name.lower(): html.unescape(value) for name, value in found}
