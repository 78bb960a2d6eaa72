"""The mark of `restyle align` is valid only for the pixels that it was written with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

import restyle_cli
from restyle_cli.align import aligned_mark
from restyle_cli.api import align
from restyle_cli.errors import RestyleError
from restyle_cli.images import MARK, open_image, save_image


def crop() -> Image.Image:
    """A square without a face, which fits only by its mark."""
    small = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    return Image.fromarray(small).resize((64, 64), Image.Resampling.NEAREST)


def save_again(image: Image.Image, path: Path, texts: dict[str, str], **options: object) -> None:
    """Save as programs do that keep the text chunks of a PNG."""
    chunks = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        chunks.add_text(key, text)
    image.save(path, pnginfo=chunks, **options)


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    save_image(crop(), tmp_path / "crop.png", aligned_mark())
    return tmp_path / "crop.png"


def texts_of(path: Path) -> dict[str, str]:
    with Image.open(path) as image:
        image.load()
        return dict(image.text)


def test_an_unchanged_crop_fits(marked: Path) -> None:
    assert MARK in open_image(marked).info
    assert align(marked, size=64).how == "fits"


def test_the_example_of_the_readme_fits() -> None:
    example = Path(restyle_cli.__file__).parent / "examples/portrait.png"
    assert MARK in open_image(example).info


def one_pixel(image: Image.Image) -> Image.Image:
    image.putpixel((5, 5), (1, 2, 3))
    return image


CHANGES = {
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "mirrored": ImageOps.mirror,
    "padded": lambda image: ImageOps.expand(image, (64, 0), "white"),
    "cropped": lambda image: image.crop((0, 0, 60, 60)),
    "shrunk": lambda image: image.resize((32, 32)),
    "inverted": ImageOps.invert,
    "grey": lambda image: image.convert("L"),
    "one pixel": one_pixel,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_crop_does_not_fit(marked: Path, change: str) -> None:
    save_again(CHANGES[change](crop()), marked, texts_of(marked))
    assert open_image(marked).info == {}
    with pytest.raises(RestyleError, match="no face"):
        align(marked, size=64)


def test_a_crop_turned_by_its_exif(marked: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save_again(crop(), marked, texts_of(marked), exif=exif)
    assert MARK not in open_image(marked).info


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_crop_stored_another_way_still_fits(marked: Path, mode: str) -> None:
    save_again(crop().convert(mode), marked, texts_of(marked), compress_level=1)
    assert MARK in open_image(marked).info


def test_a_mark_without_a_checksum_is_ignored(marked: Path) -> None:
    save_again(crop(), marked, {MARK: texts_of(marked)[MARK]})
    assert open_image(marked).info == {}


def test_from_the_command(
    marked: Path, tmp_path: Path, tiny_store: Path, restyle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert restyle("invert", marked, "-n", 1, "-o", "out").exit_code == 0
    save_again(crop().rotate(90), marked, texts_of(marked))
    done = restyle("invert", marked, "-n", 1, "-o", "out")
    assert done.exit_code == 1
    assert "no face found" in done.stderr
