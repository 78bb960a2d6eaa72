"""What tests of the commands share: images to invert, and what a command printed and wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import Result

from restyle_cli.align import aligned_mark
from restyle_cli.images import fit, save_image, to_image

Run = Callable[..., Result]
RESTYLE, PSP = "restyle-psp-portrait", "psp-portrait"
LANDMARKS = [[80, 90], [130, 90], [105, 120], [85, 150], [125, 150]]
"""Of a face in an image of 200 px."""


def picture(seed: int, size: int = 64) -> Image.Image:
    """A smooth random image."""
    small = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return to_image(fit(small, (size, size))[0])


def put(path: Path, seed: int = 0, size: int = 64) -> Path:
    """Write an image that alignment leaves unchanged; also under a name with another suffix than .png."""
    made = path.with_name(f"{path.stem}.made.png")
    save_image(picture(seed, size), made, aligned_mark())
    return made.rename(path)


def astronaut() -> Image.Image:
    """A photograph with one face."""
    return Image.fromarray(pytest.importorskip("skimage.data").astronaut())


def two_faces(path: str) -> Image.Image:
    """Write a photo with a small face on the left and a larger one on the right."""
    both = Image.new("RGB", (620, 320), "grey")
    both.paste(astronaut().resize((256, 256)), (10, 30))
    both.paste(astronaut().resize((320, 320)), (300, 0))
    both.save(path)
    return both


def as_json(result: Result) -> dict[str, Any]:
    """What a command printed with --json."""
    return json.loads(result.stdout)


def statuses(result: Result) -> dict[str, str]:
    """The status of each input."""
    return {image["input"]: image["status"] for image in as_json(result)["images"]}


def files(folder: str | Path = "restyle-out/invert") -> list[str]:
    """The files below a folder, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())
