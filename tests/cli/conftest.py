"""Folders that tests of the commands work in."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import put


@pytest.fixture
def here(tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; tiny models are installed."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def faces(here: Path) -> Path:
    """The folder `faces` with a.png, b.png and sub/c.png."""
    for seed, name in enumerate(("a.png", "b.png", "sub/c.png")):
        put(here / "faces" / name, seed)
    return Path("faces")
