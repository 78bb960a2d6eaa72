"""`-` among the inputs: one image from standard input."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import typer

NAME = "stdin"
"""Base name of its results."""


def with_standard_input(ctx: typer.Context, paths: list[Path]) -> list[Path]:
    """`paths` with `-` replaced by a temporary file (images are read more than once), removed when the command ends."""
    if Path("-") not in paths:
        return paths
    folder = tempfile.TemporaryDirectory(prefix="restyle-")
    ctx.call_on_close(folder.cleanup)
    spooled = Path(folder.name) / NAME
    with spooled.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return [spooled if path == Path("-") else path for path in paths]
