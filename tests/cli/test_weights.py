"""`restyle weights`: the catalog and the files, as people and as programs read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from restyle_cli.store import catalog


def test_list_without_files(restyle: Callable[..., Result], empty_store: Path) -> None:
    done = restyle("weights", "list")
    titles, *rows = done.stdout.splitlines()
    assert titles.split() == ["name", "kind", "domain", "installed", "size", "licence", "commercial"]
    assert [row.split()[0] for row in rows] == [entry.name for entry in catalog.entries()]
    assert {row.split()[3] for row in rows} == {"no"}


def test_list_with_files(restyle: Callable[..., Result], empty_store: Path) -> None:
    (empty_store / "portrait.safetensors").write_bytes(b"x" * 1_234_567)
    portrait = [row for row in restyle("weights", "list").stdout.splitlines() if row.startswith("portrait ")]
    assert "  embedded   1.2 MB  MIT" in portrait[0]


def test_list_as_json(restyle: Callable[..., Result], tiny_store: Path) -> None:
    networks = json.loads(restyle("weights", "list", "--json").stdout)["networks"]
    assert [network["name"] for network in networks] == [entry.name for entry in catalog.entries()]
    portrait = networks[0]
    assert portrait["installed"] is True
    assert Path(portrait["path"]) == tiny_store / "portrait.safetensors"
    assert portrait["bytes"] == (tiny_store / "portrait.safetensors").stat().st_size
    assert portrait["licence_data"] == catalog.find("portrait").licence_data


def test_list_of_a_domain(restyle: Callable[..., Result]) -> None:
    done = restyle("weights", "list", "--domain", "portrait")
    assert len(done.stdout.splitlines()) == 1 + sum(e.domain == "portrait" for e in catalog.entries())
    wrong = restyle("weights", "list", "--domain", "ships")
    assert wrong.exit_code == 1
    assert "no networks of domain 'ships'" in wrong.stderr
    assert "portrait" in wrong.stderr


def test_info_tells_what_the_file_says(restyle: Callable[..., Result], tiny_store: Path) -> None:
    done = restyle("weights", "info", "portrait")
    assert "family           stylegan2" in done.stdout
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line)
    assert rows["resolution"] == "32"
    assert rows["channels"] == "4: 8, 8: 8, 16: 8, 32: 8"
    assert "licence weights  MIT" in done.stdout
    values = json.loads(restyle("weights", "info", "restyle-psp-portrait", "--json").stdout)
    assert (values["family"], values["generator"]) == ("small", "portrait")
    assert values["config"]["input_channels"] == 6


def test_info_of_what_is_not_installed(restyle: Callable[..., Result], empty_store: Path) -> None:
    done = restyle("weights", "info", "portrait")
    assert done.exit_code == 0
    assert "installed        no" in done.stdout
    assert "family" not in done.stdout


def test_info_of_a_damaged_file(restyle: Callable[..., Result], empty_store: Path) -> None:
    (empty_store / "portrait.safetensors").write_bytes(b"damaged, but longer than eight bytes")
    done = restyle("weights", "info", "portrait")
    assert done.exit_code == 1
    assert "portrait.safetensors' cannot be used" in done.stderr


def test_path(restyle: Callable[..., Result], tiny_store: Path) -> None:
    done = restyle("weights", "path", "psp-portrait")
    assert done.stdout == f"{tiny_store / 'psp-portrait.safetensors'}\n"
    assert done.stderr == ""


def test_path_of_what_is_not_installed(restyle: Callable[..., Result], empty_store: Path) -> None:
    done = restyle("weights", "path", "portrait")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "is missing" in done.stderr


def test_unknown_name(restyle: Callable[..., Result]) -> None:
    for command in ("info", "path"):
        done = restyle("weights", command, "portrat")
        assert done.exit_code == 1
        assert "no network named 'portrat'" in done.stderr
        assert "did you mean 'portrait'?" in done.stderr
