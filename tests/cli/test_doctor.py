"""`restyle doctor`: says what is there, and says so too when nothing is."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import Result

import restyle_cli
from restyle_cli import devices
from restyle_cli.align import detect
from restyle_cli.store import catalog, fetch


def test_doctor_for_programs(restyle: Callable[..., Result], tiny_store: Path) -> None:
    values = json.loads(restyle("doctor", "--json").stdout)
    assert values["restyle"] == restyle_cli.__version__
    assert values["python"] == platform.python_version()
    assert values["packages"]["torch"] == importlib.metadata.version("torch")
    assert values["devices"][-1]["name"] == "cpu"
    assert "fp32" in values["devices"][-1]["precisions"]
    assert Path(values["face_landmarks"]).is_file()
    assert values["home"] == str(fetch.home())
    assert {network["name"]: network["installed"] for network in values["networks"]} == {
        entry.name: entry.name == "dlib" or (tiny_store / entry.file).is_file()
        for entry in catalog.entries()
        if entry.embedded
    }


def test_torch_is_named_by_its_package_and_by_its_build(
    restyle: Callable[..., Result], empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch of the package index is 2.14.1 to pip, and 2.14.1+cu130 to itself."""
    monkeypatch.setattr(torch, "__version__", "9.9.9+cu999")
    values = json.loads(restyle("doctor", "--json").stdout)
    assert values["torch_build"] == "9.9.9+cu999"
    assert values["packages"]["torch"] == importlib.metadata.version("torch")
    assert "9.9.9+cu999" in restyle("doctor").stdout


def test_a_torch_that_cannot_be_used_is_told(
    restyle: Callable[..., Result], empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("the driver is too old")

    monkeypatch.setattr(devices, "describe", broken)
    done = restyle("doctor")
    assert done.exit_code == 0
    assert done.stderr == "warning: torch cannot be used: the driver is too old\n"
    assert json.loads(restyle("doctor", "--json").stdout)["problems"] == ["torch cannot be used: the driver is too old"]


def test_doctor_for_people(restyle: Callable[..., Result], empty_store: Path) -> None:
    text = restyle("doctor").stdout
    for said in (restyle_cli.__version__, platform.python_version(), torch.__version__, str(empty_store)):
        assert said in text
    assert [line.split() for line in text.splitlines() if line.startswith("portrait ")] == [["portrait", "missing"]]


def test_nothing_there(restyle: Callable[..., Result], empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any package (but those that print this), face models or networks, the command still answers."""

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(detect, "find_spec", lambda name: None)
    done = restyle("doctor")
    assert done.exit_code == 0
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if len(line.split()) > 1)
    assert rows["torch"].startswith("missing")
    assert "face landmarks:    missing" in done.stdout
    assert rows["portrait"] == "missing"
    values = json.loads(restyle("doctor", "--json").stdout)
    assert values["packages"]["torch"] is None
    assert values["devices"] == []
    assert values["face_landmarks"] is None
