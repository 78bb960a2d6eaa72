"""Commands killed at random moments: nothing is half-written, and the run that finishes leaves nothing else behind."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from restyle_cli.align import aligned_mark
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.images import fit, save_image, to_image
from restyle_cli.store.files import read_header, read_latent, read_module, write_module

pytestmark = pytest.mark.slow
KILLS = 8
"""Of each of the five commands."""
RESTYLE = "restyle-psp-portrait"
CHILD = """
import sys
from pathlib import Path
import torch
import restyle_cli.evaluate.run, restyle_cli.run.pipeline, restyle_cli.store.convert
from restyle_cli.cli.app import app
from restyle_cli.store import fetch
fetch.embedded_folder = lambda: Path(sys.argv[1])
print("ready", flush=True)
app(sys.argv[2:])
"""
RECIPE = """
name = "tiny"
preset = "small"
generator = "portrait"
data = { folder = "photos", resolution = 32, align = "never" }
model = { input_size = 16, widths = [8, 8], blocks = [1, 1] }
training = { steps = 12, batch = 2, losses = { l2 = 1.0, lpips = 0.0 } }
validation = { every = 1, images = 2 }
"""

Command = Callable[..., int]


@pytest.fixture
def command(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command line in a process of its own, in an empty folder; `seconds` after it is ready it is killed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESTYLE_HOME", str(tmp_path / "home"))

    def run(*arguments: object, seconds: float | None = None) -> int:
        code = [sys.executable, "-c", CHILD, str(tiny_weights), *map(str, arguments)]
        with Path("log").open("wb") as log:
            child = subprocess.Popen(code, stdout=subprocess.PIPE, stderr=log, env=os.environ)
        try:
            assert child.stdout.readline() == b"ready\n", Path("log").read_text()
            child.communicate(timeout=seconds or 300)
        except subprocess.TimeoutExpired:
            assert seconds is not None
        finally:
            child.kill()
            child.wait()
        return child.returncode

    return run


def names(folder: str | Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def whole_names(folder: str) -> set[str]:
    """The files under their final names."""
    return {name for name in names(folder) if not Path(name).name.startswith(".")}


def photos(count: int) -> Path:
    for seed in range(count):
        small = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        save_image(to_image(fit(small, (64, 64))[0]), Path(f"photos/{seed}.png"), aligned_mark())
    return Path("photos")


def large_generator() -> Path:
    """A file that takes a while to write."""
    torch.manual_seed(0)
    config = StyleGAN2Config(64, dict.fromkeys((4, 8, 16, 32, 64), 256), z_dim=8, w_dim=64, mapping_layers=1)
    write_module(Path("large.safetensors"), StyleGAN2(config), "stylegan2")
    return Path("large.safetensors")


def moments(longest: float, count: int = KILLS) -> list[float]:
    chosen = random.Random(0)
    return [chosen.uniform(0, longest) for _ in range(count)]


def time_of(command: Command, *arguments: object) -> float:
    """Seconds from ready to done; a first run makes sure of what is compiled and cached."""
    began = time.perf_counter()
    assert command(*arguments) == 0, Path("log").read_text()
    return (time.perf_counter() - began) / 2  # half of it is the start of the process


def test_invert(command: Command) -> None:
    folder = photos(6)
    run = ("invert", folder, "-m", RESTYLE, "-n", 2, "-b", 1, "--save", "image,strip,latent,npy", "--paste-back")
    longest = time_of(command, *run, "-o", "reference")
    for seconds in moments(longest):
        command(*run, "-o", "out", seconds=seconds)
        for name in whole_names("out") if Path("out").exists() else ():
            if name.endswith(".png"):
                Image.open(Path("out", name)).load()
            elif name.endswith(".safetensors"):
                assert read_latent(Path("out", name))[0]["w"].isfinite().all()
    assert command(*run, "-o", "out") == 0
    assert names("out") == names("reference")
    for index in range(6):
        ours, theirs = (read_latent(Path(where, f"{index}.safetensors"))[0]["w"] for where in ("out", "reference"))
        assert torch.equal(ours, theirs)


def test_eval(command: Command) -> None:
    folder = photos(6)
    run = ("eval", folder, "--methods", f"{RESTYLE}:2", "--metrics", "l2", "-b", 1)
    longest = time_of(command, *run, "-o", "reference")
    for seconds in moments(longest):
        command(*run, "-o", "out", seconds=seconds)
        if Path("out/report.json").exists():
            json.loads(Path("out/report.json").read_text())
    assert command(*run, "-o", "out") == 0
    assert names("out") == names("reference")
    ours, theirs = (json.loads(Path(where, "report.json").read_text()) for where in ("out", "reference"))
    assert (ours["images"], ours["skipped"]) == (6, [])
    assert [step["l2"] for step in ours["methods"][0]["steps"]] == [
        step["l2"] for step in theirs["methods"][0]["steps"]
    ]


@pytest.mark.parametrize("layout", ["restyle", "rosinality"])
def test_convert(command: Command, layout: str) -> None:
    large = large_generator()
    end = ".pt" if layout == "rosinality" else ".safetensors"
    run = ("convert", large, f"nets/one{end}", "--overwrite", "--to", layout)
    Path("nets").mkdir()
    longest = time_of(command, *run)
    read = read_module(Path(f"nets/one{end}")).state_dict()
    for seconds in moments(longest)[::2]:
        command(*run, seconds=seconds)
        assert read_module(Path(f"nets/one{end}")).state_dict().keys() == read.keys()
    assert command(*run) == 0
    assert names("nets") == {f"one{end}"}
    if layout == "restyle":
        assert read_header(Path("nets/one.safetensors"))["family"] == "stylegan2"


def test_weights_add(command: Command) -> None:
    large = large_generator()
    add, remove = ("weights", "add", large, "--as", "mine"), ("weights", "remove", "mine")
    longest = time_of(command, *add)
    reference = names("home")
    network = Path("home/own-mine.safetensors")
    for seconds in moments(longest):
        if network.exists():
            assert command(*remove) == 0
        command(*add, seconds=seconds)
        if network.exists():
            assert network.read_bytes() == large.read_bytes()
    if network.exists():
        assert command(*remove) == 0
    assert command(*add) == 0
    assert names("home") == reference


def test_train(command: Command) -> None:
    photos(6)
    Path("tiny.toml").write_text(RECIPE)
    run = ("train", "tiny.toml", "--resume", "--threads", 1)
    longest = time_of(command, *run, "-o", "reference")
    for seconds in moments(longest, 20):
        command(*run, "-o", "out", seconds=seconds)
        for path in Path("out").glob("*.safetensors"):
            read_module(path)
        if Path("out/checkpoint.pt").exists():
            torch.load("out/checkpoint.pt", weights_only=True)
    assert command(*run, "-o", "out") == 0
    logs = {name for name in names("out") | names("reference") if name.startswith("tensorboard/")}
    assert names("out") - logs == names("reference") - logs
    with Path("out/scores.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(1, 13))
    ours, theirs = (read_module(Path(where, "tiny.safetensors")).state_dict() for where in ("out", "reference"))
    for name, value in theirs.items():
        assert torch.equal(value, ours[name]), f"{name} differs"
