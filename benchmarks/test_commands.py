"""Every script is listed in the README and starts: a renamed import in the package breaks none of them unnoticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
README = (HERE / "README.md").read_text(encoding="utf-8")
SCRIPTS = sorted(path for path in HERE.rglob("*.py") if "\ndef main(" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(HERE).as_posix())
def test_script_starts_and_is_listed(script: Path) -> None:
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{script.relative_to(HERE).as_posix()}`" in README
