"""`-` among the inputs: one image from standard input."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import typer

NAME = "stdin"
"""What its results are called."""


def with_standard_input(ctx: typer.Context, paths: list[Path]) -> list[Path]:
    """`paths`, with a file in the place of `-` that lasts as long as the command: images are read more than once."""
    if Path("-") not in paths:
        return paths
    folder = tempfile.TemporaryDirectory(prefix="restyle-")
    ctx.call_on_close(folder.cleanup)
    spooled = Path(folder.name) / NAME
    with spooled.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return [spooled if path == Path("-") else path for path in paths]
