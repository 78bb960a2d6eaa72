"""Fetching from a server that misbehaves in every way that was thought of; never from the internet."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from misbehaving import FILE, TAG, Server

from restyle_cli.errors import RestyleError
from restyle_cli.store import catalog
from restyle_cli.store.catalog import Entry
from restyle_cli.store.download import Limits, download

SHA256 = hashlib.sha256(FILE).hexdigest()
QUICK = Limits(timeout=0.5, attempts=3, pause=0.01)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "home" / "net.pt"


def wanted(*sources: str, sha256: str | None = SHA256, bytes: int | None = len(FILE)) -> Entry:
    known = {"sources": sources, "bytes": bytes, "sha256": sha256, "sha256_begins": None}
    return replace(catalog.find("resnet34"), name="net", **known)


def unknown(*sources: str) -> Entry:
    """A file of which nothing is known."""
    return wanted(*sources, sha256=None, bytes=None)


def refusal(entry: Entry, target: Path, limits: Limits = QUICK) -> RestyleError:
    with pytest.raises(RestyleError) as caught:
        download(entry, target, limits=limits)
    assert not target.exists()
    assert "\n" not in caught.value.message
    return caught.value


def leftovers(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path != target)


def wished_ranges(server: Server) -> list[str | None]:
    return [headers.get("Range") for _, headers in server.asked]


# --- as it should be


@pytest.mark.parametrize("manner", ["good", "moved", "no-ranges"])
def test_a_file_comes_whole_and_leaves_nothing_beside_it(server: Server, target: Path, manner: str) -> None:
    assert download(wanted(server.address(manner)), target, limits=QUICK) == SHA256
    assert target.read_bytes() == FILE
    assert leftovers(target) == []


def test_what_is_not_known_is_found_out(server: Server, target: Path) -> None:
    assert download(unknown(server.address()), target) == SHA256


def test_the_beginning_of_a_hash_is_enough_to_tell_files_apart(server: Server, target: Path) -> None:
    source = server.address()
    assert "another file" in refusal(replace(unknown(source), sha256_begins="00000000"), target).message
    assert download(replace(unknown(source), sha256_begins=SHA256[:8]), target) == SHA256


def test_the_transfer_is_told(server: Server, target: Path) -> None:
    told: list[object] = []

    class Shown:
        def advance(self, count: int) -> None:
            told.append(count)

    @contextmanager
    def progress(name: str, total: int | None, done: int) -> Iterator[Shown]:
        told.append((name, total, done))
        yield Shown()

    download(wanted(server.address()), target, lambda *begun: told.append(begun), progress)
    assert told[:2] == [(server.address(), len(FILE)), ("net", len(FILE), 0)]
    assert sum(told[2:]) == len(FILE)


# --- a file inside an archive


def archive(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize("manner", ["good", "cuts"])
def test_a_file_inside_an_archive(server: Server, target: Path, manner: str) -> None:
    server.file = archive(other=b"x" * 1000, net=FILE)
    assert download(wanted(f"{server.address(manner)}#package/net"), target, limits=QUICK) == SHA256
    assert target.read_bytes() == FILE
    assert leftovers(target) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive(net=FILE[:-1]), f"sent {len(FILE) - 1} bytes, not {len(FILE)}"),
        (archive(net=FILE * 3), f"bytes, not {len(FILE)}"),
        (archive(net=FILE[::-1]), "its SHA-256 begins with"),
        (archive(other=FILE), "no archive with 'package/net' in it"),
        (archive(net=FILE)[:-1000], "no archive with 'package/net' in it"),
        (FILE, "no archive with 'package/net' in it"),
    ],
    ids=["short", "long", "another", "absent", "cut", "no archive"],
)
def test_an_archive_without_the_file(server: Server, target: Path, content: bytes, message: str) -> None:
    server.file = content
    assert message in refusal(wanted(f"{server.address()}#package/net"), target).message
    assert leftovers(target) == []


# --- one source after the other


@pytest.mark.parametrize(
    ("manner", "message"),
    [
        ("missing", "answers 404 Not Found"),
        ("busy", "answers 503 Service Unavailable"),
        ("another", "its SHA-256 begins with"),
        ("empty", "offers a file of 0 bytes"),
        ("quota", "sends a web page instead of the file ('Drive - Quota exceeded')"),
        ("hidden-page", "offers a file of 35 bytes"),
        ("loop", "redirects without end"),
        ("to-disk", "redirects to 'file:///etc/passwd', which is not followed"),
        ("silent", "does not answer in time"),
        ("promises-too-much", f"offers a file of {len(FILE) + 1000} bytes, which should have {len(FILE)}"),
        ("promises-too-little", "offers a file of 1000 bytes"),
        ("endless", f"sends more than {len(FILE)} bytes"),
        ("enormous", "offers a file of 10000000000000 bytes"),
        ("packed", "sends the file as gzip"),
    ],
)
def test_a_bad_source_is_named_with_its_reason_and_the_next_one_serves(
    server: Server, target: Path, manner: str, message: str
) -> None:
    server.failures = 3
    error = refusal(wanted(server.address(manner)), target)
    assert error.message.startswith("'net' could not be downloaded: 127.0.0.1 ")
    assert message in error.message
    server.failures = 3
    assert download(wanted(server.address(manner), server.address()), target, limits=QUICK) == SHA256
    assert target.read_bytes() == FILE
    assert leftovers(target) == []


@pytest.mark.parametrize(
    ("manner", "message"),
    [
        ("hidden-page", "sends a web page instead of the file"),
        ("promises-too-much", f"cut the connection after {len(FILE)} of {len(FILE) + 1000} bytes"),
        ("endless", "sends more than 9000000 bytes"),
        ("enormous", "offers 10000 GB, more than any model has"),
        ("empty", "sent an empty file"),
    ],
)
def test_a_file_of_which_nothing_is_known_is_still_looked_at(
    server: Server, target: Path, manner: str, message: str
) -> None:
    limits = Limits(timeout=0.5, attempts=3, pause=0.01, most=9_000_000)
    assert message in refusal(unknown(server.address(manner)), target, limits).message


NONSENSE = ("9" * 20, "9" * 400, "9" * 5000, "-5", "many", "")
RANGES = [f"bytes {n}-{n}/{len(FILE)}" for n in NONSENSE] + [f"bytes 1000000-2999999/{n}" for n in (*NONSENSE, "*")]
ADDRESSES = ("http://[", "http://127.0.0.1:99999999/", "http://127.0.0.1:x/", "http://" + "a" * 99)
ANSWERS = [
    *(("odd-length", odd, "no proper answer: Content-Length") for odd in (*NONSENSE, "1e6", "²", "5, 5")),
    *(("odd-range", odd, "no proper answer") for odd in (*RANGES, "", "bytes", "bytes 5-4/3", "items 1-2/3")),
    *(("odd-address", odd, "") for odd in ADDRESSES),
    *(("odd-chunks", odd, "") for odd in ("F" * 40, "-5", "many", "")),
    *(("odd-page", odd, "a web page instead of the file ('Sorry')") for odd in ("<![odd[", "<!-", "&#99999999999;")),
]


@pytest.mark.parametrize(("manner", "odd", "message"), ANSWERS, ids=[f"{m} {odd[:25]}" for m, odd, _ in ANSWERS])
def test_answers_that_make_no_sense(server: Server, target: Path, manner: str, odd: str, message: str) -> None:
    """One line with the reason, and the next source serves."""
    server.odd = odd
    assert message in refusal(unknown(server.address(manner)), target).message
    assert download(unknown(server.address(manner), server.address()), target, limits=QUICK) == SHA256
    assert target.read_bytes() == FILE


def test_a_question_of_drives_that_makes_no_sense(server: Server, target: Path) -> None:
    server.odd = '<form action="http://["><input type="hidden" name="confirm" value="t"></form>'
    assert "sends a web page" in refusal(unknown("drive:odd"), target).message


def test_every_source_is_named_when_none_serves(server: Server, target: Path) -> None:
    error = refusal(wanted(server.address("missing"), "drive:quota", "http://127.0.0.1:1/x"), target)
    assert error.message.count("127.0.0.1 ") == 3
    for message in ("404", "Quota exceeded", "cannot be reached: connection refused"):
        assert message in error.message
    assert f"by hand from {server.address('missing')} " in error.hint
    assert "`restyle weights add FILE --as net`" in error.hint


def test_other_than_web_addresses_are_not_opened(target: Path) -> None:
    secret = target.parent.parent / "secret"
    secret.write_bytes(b"x")
    for source in (secret.as_uri(), "ftp://127.0.0.1/x", "data:,x", "net.pt"):
        assert source.split(":")[0] in refusal(unknown(source), target).message


# --- going on


def test_a_cut_line_is_taken_up_where_it_broke(server: Server, target: Path) -> None:
    server.cuts = [1_500_000, 700_000]
    assert download(wanted(server.address("cuts")), target, limits=QUICK) == SHA256
    assert target.read_bytes() == FILE
    assert wished_ranges(server) == [None, "bytes=1500000-", "bytes=2200000-"]
    assert server.asked[1][1]["If-Range"] == TAG


def test_a_line_that_always_breaks_is_given_up_but_progress_counts(server: Server, target: Path) -> None:
    server.cuts = [1_000_000, 1_000_000, 10, 10]
    message = "cut the connection after 2000020 of 3000000 bytes"
    assert message in refusal(wanted(server.address("cuts")), target).message
    assert server.times("cuts") == 4
    assert download(wanted(server.address("cuts")), target, limits=QUICK) == SHA256  # and another time it goes on
    assert wished_ranges(server)[-1] == "bytes=2000020-"


def test_without_ranges_it_begins_anew(server: Server, target: Path) -> None:
    server.cuts = [1_000_000]
    assert download(wanted(server.address("cuts-without-ranges")), target, limits=QUICK) == SHA256
    assert target.read_bytes() == FILE


def test_an_answer_from_another_place_is_not_appended(server: Server, target: Path) -> None:
    server.cuts = [1_000_000]
    assert download(unknown(server.address("wrong-place")), target, limits=QUICK) == SHA256
    assert server.times("wrong-place") == 3


@pytest.mark.parametrize("tag", [TAG, None, 'W/"weak"'])
def test_a_file_that_changed_meanwhile_is_not_mixed(server: Server, target: Path, tag: str | None) -> None:
    server.tag = tag
    server.cuts = [1_000_000] * 3
    refusal(unknown(server.address("cuts")), target, Limits(attempts=1))
    server.file = FILE[::-1] if tag else FILE[:2_500_000]  # without a mark, only the size tells
    server.tag = tag and tag.replace("one", "two").replace("weak", "other")
    server.cuts = []
    download(unknown(server.address("cuts")), target, limits=QUICK)
    assert target.read_bytes() == server.file


def test_a_file_that_shrank_meanwhile_is_fetched_anew(server: Server, target: Path) -> None:
    server.cuts = [1_000_000]
    refusal(unknown(server.address("cuts")), target, Limits(attempts=1))
    server.file = FILE[:500_000]
    download(unknown(server.address("cuts")), target, limits=QUICK)
    assert target.read_bytes() == FILE[:500_000]


def test_two_sources_do_not_mix(server: Server, target: Path) -> None:
    server.cuts = [1_000_000]
    refusal(unknown(server.address("cuts")), target, Limits(attempts=1))
    assert download(unknown(server.address("good"), server.address("cuts")), target) == SHA256
    assert wished_ranges(server) == [None, None]
    assert leftovers(target) == []


def test_a_spoilt_part_is_found_out_and_fetched_anew(server: Server, target: Path) -> None:
    server.cuts = [1_000_000]
    refusal(wanted(server.address("cuts")), target, Limits(attempts=1))
    (part,) = target.parent.glob("*.part")
    part.write_bytes(b"x" * 1_000_000)
    assert download(wanted(server.address("cuts")), target, limits=QUICK) == SHA256
    assert wished_ranges(server) == [None, "bytes=1000000-", None]


def test_a_part_without_its_description_is_not_trusted(server: Server, target: Path) -> None:
    server.cuts = [1_000_000]
    refusal(unknown(server.address("cuts")), target, Limits(attempts=1))
    (described,) = target.parent.glob("*.part.json")
    described.write_text("{")
    assert download(unknown(server.address("cuts")), target, limits=QUICK) == SHA256
    assert wished_ranges(server) == [None, None]


def test_what_came_whole_but_was_not_checked_is_not_fetched_again(server: Server, target: Path) -> None:
    server.cuts = [len(FILE) - 1]
    refusal(wanted(server.address("cuts")), target, Limits(attempts=1))
    (part,) = target.parent.glob("*.part")
    part.write_bytes(FILE)
    assert download(wanted(server.address("cuts")), target) == SHA256
    assert server.times("cuts") == 1


# --- Google Drive


def test_drive_is_answered_when_it_asks_back(server: Server, target: Path) -> None:
    server.cuts = [1_000_000]
    assert download(wanted("drive:large"), target, limits=QUICK) == SHA256
    assert server.times("uc") == server.times("download") == 2
    assert wished_ranges(server) == [None, None, None, "bytes=1000000-"]


def test_drive_sends_small_files_at_once(server: Server, target: Path) -> None:
    assert download(wanted("drive:small"), target, limits=QUICK) == SHA256
    assert server.times("download") == 0


def test_drives_quota_is_explained_with_the_way_by_hand(server: Server, target: Path) -> None:
    error = refusal(wanted("drive:quota"), target)
    assert "a web page instead of the file ('Drive - Quota exceeded')" in error.message
    assert "https://drive.google.com/file/d/quota/view" in error.hint


# --- slowness, proxies, disks


def test_a_source_that_only_trickles_is_left(server: Server, target: Path) -> None:
    server.rate = 20_000
    limits = Limits(timeout=5, window=0.5, least=60_000)
    began = time.monotonic()
    assert download(wanted(server.address("slow"), server.address()), target, limits=limits) == SHA256
    assert time.monotonic() - began < 4
    assert "is too slow" in refusal(wanted(server.address("slow")), target.with_name("other"), limits).message


def test_the_environments_proxy_is_asked(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    download(wanted("http://weights.invalid/good"), target, limits=QUICK)
    assert server.asked[0][0] == "http://weights.invalid/good"
    monkeypatch.setenv("no_proxy", "weights.invalid")
    assert "cannot be found" in refusal(wanted("http://weights.invalid/good"), target.with_name("other")).message


def test_a_disk_that_is_too_full_is_told_before(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(target.parent.parent)._replace(free=51_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    error = refusal(wanted(server.address()), target)
    assert "3 MB are needed, 51 MB are free" in error.message
    assert "RESTYLE_HOME" in error.hint
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free._replace(free=54_000_000))
    download(wanted(server.address()), target)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_folder_that_cannot_be_made_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RestyleError, match="cannot write") as caught:
        download(wanted(server.address()), tmp_path / "file" / "net.pt")
    assert "RESTYLE_HOME" in caught.value.hint


# --- processes

GET = """
import sys
from pathlib import Path
from dataclasses import replace
from restyle_cli.store.catalog import find
from restyle_cli.store.download import download
entry = replace(find("resnet34"), sources=(sys.argv[1],), sha256=sys.argv[3], sha256_begins=None, bytes=None)
download(entry, Path(sys.argv[2]))
"""


def process(source: str, target: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", GET, source, str(target), SHA256])


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT], ids=lambda signal_: signal_.name)
def test_a_process_that_is_stopped_leaves_what_the_next_goes_on_with(
    server: Server, target: Path, signal_: signal.Signals
) -> None:
    server.rate = 400_000
    with process(server.address("slow"), target) as running:
        deadline = time.monotonic() + 20
        while not any(p.stat().st_size > 300_000 for p in target.parent.glob("*.part")):
            assert time.monotonic() < deadline and running.poll() is None
            time.sleep(0.02)
        running.send_signal(signal_)
    assert not target.exists()
    (part,) = target.parent.glob("*.part")
    have = part.stat().st_size
    assert json.loads(part.with_name(part.name + ".json").read_text()) == {"total": len(FILE), "tag": TAG}
    server.rate = 1e9
    with process(server.address("slow"), target) as running:
        assert running.wait(20) == 0
    assert target.read_bytes() == FILE
    assert wished_ranges(server) == [None, f"bytes={have}-"]
    assert leftovers(target) == []
