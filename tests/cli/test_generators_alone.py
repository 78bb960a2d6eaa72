"""A bare generator as `-m`, `--generator` in every command that inverts, and what `--seed` changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from commands import Run, put
from typer.testing import Result

from restyle_cli.run.latents import read, render_latent
from restyle_cli.store.files import write_module


@pytest.fixture
def photo(tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "a.png")
    write_module(tmp_path / "mine.safetensors", tiny.generator(seed=5), "stylegan2")
    return Path("a.png")


def made(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", ["portrait", "mine.safetensors"])
def test_a_generator_is_inverted_by_the_projector(restyle: Run, photo: Path, name: str) -> None:
    found = made(restyle("invert", photo, "-m", name, "-n", 4, "--keep", "last", "-o", "out", "--json"))
    assert found["chain"] == f"{name}:4"
    w = read(Path("out/a.safetensors")).w
    assert torch.equal(w, w[:, :1].expand_as(w)), "one vector for all layers"
    assert render_latent(Path("out/a.safetensors")).shape == (1, 3, 32, 32)


@pytest.mark.parametrize("command", ["eval", "heatmap"])
def test_commands_take_another_generator(restyle: Run, photo: Path, command: str) -> None:
    def last(*options: object) -> float:
        which = ("--methods", "psp-portrait") if command == "eval" else ("-m", "psp-portrait")
        found = made(restyle(command, photo, *which, *options, "--overwrite", "-o", f"out-{command}", "--json"))
        steps = found["methods"][0]["steps"] if command == "eval" else found["images"][0]["steps"]
        return steps[-1]["l2"]

    own, other = last(), last("--generator", "mine.safetensors")
    assert own != other
    assert last("--generator", "portrait") == pytest.approx(own)


def test_pairs_take_no_generator(restyle: Run, photo: Path) -> None:
    result = restyle("eval", photo, "--against", photo, "--generator", "portrait")
    assert (result.exit_code, "--generator" in result.stderr) == (2, True)


def test_another_seed_changes_what_uses_random_numbers(restyle: Run, photo: Path) -> None:
    def code(chain: str, *options: object) -> torch.Tensor:
        made(restyle("invert", photo, "--via", chain, "-o", "out", "--json", *options))
        return read(Path("out/a.safetensors")).w

    first = code("projector-portrait:8")
    assert torch.equal(code("projector-portrait:8", "--seed", 0), first)
    other = code("projector-portrait:8", "--seed", 7)  # not taken for the one that is there
    assert not torch.equal(other, first)
    assert torch.equal(code("projector-portrait:8", "--seed", 7, "--overwrite"), other)


def test_a_seed_that_would_change_nothing_is_refused(restyle: Run, photo: Path) -> None:
    result = restyle("invert", photo, "-m", "psp-portrait", "--seed", 1, "-o", "out")
    assert result.exit_code == 2
    assert "uses no random numbers" in result.stderr
    assert not Path("out").exists()
