"""`restyle train` from the command line: a folder, a recipe, and one line for what cannot be trained."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
from data.test_sources import write_images
from PIL import Image
from typer.testing import Result

from restyle_cli.store.files import write_module

Restyle = Callable[..., Result]
NO_LPIPS = ("--set", "training.losses.lpips=0")
QUICK = (
    *NO_LPIPS,
    *("--set", "training.steps=4", "-b", 2, "--set", "validation.every=2"),
    *("--set", "data.align=never", "--set", "data.resolution=32", "--threads", 1),
    *("--set", "model.input_size=16", "--set", "model.widths=[8, 8]", "--set", "model.blocks=[1, 1]"),
)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images, in the working folder, with a generator that the catalog does not know."""
    monkeypatch.chdir(tmp_path)
    write_module(Path("own.safetensors"), tiny.generator(seed=5), "stylegan2")
    return write_images(Path("photos"), 6)


def test_a_folder_gives_an_encoder_that_inverts(restyle: Restyle, photos: Path) -> None:
    done = restyle("train", photos, "--generator", "own.safetensors", "-o", "run", *QUICK)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [str(Path("run/encoder.safetensors"))]
    assert "5 images to train on, 1 for validation" in done.stderr
    assert "losses: l2 1" in done.stderr
    own = Path("run/generator.safetensors").read_bytes()
    Path("own.safetensors").unlink()
    inverted = restyle(
        "invert", photos, "-m", "run/encoder.safetensors", "-n", 2, "--align", "never", "-o", "out", "--json"
    )
    assert inverted.exit_code == 0, inverted.stderr
    assert json.loads(inverted.stdout)["summary"]["done"] == 6

    again = restyle("train", photos, "--generator", "run/generator.safetensors", "-o", "run", *QUICK)
    assert again.exit_code == 1
    assert "already holds a training" in again.stderr
    assert Path("run/generator.safetensors").read_bytes() == own


def test_the_commands_of_the_guide(restyle: Restyle, photos: Path) -> None:
    """The three commands, with a generator in another project's layout; made quick by settings."""
    guide = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    block = guide.split("## Your own domain in three commands")[1].split("```sh\n")[1].split("```")[0]
    commands = [line.split()[1:] for line in block.splitlines()]
    assert [command[0] for command in commands] == ["train", "train", "invert"]
    assert restyle("convert", "own.safetensors", "g.pt", "--to", "rosinality").exit_code == 0
    shutil.copy(photos / "00.png", "photo.jpg")
    for command in commands:
        done = restyle(*command, *(QUICK if command[0] == "train" else ("-n", 2, "--align", "never")))
        assert done.exit_code == 0, done.stderr
    assert "l2_1" in Path("runs/mine/scores.csv").read_text()


def test_json_and_quiet(restyle: Restyle, photos: Path) -> None:
    done = restyle("train", photos, "--generator", "own.safetensors", "-o", "run", *QUICK, "--steps", 1, "--json", "-q")
    assert json.loads(done.stdout) == {
        "command": "train",
        "recipe": "encoder",
        "model": str(Path("run/encoder.safetensors")),
    }
    assert done.stderr == ""


@pytest.mark.parametrize("method", ["psp", "e4e", "restyle-e4e", "e4e-w", "hyperstyle"])
def test_every_method_can_be_trained_and_run(restyle: Restyle, photos: Path, method: str) -> None:
    done = restyle("train", photos, "--generator", "own.safetensors", "--method", method, "-o", "run", *QUICK)
    assert done.exit_code == 0, done.stderr
    inverted = restyle("invert", "photos/00.png", "-m", "run/encoder.safetensors", "--align", "never", "-o", "out")
    assert inverted.exit_code == 0, inverted.stderr


@pytest.mark.parametrize("channels", [1, 19])
def test_sketches_and_label_maps(restyle: Restyle, photos: Path, channels: int) -> None:
    write_images(Path("inputs"), 6)
    for path in Path("inputs").glob("*.png"):  # grey values that are numbers of classes
        Image.fromarray(np.asarray(Image.open(path)) // 10).save(path)
    settings = ("--set", "data.kind=pairs", "--set", "data.inputs=inputs", "--set", f"model.input_channels={channels}")
    train = ("train", photos, "--generator", "own.safetensors", "--method", "psp", "-o", "run")
    done = restyle(*train, *QUICK, *settings)
    assert done.exit_code == 0, done.stderr
    inverted = restyle("invert", "inputs/00.png", "-m", "run/encoder.safetensors", "-o", "out")
    assert inverted.exit_code == 0, inverted.stderr


def test_dry_run_measures_and_writes_no_model(restyle: Restyle, photos: Path) -> None:
    done = restyle("train", photos, "--generator", "own.safetensors", "-o", "run", *QUICK, "--dry-run", "--json")
    plan = json.loads(done.stdout)
    assert (plan["images"], plan["steps"], plan["batch"], plan["losses"]) == (5, 4, 2, "l2 1")
    assert plan["seconds_per_step"] > 0
    assert not list(Path("run").glob("*.safetensors"))


def test_a_recipe_file(restyle: Restyle, photos: Path) -> None:
    Path("mine.toml").write_text(
        'name = "mine"\npreset = "small"\nmethod = "psp"\ngenerator = "own.safetensors"\n[data]\nfolder = "photos"\n'
    )
    done = restyle("train", "mine.toml", "-o", "run", *QUICK)
    assert done.exit_code == 0, done.stderr
    assert Path("run/mine.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("photos",), 2, "needs a generator"),
        (("nothing", "--generator", "own.safetensors"), 1, "no recipe or folder named 'nothing'"),
        (("photos", "--generator", "missing.pkl"), 1, "missing.pkl"),
        (("photos", "--generator", "portrat"), 1, "no model named 'portrat'"),
        (("photos", "--generator", "photos/00.png"), 1, "00.png"),
        (("photos", "--generator", "own.safetensors", "--method", "pti"), 2, "'pti' can be trained"),
        (("photos", "--generator", "own.safetensors", "--set", "training.losses.lpip=1"), 1, "no loss named 'lpip'"),
        (
            ("photos", "--generator", "own.safetensors", "--set", "training.losses.moco=1", *NO_LPIPS),
            1,
            "needs moco, which is not installed",
        ),
        (("photos", "--generator", "own.safetensors", "--set", "training.losses.latent=1"), 1, "latents are known"),
        (("photos", "--generator", "own.safetensors", "--set", "start_from=psp-portrait"), 1, "another shape|styles"),
        (("photos", "--generator", "own.safetensors", "--set", "model.depth=3"), 1, "no field 'depth'"),
        (("empty", "--generator", "own.safetensors", *QUICK), 1, "no (images|pictures)"),
        (("one", "--generator", "own.safetensors", *QUICK), 1, "needs at least 2"),
        (("mine.toml", "--method", "psp"), 2, "--method is for folders"),
        (("psp-ffhq",), 1, "not installed|offline"),
        (("average", "own.safetensors"), 2, "averaging takes two or more models"),
        (("photos", "--steps", 0), 2, "--steps"),
    ],
)
def test_what_cannot_be_trained(
    restyle: Restyle, photos: Path, tiny_store: Path, arguments: tuple[object, ...], status: int, message: str
) -> None:
    import re

    Path("empty").mkdir()
    write_images(Path("one"), 1)
    Path("mine.toml").write_text('name = "mine"\npreset = "small"\ngenerator = "own.safetensors"\n')
    done = restyle("train", *arguments, "-o", "run")
    assert done.exit_code == status, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert re.search(message, done.stderr), done.stderr
    assert not Path("run/encoder.safetensors").exists()


def test_tiny_images_are_enlarged(restyle: Restyle, photos: Path) -> None:
    write_images(Path("small"), 3, side=16)
    done = restyle("train", "small", "--generator", "own.safetensors", "-o", "run", *QUICK)
    assert done.exit_code == 0, done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_output(restyle: Restyle, photos: Path) -> None:
    Path("locked").mkdir(mode=0o500)
    done = restyle("train", photos, "--generator", "own.safetensors", "-o", "locked/run", *QUICK)
    assert done.exit_code == 1
    assert "locked" in done.stderr


def test_average(restyle: Restyle, photos: Path) -> None:
    assert restyle("train", photos, "--generator", "own.safetensors", "-o", "run", *QUICK).exit_code == 0
    models = sorted(Path("run").glob("*-step-*.safetensors"))
    done = restyle("train", "average", *models, "-o", "mean.safetensors")
    assert done.exit_code == 0, done.stderr
    assert Path("mean.safetensors").exists()
