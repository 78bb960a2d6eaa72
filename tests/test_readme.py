"""What README and the guide show exists: commands and options by name, images; README's Python lines run."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from restyle_cli.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = "".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md")))


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of the fenced blocks."""
    return re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


BLOCKS = blocks(README)
COMMANDS = sorted(
    {
        line.split("#")[0].split("|")[0].strip()
        for language, text in blocks(README + GUIDE)
        if language in ("bash", "sh")
        for line in text.replace("\\\n", "").splitlines()
        if line.startswith("restyle ")
    }
)


def test_the_first_two_bash_blocks_are_the_two_commands():
    first, second = [text for language, text in BLOCKS if language == "bash"][:2]
    assert "pip install ." in first and "restyle invert restyle_cli/examples/portrait.png -n 5" in first
    assert "pip install '.[test]'" in second and "python -m pytest" in second
    assert (ROOT / "restyle_cli/examples/portrait.png").is_file()


@cache
def help_of(*path: str) -> str:
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert shown.exit_code == 0, shown.output
    return shown.output


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_and_options_exist(line):
    words = shlex.split(line)[1:]
    shown = help_of(*(words[:2] if words[0] == "weights" else words[:1]))
    for word in words:
        if word.startswith("-"):
            assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", shown), f"{line}: no {word}"


def test_images_exist():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file(), path


@pytest.mark.weights
def test_the_python_lines_run(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (code,) = [text for language, text in BLOCKS if language == "python"]
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("torch.Size([1, 12, 512])")
    assert len(lines) == 1 + 6
