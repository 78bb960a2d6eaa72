"""`restyle methods`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from restyle_cli.methods import CHAINS, DESCRIPTIONS, METHODS


def test_methods_for_people(restyle: Callable[..., Result], tiny_store: Path) -> None:
    rows = restyle("methods").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == [*METHODS.names(), *CHAINS]
    assert rows[0].endswith("restyle-psp-portrait, restyle-psp-toon")
    assert DESCRIPTIONS["restyle-psp"] in rows[0]


def test_methods_for_programs(restyle: Callable[..., Result], tiny_store: Path) -> None:
    found = {m["name"]: m for m in json.loads(restyle("methods", "--json").stdout)["methods"]}
    assert found["psp"]["installed"] == ["psp-portrait"]
    assert found["image2stylegan"]["installed"] == ["image2stylegan-portrait", "image2stylegan-toon"]
    assert found["hybrid"]["installed"] == ["hybrid-portrait", "hybrid-toon"]
    assert found["e4e"] == {"name": "e4e", "description": DESCRIPTIONS["e4e"], "installed": []}


def test_what_is_not_installed_is_not_listed(restyle: Callable[..., Result], empty_store: Path) -> None:
    found = json.loads(restyle("methods", "--json").stdout)["methods"]
    assert [m["installed"] for m in found] == [[]] * len(found)
