"""Paste a generated crop into its photo."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from restyle_cli.align import Quad, crop_quad, mapped, matrix_of
from restyle_cli.align.paste import paste

QUAD: Quad = ((60.3, 50.2), (70.1, 150.4), (170.3, 140.6), (160.5, 40.4))  # about 101 px wide, turned by 6 degrees
LEAVING: Quad = ((-30.5, -20.5), (-30.5, 99.5), (89.5, 99.5), (89.5, -20.5))


def photo(width: int = 240, height: int = 200, seed: int = 0) -> Image.Image:
    """Soft colours."""
    small = np.random.default_rng(seed).integers(60, 200, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def depth_in(quad: Quad, image: Image.Image) -> np.ndarray:
    """How far each pixel [H, W] is inside the quad, in parts of its side; below 0 outside."""
    x, y = np.meshgrid(np.arange(image.width), np.arange(image.height))
    places = mapped(np.stack([x, y], axis=-1), matrix_of(quad, 1)) + 0.5
    return np.minimum(places, 1 - places).min(axis=-1)


def values(image: Image.Image) -> np.ndarray:
    return np.asarray(image, float)


@pytest.mark.parametrize("quad", [QUAD, LEAVING])
def test_only_the_crop_changes(quad: Quad) -> None:
    old, new = photo(), Image.new("RGB", (64, 64), (250, 10, 10))
    pasted = paste(old, new, quad)
    depth = depth_in(quad, old)
    assert np.array_equal(values(pasted)[depth < 0], values(old)[depth < 0])
    assert np.abs(values(pasted)[depth > 0.32] - (250, 10, 10)).max() <= 1  # no colour is matched there
    assert (depth > 0.32).sum() > 500


def test_any_image_fades_at_the_edge() -> None:
    old, new = photo(), Image.effect_noise((128, 128), 100).convert("RGB")
    depth = depth_in(QUAD, old)
    change = np.abs(values(paste(old, new, QUAD)) - values(old)).max(axis=-1)
    assert change[(depth > 0) & (depth < 0.004)].max() <= 3  # of 255; 0.5 % of the image shows there
    assert change[depth > 0.2].mean() > 30


def test_colours_are_matched_to_the_photo_at_the_edge() -> None:
    """An image darker than its photo: there is no difference along the edge, and all of it in the middle."""
    old = Image.new("RGB", (240, 200), (180, 140, 120))
    pasted, depth = values(paste(old, Image.new("RGB", (128, 128), (140, 120, 110)), QUAD)), depth_in(QUAD, old)
    assert np.abs(pasted[(depth > 0.02) & (depth < 0.06)] - (180, 140, 120)).max() <= 7  # of 40
    assert np.abs(pasted[depth > 0.35] - (140, 120, 110)).max() <= 1
    steps = np.abs(np.diff(pasted, axis=1)).max()
    assert steps <= 4  # 40 levels over 24 pixels, nowhere a line


def test_pasting_the_unchanged_crop_changes_little() -> None:
    old = photo()
    for size in (128, 512):
        difference = values(paste(old, crop_quad(old, QUAD, size), QUAD)) - values(old)
        assert np.sqrt((difference**2).mean()) < 1
        assert np.abs(difference).max() <= 3


def test_a_finer_image_is_not_aliased() -> None:
    fine = Image.effect_noise((1024, 1024), 60).convert("RGB")  # ten of its pixels are one of the photo's
    middle = values(paste(photo(), fine, QUAD))[depth_in(QUAD, photo()) > 0.35]
    assert middle.std() < 60 / 4  # averages of 5x5 pixels; single ones would have 60


def test_a_quad_that_is_the_whole_photo_gives_the_image() -> None:
    old, new = photo(100, 100), photo(64, 64, seed=1)
    whole: Quad = ((-0.5, -0.5), (-0.5, 99.5), (99.5, 99.5), (99.5, -0.5))
    assert np.array_equal(values(paste(old, new, whole)), values(new.resize((100, 100), Image.Resampling.BICUBIC)))


def test_no_fading_at_the_border_of_the_photo() -> None:
    old, new = Image.new("RGB", (300, 100), "white"), Image.new("RGB", (64, 64), "black")
    middle: Quad = ((99.5, -0.5), (99.5, 99.5), (199.5, 99.5), (199.5, -0.5))  # from the upper to the lower border
    column = values(paste(old, new, middle))[:, 150, 0]
    assert column[50] == 0
    row = values(paste(old, new, middle))[50, :, 0]
    assert row[100] > 250
    assert row[150] == 0


def test_grey_and_transparency_are_kept() -> None:
    new = photo(64, 64, seed=1)
    grey = paste(photo().convert("L"), new, QUAD)
    assert grey.mode == "L"
    colour = values(paste(photo().convert("L").convert("RGB"), new.convert("L").convert("RGB"), QUAD))
    assert np.abs(values(grey) - colour[..., 0]).max() <= 1
    clear = photo().convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    pasted = paste(clear, new, QUAD)
    assert pasted.mode == "RGBA"
    assert np.array_equal(pasted.getchannel("A"), clear.getchannel("A"))
    assert np.array_equal(values(pasted)[..., :3], values(paste(photo(), new, QUAD)))


def test_large_photos_are_pasted_into_in_parts_without_a_seam() -> None:
    old, new = photo(), photo(64, 64, seed=1)
    tall = Image.new("RGB", (240, 600))
    tall.paste(old, (0, 150))
    lower = tuple((x, y + 150) for x, y in QUAD)  # from row 190 to 300, across the first part of 256 rows
    difference = values(paste(tall, new, lower).crop((0, 150, 240, 350))) - values(paste(old, new, QUAD))
    assert np.abs(difference).max() <= 1  # positions are rounded to 1/32 px


def test_other_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="CMYK"):
        paste(photo().convert("CMYK"), photo(), QUAD)
