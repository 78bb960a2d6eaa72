"""From an entry of the catalog to its file."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from misbehaving import FILE, Server

from restyle_cli.errors import RestyleError
from restyle_cli.store import catalog, fetch
from restyle_cli.store.catalog import Entry

SHA256 = hashlib.sha256(FILE).hexdigest()


def published(*sources: str, **known: object) -> Entry:
    """An entry of a network that can be fetched."""
    entry = replace(catalog.find("resnet34"), name="net", file="net.pt", sources=sources, sha256_begins=None)
    return replace(entry, **known)


def test_embedded_entry(empty_store: Path) -> None:
    entry = catalog.find("portrait")
    assert not fetch.installed(entry)
    with pytest.raises(RestyleError, match=r"portrait\.safetensors' is missing"):
        fetch.ensure(entry)
    (empty_store / entry.file).write_bytes(b"x")
    assert fetch.installed(entry)
    assert fetch.ensure(entry) == empty_store / entry.file


def test_other_entry_lies_in_home(empty_store: Path) -> None:
    entry = replace(catalog.find("portrait"), name="other", embedded=False)
    (empty_store / entry.file).write_bytes(b"x")
    with pytest.raises(RestyleError, match="'other' is not installed") as caught:
        fetch.ensure(entry)
    assert caught.value.hint == "`restyle weights add FILE --as other` takes a file that you have"
    fetch.home().mkdir(exist_ok=True)
    (fetch.home() / entry.file).write_bytes(b"x")
    assert fetch.ensure(entry) == fetch.installed_path(entry) == fetch.home() / entry.file


# --- fetching


def test_what_is_missing_is_fetched_once_and_announced(server: Server) -> None:
    entry = published(server.address(), sha256=SHA256)
    notes: list[str] = []
    assert fetch.ensure(entry, note=notes.append) == fetch.home() / "net.pt"
    assert notes == [
        "downloading net: 3.0 MB from 127.0.0.1; licence: BSD 3-clause; commercial use: unclear",
    ]
    assert fetch.ensure(entry, note=notes.append).read_bytes() == FILE
    assert (len(server.asked), len(notes)) == (1, 1)
    assert fetch.remembered(entry) is None


def test_an_unknown_hash_is_shown_and_held_against_later_files(server: Server) -> None:
    entry = published(server.address())
    notes: list[str] = []
    path = fetch.ensure(entry, note=notes.append)
    assert SHA256 in notes[-1]
    assert fetch.remembered(entry) == fetch.expected(entry) == SHA256
    path.unlink()
    with pytest.raises(RestyleError, match=f"sent another file: its SHA-256 begins with .*, not {SHA256[:8]}"):
        fetch.ensure(replace(entry, sources=(server.address("another"),)))
    assert fetch.ensure(entry, note=notes.append) == path
    assert len(notes) == 3, "the hash is known by now"


def test_a_damaged_record_of_a_hash_is_none(server: Server) -> None:
    entry = published(server.address())
    fetch.ensure(entry)
    (record,) = fetch.home().glob("*.sha256")
    for text in (b"abc", b"\xff" * 70, b"0" * 65):
        record.write_bytes(text)
        assert fetch.remembered(entry) is None


def test_nothing_is_fetched_offline(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = published(server.address())
    with pytest.raises(RestyleError, match="'net' is not installed, and downloads are forbidden") as caught:
        fetch.ensure(entry, offline=True)
    assert "--offline" in caught.value.hint and "restyle weights add" in caught.value.hint
    monkeypatch.setenv("RESTYLE_OFFLINE", "1")
    with pytest.raises(RestyleError, match="downloads are forbidden"):
        fetch.ensure(entry)
    assert server.asked == []
    monkeypatch.setenv("RESTYLE_OFFLINE", "0")
    path = fetch.ensure(entry)
    monkeypatch.setenv("RESTYLE_OFFLINE", "1")
    assert fetch.ensure(entry, offline=True) == path, "what is there needs no connection"


def test_a_home_that_cannot_be_made_is_told(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("RESTYLE_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(RestyleError, match="cannot write to") as caught:
        fetch.ensure(published(server.address()))
    assert "RESTYLE_HOME" in caught.value.hint


# --- two at once

GET = """
import sys
from dataclasses import replace
from restyle_cli.store import catalog, fetch
entry = replace(catalog.find("resnet34"), name="net", file="net.pt", sources=(sys.argv[1],), sha256_begins=None)
print(fetch.ensure(entry, note=lambda text: print(text, file=sys.stderr)))
"""


def process(source: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", GET, source]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until_some_came() -> None:
    deadline = time.monotonic() + 20
    while not any(part.stat().st_size > 100_000 for part in fetch.home().glob("*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_processes_fetch_one_file_once(server: Server) -> None:
    server.rate = 200_000
    first = process(server.address("slow"))
    until_some_came()
    second = process(server.address("slow"))
    assert second.stderr.readline() == "another process is downloading net; waiting for it\n"
    server.rate = 1e9
    for running in (first, second):
        out, _ = running.communicate(timeout=30)
        assert (running.returncode, out.strip()) == (0, str(fetch.home() / "net.pt"))
    assert (fetch.home() / "net.pt").read_bytes() == FILE
    assert len(server.asked) == 1


def test_two_threads_fetch_one_file_once(server: Server) -> None:
    entry = published(server.address("slow"))
    threads = [threading.Thread(target=fetch.ensure, args=(entry,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert fetch.path_of(entry).read_bytes() == FILE
    assert len(server.asked) == 1


def test_the_lock_of_a_killed_process_does_not_bar_the_next(server: Server) -> None:
    server.rate = 500_000
    with process(server.address("slow")) as running:
        until_some_came()
        running.kill()
    server.rate = 1e9
    notes: list[str] = []
    fetch.ensure(published(server.address("slow")), note=notes.append)
    assert fetch.path_of(published()).read_bytes() == FILE
    assert server.asked[1][1]["Range"].startswith("bytes=")
    assert not any("waiting" in line for line in notes)


# --- checking and removing


def test_verify(server: Server) -> None:
    entry = published(server.address(), sha256=SHA256)
    path = fetch.ensure(entry)
    assert fetch.verify(entry) == (True, SHA256)
    path.write_bytes(FILE[:-1])
    good, digest = fetch.verify(entry)
    assert (good, digest) == (False, hashlib.sha256(FILE[:-1]).hexdigest())
    fetch.remove(entry)
    with pytest.raises(RestyleError, match="'net' is not installed"):
        fetch.verify(entry)


def test_verify_keeps_a_hash_that_was_not_known() -> None:
    entry = published()
    fetch.path_of(entry).write_bytes(b"x")
    assert fetch.verify(entry)[0]
    fetch.path_of(entry).write_bytes(b"y")
    assert not fetch.verify(entry)[0]


def test_remove_takes_file_and_remains(server: Server) -> None:
    entry = published(server.address())
    fetch.ensure(entry)
    (fetch.home() / ".net.pt.0123456789.part").write_bytes(b"x")
    assert fetch.remove(entry) == len(FILE) + 1
    assert not fetch.installed(entry)
    assert fetch.remembered(entry) == SHA256
    with pytest.raises(RestyleError, match="'net' is not installed"):
        fetch.remove(entry)
    fetch.remove(entry, forget=True)
    assert fetch.remembered(entry) is None
    with pytest.raises(RestyleError, match="'portrait' is bundled with restyle"):
        fetch.remove(catalog.find("portrait"))


# --- folders


def test_a_file_of_an_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = catalog.find("dlib")
    assert fetch.installed_path(entry).parts[-3:-1] == ("face_recognition_models", "models")
    with pytest.raises(RestyleError, match="is bundled with restyle"):
        fetch.remove(entry)
    monkeypatch.setattr(fetch, "find_spec", lambda name: None)
    assert not fetch.installed(replace(entry, file="elsewhere.dat"))
    with pytest.raises(RestyleError, match="'dlib' belongs to the package face_recognition_models") as caught:
        fetch.installed_path(replace(entry, file="elsewhere.dat"))
    assert "pip install face_recognition_models" in str(caught.value.hint)


def test_embedded_folder_of_a_wheel_and_of_a_source_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "restyle_cli"
    package.mkdir()
    monkeypatch.setattr(fetch, "PACKAGE", package)
    assert fetch.embedded_folder() == tmp_path / "weights"
    (package / "weights").mkdir()
    assert fetch.embedded_folder() == package / "weights"


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"RESTYLE_HOME": "/models"}, "/models"),
        ("linux", {"RESTYLE_HOME": "~/models"}, "/people/ada/models"),
        ("linux", {"XDG_CACHE_HOME": "/fast"}, "/fast/restyle"),
        ("linux", {}, "/people/ada/.cache/restyle"),
        ("darwin", {}, "/people/ada/Library/Caches/restyle"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/restyle"),
    ],
)
def test_home(platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RESTYLE_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": "/people/ada"} | variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    assert fetch.home().as_posix() == expected
