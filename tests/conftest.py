"""Fixtures of several folders."""

from __future__ import annotations

import functools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from typer import testing
from typer.testing import CliRunner, Result

from restyle_cli.store import fetch

# Typer's runner builds all commands anew for each call, which takes longer than most of them run.
testing._get_command = functools.cache(testing._get_command)


def pytest_configure(config: pytest.Config) -> None:
    """Ctrl-C as in a terminal, and one thread for each of the processes of `-n`.

    Shells start background jobs with Ctrl-C ignored, which processes started by tests would inherit.
    """
    if hasattr(config, "workerinput"):
        os.environ["OMP_NUM_THREADS"] = "1"  # also of processes that tests start
        torch.set_num_threads(1)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random networks under the names of the bundled models; not to be changed."""
    folder = tmp_path_factory.mktemp("weights")
    tiny.write_store(folder)
    return folder


@pytest.fixture
def tiny_store(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `tiny_weights`, in place of the bundled models."""
    monkeypatch.setattr(fetch, "embedded_folder", lambda: tiny_weights)
    return tiny_weights


@pytest.fixture
def without_lpips(tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled models without LPIPS."""
    folder = tmp_path / "without-lpips"
    shutil.copytree(tiny_weights, folder, ignore=shutil.ignore_patterns("lpips-*"))
    monkeypatch.setattr(fetch, "embedded_folder", lambda: folder)


@pytest.fixture
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the bundled models."""
    folder = tmp_path / "embedded"
    folder.mkdir()
    monkeypatch.setattr(fetch, "embedded_folder", lambda: folder)
    return folder


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests neither see nor change the user's models, and never download."""
    monkeypatch.setenv("RESTYLE_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("RESTYLE_OFFLINE", "1")
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def restyle() -> Callable[..., Result]:
    """Run a command line in this process: `restyle("invert", path, "-n", 5)`; a bug shows its trace."""
    from restyle_cli.cli.app import app

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)

    return run
