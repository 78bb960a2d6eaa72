"""Folders of this machine: where models go, also where there is no telling, and whether a folder takes files."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import Result

from restyle_cli.align import aligned_mark
from restyle_cli.errors import RestyleError
from restyle_cli.images import save_image
from restyle_cli.store import catalog, fetch
from restyle_cli.store.paths import check_writable, home, sha256

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX users")
EMBEDDED, OTHER = "portrait", "stylegan2-ffhq"


def no_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in the list of users, as containers have them."""
    import pwd

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "RESTYLE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTYLE_HOME", "~nosuchuser/models")


def too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses even to look, as into a folder that must not be searched (which root always may)."""
    monkeypatch.setenv("RESTYLE_HOME", "/" + "x" * 300)


def a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTYLE_HOME", __file__)


WRONG = [no_home_directory, nobody, too_long, a_file]


@posix
@pytest.mark.parametrize("make", WRONG[:2])
def test_no_folder_is_one_error(make: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    make(monkeypatch)
    with pytest.raises(RestyleError, match="there is no folder for downloaded models") as caught:
        home()
    assert "RESTYLE_HOME" in str(caught.value.hint)


@posix
@pytest.mark.parametrize("make", WRONG)
def test_bundled_models_need_no_folder(
    make: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    restyle: Callable[..., Result],
    tiny_store: Path,
    tmp_path: Path,
) -> None:
    make(monkeypatch)
    assert fetch.installed(catalog.find(EMBEDDED))
    assert not fetch.installed(catalog.find(OTHER))
    save_image(Image.new("RGB", (64, 64), "grey"), tmp_path / "a.png", aligned_mark())
    done = restyle("invert", tmp_path / "a.png", "-n", 1, "-o", tmp_path / "out", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["images"][0]["status"] == "done"
    assert done.stderr.count("warning: ") == 1


@posix
@pytest.mark.parametrize("make", WRONG)
def test_lists_go_on_and_what_needs_the_folder_is_one_line(
    make: Callable[..., None], monkeypatch: pytest.MonkeyPatch, restyle: Callable[..., Result], tiny_store: Path
) -> None:
    make(monkeypatch)
    for command in (["weights", "list"], ["weights", "list", "--json"], ["doctor"], ["methods"]):
        done = restyle(*command)
        assert done.exit_code == 0, command
        assert EMBEDDED in done.stdout
    monkeypatch.setenv("RESTYLE_OFFLINE", "0")
    monkeypatch.setattr(sys.modules["restyle_cli.store.fetch"], "_download", lambda *given: pytest.fail("fetched"))
    for command in (["weights", "path", OTHER], ["weights", "get", OTHER], ["weights", "remove", OTHER]):
        done = restyle(*command)
        assert done.exit_code == 1, command
        lines = [line for line in done.stderr.splitlines() if not line.startswith("  hint: ")]
        assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr


def test_where_a_folder_cannot_be(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir() and list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("mine")
    for folder, reason in ((tmp_path / "file", "it is a file"), (tmp_path / "file" / "x", "not a directory")):
        with pytest.raises(RestyleError, match=f"cannot write to the folder .*: {reason}") as caught:
            check_writable(folder)
        assert "--output" in str(caught.value.hint)


def test_sha256_is_computed_once_for_an_unchanged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    expected = hashlib.sha256(b"abc").hexdigest()
    assert sha256(path) == expected
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", lambda *given: pytest.fail("read again"))
        assert sha256(path) == expected
    path.write_bytes(b"abcd")
    assert sha256(path) == hashlib.sha256(b"abcd").hexdigest()
