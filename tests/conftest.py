"""What tests in several folders share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from restyle_cli.store import fetch


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees networks that the person running it has fetched, nor changes them."""
    monkeypatch.setenv("RESTYLE_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the embedded networks, to be filled with tiny ones."""
    folder = tmp_path / "embedded"
    folder.mkdir()
    monkeypatch.setattr(fetch, "embedded_folder", lambda: folder)
    return folder


@pytest.fixture
def restyle() -> Callable[..., Result]:
    """Run a command line in this process: `restyle("invert", path, "-n", 5)`; a bug shows as its traceback."""
    from restyle_cli.cli.app import app

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)

    return run
