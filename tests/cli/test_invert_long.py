"""`restyle invert` with schedules of many steps: what is seen of them, and Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from commands import Run
from torch import Tensor

from restyle_cli.align import aligned_mark
from restyle_cli.cli import output, running
from restyle_cli.images import save_image, to_image
from restyle_cli.inversion import State
from restyle_cli.methods.image2stylegan import Image2StyleGAN
from restyle_cli.store.files import read_latent

MODEL = "image2stylegan-portrait"


@pytest.fixture
def faces(tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures of the tiny generator, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    draws = tiny.generator()
    noise = torch.randn(2, 8, tiny.W_DIM, generator=torch.Generator().manual_seed(1))
    for name, image in zip("ab", draws(draws.w_avg + noise), strict=True):
        save_image(to_image(image), tmp_path / "faces" / f"{name}.png", aligned_mark())
    return tmp_path / "faces"


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ctrl-C in the middle of the step of this number."""
    step = Image2StyleGAN.step

    def arrange(number: int) -> None:
        made = 0

        def interrupted(self: Image2StyleGAN, x: Tensor, state: State) -> State:
            nonlocal made
            made += 1
            if made == number:
                raise KeyboardInterrupt
            return step(self, x, state)

        monkeypatch.setattr(Image2StyleGAN, "step", interrupted)

    return arrange


def test_what_compares_is_told(restyle: Run, faces: Path) -> None:
    done = restyle("invert", faces / "a.png", "-m", MODEL, "-n", 2, "--json")
    assert "compared by 'lpips-alex', which stands in for vgg16" in done.stderr
    assert "restyle weights get vgg16" in done.stderr
    assert json.loads(done.stdout)["perceptual"] == "lpips-alex"
    assert read_latent(Path("restyle-out/invert/a.safetensors"))[1]["perceptual"] == "lpips-alex"
    assert "perceptual" not in json.loads(restyle("invert", faces / "a.png", "-m", "psp-portrait", "--json").stdout)


def test_the_l2_of_a_long_schedule_is_seen_as_it_goes(
    restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "LINE_EVERY", 0.0)
    one = restyle("invert", faces / "a.png", "-m", MODEL, "-n", 22)
    lines = [line for line in one.stderr.splitlines() if line.startswith("inverting")]
    assert any(line.startswith("inverting: 12 of 22, ") and "; L2 0." in line for line in lines)
    several = restyle("invert", faces, "-m", MODEL, "-n", 23, "--overwrite")
    assert "inverting: 0 of 2; step 7 of 23, L2 0." in several.stderr
    short = restyle("invert", faces / "a.png", "-m", MODEL, "-n", running.LONG, "--overwrite")
    assert "inverting" not in short.stderr
    assert "inverting" not in restyle("invert", faces, "-m", MODEL, "-n", 24, "--overwrite", "-q").stderr


def test_ctrl_c_writes_what_was_reached_and_begins_nothing_more(
    restyle: Run, faces: Path, ctrl_c: Callable[[int], None]
) -> None:
    ctrl_c(9)
    cut = restyle("invert", faces, "-m", MODEL, "-n", 30, "-b", 1, "--json")
    assert cut.exit_code == 130
    assert "interrupted after step 8 of 30; the best step so far is written" in cut.stderr
    (image,) = json.loads(cut.stdout)["images"]
    assert image["interrupted"]
    assert len(image["steps"]) == 9
    tensors, made = read_latent(Path("restyle-out/invert/a.safetensors"))
    assert made["interrupted"]
    assert made["kept_step"] == image["best_step"]
    assert tensors["w"].isfinite().all()
    assert {file.name for file in Path("restyle-out/invert").iterdir()} == {"a.png", "a.strip.png", "a.safetensors"}


def test_what_was_cut_off_is_done_again(restyle: Run, faces: Path, ctrl_c: Callable[[int], None]) -> None:
    ctrl_c(9)
    restyle("invert", faces, "-m", MODEL, "-n", 30)
    again = restyle("invert", faces, "-m", MODEL, "-n", 30, "--json")
    assert again.exit_code == 0
    assert [(i["status"], len(i["steps"])) for i in json.loads(again.stdout)["images"]] == [("done", 31)] * 2
    assert "interrupted" not in read_latent(Path("restyle-out/invert/a.safetensors"))[1]
    assert json.loads(restyle("invert", faces, "-m", MODEL, "-n", 30, "--json").stdout)["summary"]["skipped"] == 2


def test_ctrl_c_in_a_short_schedule_gives_it_up(restyle: Run, faces: Path, ctrl_c: Callable[[int], None]) -> None:
    ctrl_c(3)
    cut = restyle("invert", faces / "a.png", "-m", MODEL, "-n", 5)
    assert cut.exit_code == 130
    assert "interrupted after 0 of 1 images" in cut.stderr
    assert not list(Path("restyle-out/invert").iterdir())


def test_codes_of_steps_are_written_when_asked_for(restyle: Run, faces: Path) -> None:
    restyle("invert", faces / "a.png", "-m", MODEL, "-n", 3, "--save", "steps")
    tensors, _ = read_latent(Path("restyle-out/invert/a.safetensors"))
    assert tensors["w_steps"].shape == (4, 8, tiny.W_DIM)
    assert float((tensors["w_steps"][1] - tensors["w_steps"][0]).abs().max()) == pytest.approx(0.01, rel=0.01)


def test_ctrl_c_replaces_no_better_result(restyle: Run, faces: Path, ctrl_c: Callable[[int], None]) -> None:
    command = ("invert", faces / "a.png", "-m", MODEL, "-n")
    assert restyle(*command, 30).exit_code == 0
    whole = Path("restyle-out/invert/a.safetensors").read_bytes()
    ctrl_c(4)
    cut = restyle(*command, 40)
    assert cut.exit_code == 130
    assert "and is kept" in cut.stderr and "is written" not in cut.stderr
    assert Path("restyle-out/invert/a.safetensors").read_bytes() == whole


def test_ctrl_c_before_anything_was_gained_writes_nothing(
    restyle: Run, faces: Path, ctrl_c: Callable[[int], None]
) -> None:
    ctrl_c(1)
    cut = restyle("invert", faces / "a.png", "-m", MODEL, "-n", 30, "--json")
    assert cut.exit_code == 130
    assert "improved the image" in cut.stderr
    assert not list(Path("restyle-out/invert").iterdir())
    assert json.loads(cut.stdout)["summary"]["done"] == 0
