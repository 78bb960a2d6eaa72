"""Asking for a file over HTTP: from where to go on, through redirects and Google Drive's question, and no further.

Only http and https are spoken, an encrypted address is not left for an unencrypted one, and a web page in place of
the file is recognised. Proxies are those of the environment.
"""

from __future__ import annotations

import http.client
import http.cookiejar
import re
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from restyle_cli import __version__

DRIVE = "https://drive.google.com/uc?export=download&id="
_DRIVE_PAGE = "https://drive.google.com/file/d/{}/view"
_DRIVE_PREFIX = "drive:"
_LARGEST_PAGE = 1_000_000
_FAILURES = (OSError, http.client.HTTPException, ValueError, OverflowError)
"""What Python raises for a connection that fails, and for answers whose addresses or numbers make no sense."""
_DIGITS = 15
"""Of the largest size that is believed: a petabyte."""
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
"""Answers that may be another one in a moment."""


class SourceError(Exception):
    """A source does not give the file. `reason` completes "HOST …"; `again`: it may, if asked again."""

    def __init__(self, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again


class NothingThere(SourceError):
    """What was asked for lies behind the end of the file: it is another one than before."""


@dataclass(frozen=True)
class Answer:
    """A file that a source has begun to send."""

    stream: http.client.HTTPResponse
    start: int  # place of the first byte in the file
    total: int | None  # bytes of the whole file
    tag: str | None  # the server's mark of this very content

    def read(self, most: int) -> bytes:
        """What has come, `most` bytes at most; nothing at the end. SourceError when the connection fails."""
        try:
            return self.stream.read1(most)
        except _FAILURES as error:
            raise _connection_failed(error) from error


def address_of(source: str) -> str:
    """The address that is asked for `source`."""
    return DRIVE + source.removeprefix(_DRIVE_PREFIX) if source.startswith(_DRIVE_PREFIX) else source


def page_of(source: str) -> str:
    """The address at which a person gets the file of `source` with a browser."""
    if source.startswith(_DRIVE_PREFIX):
        return _DRIVE_PAGE.format(source.removeprefix(_DRIVE_PREFIX))
    return source


def host_of(source: str) -> str:
    """The host of `source`, for messages."""
    return urllib.parse.urlsplit(address_of(source)).hostname or source


def ask(source: str, offset: int = 0, tag: str | None = None, timeout: float = 30.0) -> Answer:
    """Have `source` send its file from byte `offset` on, if it is still the content marked by `tag`.

    The answer may begin elsewhere, as not every server can go on in the middle: look at its `start`. SourceError
    when it sends no file, or nothing for `timeout` seconds.
    """
    opener = _opener()
    wish = {}
    if offset:
        wish["Range"] = f"bytes={offset}-"
        if tag and not tag.startswith("W/"):  # the weak ones are not for this
            wish["If-Range"] = tag
    if not source.startswith(_DRIVE_PREFIX):
        return _answer(_open(opener, source, wish, timeout))
    # Drive asks back before it sends a large file, and only what follows can begin in the middle.
    first = _open(opener, address_of(source), {}, timeout)
    if not _is_page(first):
        return _answer(first)
    with first:
        page = _Page.read(first)
        confirmed = page.confirmation(first.url)
    if confirmed is None:
        raise _page_instead(page)
    return _answer(_open(opener, confirmed, wish, timeout))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows up to ten redirects, as urllib does, and refuses those that lead out of HTTP or of encryption."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        target = urllib.parse.urljoin(req.full_url, headers.get("location", headers.get("uri", "")))
        old, new = (urllib.parse.urlsplit(address).scheme for address in (req.full_url, target))
        if new not in ("http", "https") or (old, new) == ("https", "http"):
            fp.close()
            raise SourceError(f"redirects to {target[:200]!r}, which is not followed")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()  # not build_opener, which also opens file: and ftp: addresses
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _open(
    opener: urllib.request.OpenerDirector, address: str, headers: dict[str, str], timeout: float
) -> http.client.HTTPResponse:
    ours = {"User-Agent": f"restyle-cli/{__version__}", "Accept-Encoding": "identity"}
    try:
        return opener.open(urllib.request.Request(address, headers=ours | headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(error) from error
    except _FAILURES as error:
        raise _connection_failed(error) from error


def _refused(error: urllib.error.HTTPError) -> SourceError:
    if 300 <= error.code < 400:
        return SourceError("redirects without end")
    if error.code == 416:
        return NothingThere("has another file now", again=True)
    known = http.client.responses.get(error.code, "")
    return SourceError(f"answers {error.code} {known}".rstrip(), again=error.code in _PASSING)


def _connection_failed(error: Exception) -> SourceError:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return SourceError("does not answer in time", again=True)
    if isinstance(cause, http.client.IncompleteRead):
        return SourceError("cut the connection", again=True)
    if isinstance(cause, socket.gaierror):
        return SourceError("cannot be found; is there a connection to the internet?")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return SourceError("does not prove who it is (its certificate is not valid)")
    if isinstance(cause, OSError):
        reason = (cause.strerror or str(cause) or type(cause).__name__).lower()
        return SourceError(f"cannot be reached: {reason}", again=True)
    return SourceError(f"gives no proper answer: {cause}", again=isinstance(cause, http.client.HTTPException))


def _answer(response: http.client.HTTPResponse) -> Answer:
    headers = response.headers
    if _is_page(response):
        with response:
            raise _page_instead(_Page.read(response))
    if headers.get("Content-Encoding", "identity") != "identity":
        response.close()
        raise SourceError(f"sends the file as {headers['Content-Encoding']}, which was not asked for")
    tag = headers.get("ETag") or headers.get("Last-Modified")
    if response.status == 200:
        (total,) = _numbers(response, "Content-Length", r"(\d+)") if "Content-Length" in headers else (None,)
        return Answer(response, 0, total, tag)
    if response.status == 206:
        start, _, total = _numbers(response, "Content-Range", r"bytes (\d+)-(\d+)/(\d+)")
        if start < total:
            return Answer(response, start, total, tag)
    response.close()
    raise SourceError(f"gives no proper answer: status {response.status}")


def _numbers(response: http.client.HTTPResponse, header: str, form: str) -> tuple[int, ...]:
    """The numbers in a header of this form; SourceError when it is of another, or speaks of petabytes."""
    told = response.headers.get(header, "").strip()
    found = re.fullmatch(form, told, re.ASCII)
    if found is None or any(len(number) > _DIGITS for number in found.groups()):
        response.close()
        raise SourceError(f"gives no proper answer: {header} {told[:60]!r}")
    return tuple(int(number) for number in found.groups())


def _is_page(response: http.client.HTTPResponse) -> bool:
    return response.headers.get_content_type() in ("text/html", "application/xhtml+xml")


def looks_like_page(beginning: bytes) -> bool:
    """Whether a file that begins so is a web page, whatever the server calls it."""
    text = beginning[:200].lstrip().lower()
    return text.startswith((b"<!doctype html", b"<html"))


def _page_instead(page: _Page) -> SourceError:
    title = " ".join(page.title.split())[:100]
    return SourceError("sends a web page instead of the file" + (f" ({title!r})" if title else ""))


class _Page(HTMLParser):
    """The title of a web page, and its form with a hidden field `confirm`, if it has one."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.action = ""
        self.fields: dict[str, str] = {}
        self._in_title = False

    @classmethod
    def read(cls, response: http.client.HTTPResponse) -> _Page:
        page = cls()
        try:
            page.feed(response.read(_LARGEST_PAGE).decode("utf-8", "replace"))
        except AssertionError:
            pass  # html.parser's word for a broken declaration; what came before it is there
        except _FAILURES as error:
            raise _connection_failed(error) from error
        return page

    def confirmation(self, base: str) -> str | None:
        """The address behind "download anyway"; None when that is not offered."""
        if "confirm" not in self.fields or not self.action:
            return None
        try:
            target = urllib.parse.urljoin(base, self.action)
            if urllib.parse.urlsplit(target).scheme != urllib.parse.urlsplit(base).scheme:
                return None
        except ValueError:  # no address
            return None
        return f"{target}{'&' if '?' in target else '?'}{urllib.parse.urlencode(self.fields)}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self._in_title = tag == "title"
        if tag == "form" and "confirm" not in self.fields:
            self.action, self.fields = values.get("action", ""), {}
        elif tag == "input" and values.get("type") == "hidden" and "name" in values:
            self.fields[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
