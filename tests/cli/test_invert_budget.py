"""`restyle invert --quality` and `--budget`."""

from __future__ import annotations

import json
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from commands import Run
from PIL import Image
from torch import Tensor
from typer.testing import Result

from restyle_cli import stopping
from restyle_cli.align import aligned_mark
from restyle_cli.cli import options
from restyle_cli.errors import UsageError
from restyle_cli.images import save_image, to_image
from restyle_cli.inversion import State
from restyle_cli.methods.pti import PTI
from restyle_cli.models import presets
from restyle_cli.run.latents import render_latent
from restyle_cli.stopping import ALL_STEPS, OUT_OF_TIME, PLATEAUED, Patience, Plateau
from restyle_cli.store.files import read_latent


@pytest.fixture
def faces(tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures of the tiny generator, in an empty working folder; tuning takes few steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "TUNING", Patience(6, 2, 0.0001))
    draws = tiny.generator()
    noise = torch.randn(3, 8, tiny.W_DIM, generator=torch.Generator().manual_seed(1))
    for name, image in zip("abc", draws(draws.w_avg + noise), strict=True):
        save_image(to_image(image), tmp_path / "faces" / f"{name}.png", aligned_mark())
    return tmp_path / "faces"


@pytest.fixture
def second_by_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes between two looks at the clock, which are one a step."""
    monkeypatch.setattr(stopping, "Plateau", lambda *args: Plateau(*args, clock=partial(next, count())))


def images(done: Result) -> list[dict[str, Any]]:
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)["images"]


def test_fast(restyle: Run, faces: Path) -> None:
    done = restyle("invert", faces / "a.png", "--quality", "fast", "--json")
    (image,) = images(done)
    (link,) = image["links"]
    assert link["method"] == "restyle-psp-portrait"
    assert link["steps"] == len(image["steps"]) - 1
    assert link["ended"] in (PLATEAUED, ALL_STEPS)
    assert link["l2"] == min(step["l2"] for step in image["steps"])
    assert link["seconds"] == pytest.approx(sum(step["seconds"] for step in image["steps"][1:]))
    values = json.loads(done.stdout)
    assert (values["quality"], values["budget"]) == ("fast", None)
    assert values["chain"] == "restyle-psp-portrait:10"
    made = read_latent(Path("restyle-out/invert/a.safetensors"))[1]
    assert (made["quality"], made["budget"], made["links"]) == ("fast", None, image["links"])


def test_best_in_batches(restyle: Run, faces: Path) -> None:
    for image in images(restyle("invert", faces, "--quality", "best", "-b", 2, "--json")):
        first, last = image["links"]
        assert (first["method"], last["method"]) == ("restyle-psp-portrait", "pti")
        assert first["steps"] + last["steps"] == len(image["steps"]) - 1
        assert last["l2"] <= first["l2"]
        assert last["ended"] in (PLATEAUED, ALL_STEPS)
        kept = image["steps"][image["best_step"]]["l2"]
        assert kept == last["l2"]
        out = Path(image["outputs"]["latent"])
        shown = Image.open(out.with_suffix(".png")).convert("RGB")
        assert to_image(render_latent(out)[0]).tobytes() == shown.tobytes()


def test_a_budget_without_a_quality_is_balanced(restyle: Run, faces: Path, second_by_second: None) -> None:
    done = restyle("invert", faces / "a.png", "--budget", "0.5m", "--json")
    (image,) = images(done)
    values = json.loads(done.stdout)
    assert (values["quality"], values["budget"]) == ("balanced", 30.0)
    assert [link["method"] for link in image["links"]][-1] == "image2stylegan"
    assert len(image["steps"]) - 1 <= 29  # the start took the first second


@pytest.mark.usefixtures("second_by_second")
def test_a_budget_ends_it_with_the_best_so_far(restyle: Run, faces: Path) -> None:
    (image,) = images(restyle("invert", faces / "a.png", "--budget", "4s", "--quality", "best", "--json"))
    assert image["status"] == "done"
    assert len(image["steps"]) == 4  # a second each, the start's too
    assert image["links"][-1]["ended"] == OUT_OF_TIME
    lowest = min(image["steps"], key=lambda step: step["l2"])
    assert image["best_step"] == lowest["step"]


@pytest.mark.usefixtures("second_by_second")
def test_the_table_says_why(restyle: Run, faces: Path) -> None:
    one = restyle("invert", faces / "a.png", "--budget", "7s")
    assert one.exit_code == 0, one.stderr
    steps, links = one.stdout.split("\n\n")
    assert len(steps.splitlines()) == 1 + 7
    heads, start, first, last, *files = links.splitlines()
    assert heads.split() == ["link", "steps", "best", "L2", "seconds", "ended"]
    assert start.split()[0] == "start"
    assert first.split()[:2] == ["restyle-psp-portrait", "1"] and first.endswith(PLATEAUED)
    assert last.split()[:2] == ["image2stylegan", "5"] and last.endswith(OUT_OF_TIME)
    assert files == [f"restyle-out/invert/a{end}" for end in (".png", ".strip.png", ".safetensors")]
    several = restyle("invert", faces, "--budget", "9s", "-b", 1, "--overwrite")
    heading, _, _, *links = several.stdout.splitlines()
    assert heading == "mean of 3 images:"
    assert f"{OUT_OF_TIME} 3" in links[-2]


def test_what_is_done_is_skipped(restyle: Run, faces: Path) -> None:
    def counted(*options: object) -> tuple[int, int]:
        summary = json.loads(restyle("invert", faces, *options, "--json").stdout)["summary"]
        return summary["done"], summary["skipped"]

    assert counted("--quality", "fast", "--budget", "1h") == (3, 0)
    assert counted("--quality", "fast", "--budget", "60m") == (0, 3)
    assert counted("--quality", "fast", "--budget", "61m") == (3, 0)
    assert counted("--quality", "fast") == (3, 0)
    assert PLATEAUED in restyle("invert", faces, "--quality", "fast").stdout  # told of what was skipped


def test_ctrl_c_keeps_what_was_reached(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, step = count(1), PTI.step

    def interrupted(self: PTI, x: Tensor, state: State) -> State:
        if next(made) == 3:
            raise KeyboardInterrupt
        return step(self, x, state)

    monkeypatch.setattr(PTI, "step", interrupted)
    monkeypatch.setattr(presets, "TUNING", Patience(30, 10, 0.0001))
    cut = restyle("invert", faces / "a.png", "--quality", "best", "--json")
    assert cut.exit_code == 130
    (image,) = json.loads(cut.stdout)["images"]
    assert image["interrupted"]
    assert (image["links"][-1]["method"], image["links"][-1]["steps"]) == ("pti", 2)
    assert image["links"][-1]["ended"] == "interrupted"
    last = image["steps"][-1]["step"]
    assert f"interrupted after step {last}; the best step so far is written" in cut.stderr


@pytest.mark.parametrize("other", [("-n", 3), ("--via", "psp:1,restyle-psp:2"), ("--tolerance", 0.1)])
@pytest.mark.parametrize("asked", [("--quality", "fast"), ("--budget", "20s")])
def test_one_decides(restyle: Run, faces: Path, asked: tuple[str, str], other: tuple[object, ...]) -> None:
    done = restyle("invert", faces, *asked, *other)
    assert done.exit_code == 2
    assert f"{asked[0]} chooses the chain" in done.stderr


def test_who_begins_is_an_encoder(restyle: Run, faces: Path) -> None:
    done = restyle("invert", faces, "--quality", "best", "-m", "pti-portrait")
    assert done.exit_code == 2
    assert "start with an encoder" in done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20", 20), ("1.5", 1.5), ("20s", 20), ("2m", 120), ("1.5 min", 90), (".5h", 1800), (" 0.2s", 0.2)],
)
def test_times(text: str, seconds: float) -> None:
    assert options.parse_budget(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["s", "0", "0s", "-3s", "1m30s", "2 days", "nan", "٢s", "", f"{'9' * 400}s"])
def test_no_times(text: str) -> None:
    with pytest.raises(UsageError, match="--budget takes a time"):
        options.parse_budget(text)
