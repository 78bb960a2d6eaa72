"""`restyle train` hands everything to the training loop, and ends like every command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from restyle_cli.train import loop


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The training loop's arguments, in place of training."""
    calls: list[dict[str, Any]] = []

    def run(
        recipe: str,
        output: Path,
        *,
        data: Path | None,
        resume: bool,
        steps: int | None,
        threads: int | None,
        note: Callable[[str], None],
    ) -> Path:
        calls.append({"recipe": recipe, "output": output, "data": data, "resume": resume, "steps": steps})
        calls[-1]["threads"] = threads
        note("step 1  loss 0.5")
        return output / "portrait.safetensors"

    monkeypatch.setattr(loop, "run", run)
    return calls


def test_options_reach_the_loop(restyle: Callable[..., Result], calls: list[dict[str, Any]]) -> None:
    done = restyle(
        *("train", "my.toml", "-o", "runs/mine", "--data", "photos", "--resume", "--steps", 7, "--threads", 1)
    )
    assert calls == [
        {
            "recipe": "my.toml",
            "output": Path("runs/mine"),
            "data": Path("photos"),
            "resume": True,
            "steps": 7,
            "threads": 1,
        }
    ]
    assert done.stdout.splitlines() == [str(Path("runs/mine/portrait.safetensors"))]
    assert done.stderr == "step 1  loss 0.5\n"


def test_defaults(restyle: Callable[..., Result], calls: list[dict[str, Any]]) -> None:
    done = restyle("train", "recipes/my.toml", "--json", "-q")
    assert calls[0] == {
        "recipe": "recipes/my.toml",
        "output": Path("restyle-out/train/my"),
        "data": None,
        "resume": False,
        "steps": None,
        "threads": None,
    }
    assert json.loads(done.stdout)["network"] == str(Path("restyle-out/train/my/portrait.safetensors"))
    assert done.stderr == ""


def test_unknown_recipe(restyle: Callable[..., Result], tmp_path: Path) -> None:
    done = restyle("train", "portrat", "-o", tmp_path / "run")
    assert done.exit_code == 1
    assert "no recipe named 'portrat'" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [("--steps", 0), ("--threads", 0), ()])
def test_wrong_usage(restyle: Callable[..., Result], arguments: tuple[object, ...]) -> None:
    named = ("portrait",) if arguments else ()
    assert restyle("train", *named, *arguments).exit_code == 2
