"""`-` reads one image from standard input, of whatever format, and needs no suffix for it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from restyle_cli.cli.app import app


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def photo() -> Image.Image:
    small = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    return Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC)


def encoded(format: str) -> bytes:
    file = io.BytesIO()
    photo().save(file, format)
    return file.getvalue()


def run(data: bytes, *arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), input=data, catch_exceptions=False)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "PPM", "TGA", "JPEG2000", "TIFF"])
def test_every_format(format: str) -> None:
    done = run(encoded(format), "align", "-", "--align", "never", "--size", "64", "-o", "out")
    assert done.exit_code == 0, done.stderr
    crop = np.asarray(Image.open("out/stdin.png"), int)
    assert np.abs(crop - np.asarray(photo())).mean() < 6


def test_a_photo_is_read_again_to_paste_into_it() -> None:
    command = ("invert", "-", "-n", "1", "--align", "never", "--paste-back", "-o", "out", "--json")
    done = run(encoded("PNG"), *command)
    assert done.exit_code == 0, done.stderr
    assert Image.open("out/stdin.pasted.png").size == (64, 64)
    assert json.loads(run(encoded("PNG"), *command).stdout)["images"][0]["status"] == "skipped"
    assert json.loads(run(encoded("JPEG"), *command).stdout)["images"][0]["status"] == "done"


@pytest.mark.parametrize(("data", "said"), [(b"", "is empty"), (b"dear diary", "is not an image")])
def test_what_is_no_image(data: bytes, said: str) -> None:
    done = run(data, "invert", "-", "-o", "out")
    assert done.exit_code == 1
    assert said in done.stderr and "stdin" in done.stderr


def test_it_stands_beside_others() -> None:
    photo().save("a.png")
    done = run(encoded("PPM"), "align", "a.png", "-", "--align", "never", "-o", "out")
    assert done.exit_code == 0
    assert sorted(path.name for path in Path("out").glob("*.png")) == ["a.png", "stdin.png"]
