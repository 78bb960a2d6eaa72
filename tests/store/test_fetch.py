"""From an entry of the catalog to its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from restyle_cli.errors import RestyleError
from restyle_cli.store import catalog, fetch


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
    assert caught.value.hint is not None
    assert str(fetch.home()) in caught.value.hint
    fetch.home().mkdir(exist_ok=True)
    (fetch.home() / entry.file).write_bytes(b"x")
    assert fetch.ensure(entry) == fetch.home() / entry.file


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
