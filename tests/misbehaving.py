"""A local server that serves files in every wrong way that a test asks for."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

FILE = random.Random(0).randbytes(3_000_000)
"""What there is to fetch."""
TAG = '"one"'


class Server(ThreadingHTTPServer):
    """`address(manner)` is where the file lies for one who asks; the manner says what goes wrong there.

    Every request is kept in `asked`, as (path, headers). `cuts`: after how many bytes the first answers of "cuts"
    break off. `odd`: what the answers of "odd-…" have where something sensible belongs.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.cuts: list[int] = []
        self.failures = 0
        self.rate = 2_000_000.0
        self.tag: str | None = TAG
        self.odd = ""
        self.file = FILE
        self.over = threading.Event()

    def address(self, manner: str = "good") -> str:
        return f"http://127.0.0.1:{self.server_port}/{manner}"

    def times(self, manner: str) -> int:
        """How often `manner` was asked for."""
        return sum(urlsplit(path).path == f"/{manner}" for path, _ in self.asked)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nothing to tell."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server that runs until the block ends."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append((self.path, dict(self.headers)))
        getattr(self, "go_" + path.strip("/").replace("-", "_"), self.go_missing)()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silence."""

    # --- proper answers

    def go_good(self) -> None:
        """As it should be: ranges, and only of the content that was asked for."""
        start = self._requested_start()
        if self.headers.get("If-Range") not in (None, self.server.tag):
            start = 0
        self._send(self.server.file[start:], start)

    def go_no_ranges(self) -> None:
        self._head(200, len(self.server.file), ETag=self.server.tag)
        self._body(self.server.file)

    def go_moved(self) -> None:
        self._head(302, 0, Location="/good")

    def go_cuts(self) -> None:
        """Ranges, but the line breaks off as often as `cuts` has entries."""
        start = self._requested_start()
        data = self.server.file[start:]
        self._send(data, start, data[: self.server.cuts.pop(0)] if self.server.cuts else data)

    def go_cuts_without_ranges(self) -> None:
        self._head(200, len(self.server.file))
        self._body(self.server.file[: self.server.cuts.pop(0)] if self.server.cuts else self.server.file)

    def go_slow(self) -> None:
        """Ranges, and `rate` bytes a second, which may change on the way."""
        start = self._requested_start()
        data = self.server.file[start:]
        self._send(data, start, b"")
        while data and not self.server.over.is_set():
            piece = max(int(self.server.rate / 50), 1)
            if not self._body(data[:piece]):
                return
            data = data[piece:]
            time.sleep(0.02)

    # --- others

    def go_missing(self) -> None:
        self._head(404, 0)

    def go_busy(self) -> None:
        """503 as often as `failures` says, then the file."""
        if self.server.failures > 0:
            self.server.failures -= 1
            self._head(503, 0)
        else:
            self.go_good()

    def go_another(self) -> None:
        self._send(self.server.file[::-1], 0)

    def go_empty(self) -> None:
        self._head(200, 0)

    def go_quota(self) -> None:
        """What hosts send when a file was fetched too often."""
        self._page("<!DOCTYPE html><html><head><title>Drive - Quota exceeded</title></head>Sorry.</html>")

    def go_hidden_page(self) -> None:
        """A web page that calls itself a file."""
        page = b"\n<!DOCTYPE html><html>Sorry.</html>"
        self._head(200, len(page))
        self._body(page)

    def go_loop(self) -> None:
        self._head(302, 0, Location="/loop")

    def go_to_disk(self) -> None:
        self._head(302, 0, Location="file:///etc/passwd")

    def go_silent(self) -> None:
        """Headers, some bytes, and then nothing."""
        self._head(200, len(self.server.file))
        self._body(self.server.file[:1000])
        self.server.over.wait(5)

    def go_promises_too_much(self) -> None:
        self._head(200, len(self.server.file) + 1000)
        self._body(self.server.file)

    def go_promises_too_little(self) -> None:
        self._head(200, 1000)
        self._body(self.server.file)

    def go_endless(self) -> None:
        """More bytes than any file has, and no word of how many."""
        self._head(200, None)
        while not self.server.over.is_set() and self._body(self.server.file):
            pass

    def go_enormous(self) -> None:
        self._head(200, 10**13)

    def go_odd_length(self) -> None:
        """`odd` as the length of the file."""
        self._head(200, None, **{"Content-Length": self.server.odd})
        self._body(self.server.file)

    def go_odd_range(self) -> None:
        """The beginning, cut off, and the rest under `odd` as its place."""
        if start := self._requested_start():
            self._head(206, len(self.server.file) - start, **{"Content-Range": self.server.odd})
            self._body(self.server.file[start:])
        else:
            self._send(self.server.file, 0, self.server.file[:1_000_000])

    def go_odd_address(self) -> None:
        """Sent on to `odd`."""
        self._head(302, 0, Location=self.server.odd)

    def go_odd_chunks(self) -> None:
        """In pieces, the first as long as `odd` says."""
        self._head(200, None, **{"Transfer-Encoding": "chunked"})
        self._body(self.server.odd.encode() + b"\r\n" + self.server.file[:5000] + b"\r\n0\r\n\r\n")

    def go_odd_page(self) -> None:
        """A page that is broken, `odd` in it."""
        self._page(f"<!DOCTYPE html><html><title>Sorry</title>{self.server.odd}")

    def go_wrong_place(self) -> None:
        """Answers a request for the rest of the file with its beginning, and says so."""
        if self._requested_start():
            data = self.server.file
            self._head(206, len(data), **{"Content-Range": f"bytes 5-{len(data) + 4}/{len(data)}"})
            self._body(data)
        else:
            self.go_cuts()

    def go_packed(self) -> None:
        self._head(200, 10, **{"Content-Encoding": "gzip"})
        self._body(b"0123456789")

    # --- Google Drive, as far as it matters

    def go_uc(self) -> None:
        """Large files are not sent at once; a page asks whether they are meant."""
        file_id = parse_qs(urlsplit(self.path).query)["id"][0]
        if file_id == "quota":
            self.go_quota()
        elif file_id == "odd":
            self.go_odd_page()
        elif file_id == "small":
            self.go_good()
        else:
            form = '<form id="search" action="/search"><input type="hidden" name="q" value="x"></form>'
            form += '<form id="download-form" action="/download" method="get">'
            fields = {"id": file_id, "export": "download", "confirm": "t&x"}
            form += "".join(f'<input type="hidden" name="{k}" value="{v}">' for k, v in fields.items())
            page = f"<!DOCTYPE html><html><title>Drive - Virus scan warning</title>{form}</form></html>"
            self._page(page.replace("&x", "&amp;x"))

    def go_download(self) -> None:
        fields = parse_qs(urlsplit(self.path).query)
        if fields == {"id": ["large"], "export": ["download"], "confirm": ["t&x"]}:
            self.go_cuts()
        else:
            self.go_missing()

    # --- parts of answers

    def _requested_start(self) -> int:
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))

    def _send(self, data: bytes, start: int, sent: bytes | None = None) -> None:
        """`data`, which begins at `start`; `sent` is what really goes out."""
        total = start + len(data)
        if start >= total:
            self._head(416, 0)
        elif start:
            place = {"Content-Range": f"bytes {start}-{total - 1}/{total}"}
            self._head(206, len(data), ETag=self.server.tag, **place)
        else:
            self._head(200, len(data), ETag=self.server.tag)
        self._body(data if sent is None else sent)

    def _page(self, text: str) -> None:
        self._head(200, len(text), **{"Content-Type": "text/html; charset=utf-8"})
        self._body(text.encode())

    def _head(self, status: int, length: int | None, **headers: str | None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/octet-stream"} | headers).items():
            if value is not None:
                self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _body(self, data: bytes) -> bool:
        """Whether the client took it."""
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except OSError:
            return False
        return True
