"""What people read fits their terminal: no line is wider, and no word is broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import Result

from restyle_cli.align import aligned_mark
from restyle_cli.images import save_image

COMMANDS = ["weights list", "weights info restyle-psp-portrait", "methods", "methods pti", "doctor"]
COMMANDS += ["eval faces", "heatmap faces", "align faces", "invert faces"]


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_store: Path) -> None:
    """A folder of two pictures, where the commands run."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        save_image(Image.effect_noise((64, 64), 60).convert("RGB"), Path("faces") / f"{name}.png", aligned_mark())


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_broken(
    command: str, width: int, faces: None, restyle: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = command.split()
    wide = restyle(*arguments).stdout
    monkeypatch.setenv("COLUMNS", str(width))
    done = restyle(*arguments)
    assert done.exit_code == 0
    words = {word for word in wide.split() if not _is_measured(word)}
    for line in done.stdout.splitlines():
        longest = max(map(len, line.split()), default=0)
        assert len(line) <= width or longest > width / 2 or " " not in line.strip(), line
        assert {word for word in line.split() if not _is_measured(word)} <= words, line


def _is_measured(word: str) -> bool:
    """Times, memory and counts, which differ between two runs."""
    return (any(c.isdigit() for c in word) and len(word) < 12) or word in ("done", "skipped", "fits")
