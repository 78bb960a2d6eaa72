"""Trainings in miniature."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import miniature
import pytest
import torch

from restyle_cli.train import drawings
from restyle_cli.train.loop import run


@contextmanager
def small() -> Iterator[None]:
    """Draw without compiling, and few held-out images."""
    held_out = drawings.held_out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda function, **_: function)
        patch.setattr("restyle_cli.train.encode.HELD_OUT_PICTURES", 16)
        for module, people in (("distil", 16), ("encode", 16), ("identify", 32)):
            patch.setattr(
                f"restyle_cli.train.{module}.held_out",
                lambda n, size, style, people=people: held_out(people, min(size, 32), style),
            )
        yield


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small():
        yield


@pytest.fixture(scope="session")
def trained_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of `miniature.GENERATOR`; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    with small():
        run(miniature.recipe(folder, miniature.GENERATOR.format(check=30)), folder / "tiny")
    return folder / "tiny"


@pytest.fixture
def tiny_generator(trained_generator: Path, tmp_path: Path) -> Path:
    """The trained generator as `tmp_path / "tiny"`, where recipes in `tmp_path` find it."""
    return Path(shutil.copytree(trained_generator, tmp_path / "tiny"))
