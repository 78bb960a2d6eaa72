import errno
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restyle_cli.errors import RestyleError
from restyle_cli.images import (
    fit,
    open_image,
    save_image,
    to_image,
    to_tensor,
)

RED, DARK = (250, 0, 0), (10, 20, 30)


@pytest.fixture
def flag() -> Image.Image:
    """40x20, left half red, right half dark."""
    picture = Image.new("RGB", (40, 20), DARK)
    picture.paste(RED, (0, 0, 20, 20))
    return picture


def near(pixel: tuple[int, ...], expected: tuple[int, ...], within: int = 4) -> bool:
    return max(abs(a - b) for a, b in zip(pixel, expected, strict=True)) <= within


# --- opening: modes


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
def test_formats(tmp_path, flag, suffix):
    flag.save(tmp_path / f"x.{suffix}")
    picture = open_image(tmp_path / f"x.{suffix}")
    assert (picture.mode, picture.size) == ("RGB", (40, 20))
    assert near(picture.getpixel((3, 3)), RED)
    assert near(picture.getpixel((36, 16)), DARK)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_turns_the_picture_once(tmp_path, flag, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter to the right
    flag.save(tmp_path / f"x.{suffix}", exif=exif)
    picture = open_image(tmp_path / f"x.{suffix}")
    assert picture.size == (20, 40)
    assert near(picture.getpixel((3, 3)), RED)
    assert near(picture.getpixel((16, 36)), DARK)


def test_damaged_exif_does_not_cost_the_picture(tmp_path, flag):
    flag.save(tmp_path / "x.jpg", exif=b"Exif\0\0rubbish that is none")
    assert open_image(tmp_path / "x.jpg").size == (40, 20)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_keeps_its_greys(tmp_path, suffix):
    ramp = np.tile(np.linspace(0, 65535, 256).round().astype(np.uint16), (16, 1))
    Image.fromarray(ramp).save(tmp_path / f"x.{suffix}")
    assert np.array_equal(np.asarray(open_image(tmp_path / f"x.{suffix}"))[0, :, 1], np.arange(256))


def test_fractions_are_read_from_0_to_1(tmp_path):
    Image.fromarray(np.full((16, 16), 0.5, np.float32)).save(tmp_path / "x.tif")
    assert open_image(tmp_path / "x.tif").getpixel((0, 0)) == (128, 128, 128)


def test_transparency_lies_on_white(tmp_path):
    Image.new("RGBA", (16, 16), (255, 0, 0, 128)).save(tmp_path / "half.png")
    Image.new("LA", (16, 16), (0, 0)).save(tmp_path / "grey.png")
    assert open_image(tmp_path / "half.png").getpixel((0, 0)) == (255, 127, 127)
    assert open_image(tmp_path / "grey.png").getpixel((0, 0)) == (255, 255, 255)


def test_palettes(tmp_path, flag):
    palette = flag.quantize(4)
    palette.save(tmp_path / "plain.png")
    palette.save(tmp_path / "clear.png", transparency=palette.getpixel((0, 0)))
    assert near(open_image(tmp_path / "plain.png").getpixel((3, 3)), RED)
    assert open_image(tmp_path / "clear.png").getpixel((3, 3)) == (255, 255, 255)
    assert near(open_image(tmp_path / "clear.png").getpixel((36, 16)), DARK)


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(tmp_path, mode):
    Image.new("RGB", (16, 16), "white").convert(mode).save(tmp_path / "x.tif")
    picture = open_image(tmp_path / "x.tif")
    assert (picture.mode, picture.getpixel((8, 8))) == ("RGB", (255, 255, 255))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame(tmp_path, flag, suffix):
    later = Image.new("RGB", flag.size, "blue")
    flag.save(tmp_path / f"x.{suffix}", save_all=True, append_images=[later, later])
    assert near(open_image(tmp_path / f"x.{suffix}").getpixel((3, 3)), RED)


# --- opening: what cannot be opened


def refusal(path: Path) -> RestyleError:
    with pytest.raises(RestyleError) as caught:
        open_image(path)
    assert path.name in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def test_a_missing_file(tmp_path):
    assert "no file" in refusal(tmp_path / "x.jpg").message


def test_a_text_called_jpg(tmp_path):
    (tmp_path / "x.jpg").write_text("dear diary")
    assert "is not an image" in refusal(tmp_path / "x.jpg").message


def test_programs_in_a_picture_are_not_run(tmp_path):
    (tmp_path / "x.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n")
    assert "is not an image" in refusal(tmp_path / "x.jpg").message


def test_an_empty_file(tmp_path):
    (tmp_path / "x.jpg").touch()
    assert "is empty" in refusal(tmp_path / "x.jpg").message


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_file_that_is_cut_off(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(noise).save(whole)
    (tmp_path / f"x.{suffix}").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    message = refusal(tmp_path / f"x.{suffix}").message
    assert "cut off" in message or "damaged" in message or "not a picture" in message
    assert suffix != "jpg" or "cut off" in message


def test_a_single_pixel(tmp_path):
    Image.new("RGB", (1, 1)).save(tmp_path / "x.png")
    assert "too small: 1x1" in refusal(tmp_path / "x.png").message


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a picture of that size, and ends before its pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def test_an_enormous_picture_is_refused_before_it_is_decoded(tmp_path):
    (tmp_path / "x.png").write_bytes(png_header(20000, 20000))
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "too large: 20000x20000" in refusal(tmp_path / "x.png").message
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_large_picture_below_the_bound_is_decoded_without_a_warning(tmp_path):
    (tmp_path / "x.png").write_bytes(png_header(9500, 9500))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "cut off" in refusal(tmp_path / "x.png").message


def test_a_file_without_permission(tmp_path, flag, monkeypatch):
    flag.save(tmp_path / "x.png")

    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    error = refusal(tmp_path / "x.png")
    assert "permission denied" in error.message
    assert "chmod" in error.hint


# --- tensors


def test_to_tensor_and_back_keeps_every_level():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = to_tensor(Image.fromarray(np.stack([levels, levels.T, 255 - levels], axis=-1)))
    assert image.shape == (3, 16, 16)
    assert (image.min().item(), image.max().item()) == (-1, 1)
    assert image[0, 0, 1] == pytest.approx((1 / 255 - 0.5) / 0.5)
    back = np.asarray(to_image(image + 1e-5))  # fractions are cut off: a touch more keeps the level
    assert np.array_equal(back[..., 0], levels)
    assert np.array_equal(back[..., 2], 255 - levels)


def test_to_tensor_resizes_with_pillows_filter(flag):
    noise = Image.effect_noise((60, 90), 80).convert("RGB")
    expected = np.asarray(noise.resize((20, 30), Image.Resampling.BILINEAR)) / 127.5 - 1
    assert np.allclose(to_tensor(noise, (30, 20)).permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_to_picture_clips_and_cuts_off():
    image = torch.tensor([-3.0, 3.0, 2 * 127.9 / 255 - 1]).reshape(3, 1, 1)
    assert to_image(image).getpixel((0, 0)) == (0, 255, 127)


def test_fit_averages_when_smaller_and_interpolates_when_larger():
    image = torch.randn(2, 3, 8, 8)
    assert fit(image, (8, 8)) is image
    assert torch.allclose(fit(image, (4, 4)), image.reshape(2, 3, 4, 2, 4, 2).mean(dim=(3, 5)), atol=1e-6)
    larger = torch.nn.functional.interpolate(image, (16, 16), mode="bilinear", align_corners=False)
    assert torch.equal(fit(image, (16, 16)), larger)
    assert fit(image, (4, 16)).shape == (2, 3, 4, 16)
    assert torch.allclose(fit(torch.ones(1, 3, 6, 8), (9, 5)), torch.ones(1, 3, 9, 5))


# --- writing


def test_a_picture_is_written_with_its_text(tmp_path, flag):
    save_image(flag, tmp_path / "new/folder/x.png", {"restyle": '{"frame": "ffhq"}', "other": "é"})
    picture = open_image(tmp_path / "new/folder/x.png")
    assert np.array_equal(np.asarray(picture), np.asarray(flag))
    assert picture.info == {"restyle": '{"frame": "ffhq"}'}
    assert [path.name for path in (tmp_path / "new/folder").iterdir()] == ["x.png"]


def test_text_needs_a_png_and_a_suffix_is_needed(tmp_path, flag):
    with pytest.raises(ValueError, match="PNG"):
        save_image(flag, tmp_path / "x.jpg", {"restyle": "{}"})
    with pytest.raises(RestyleError, match=r"x\.xyz"):
        save_image(flag, tmp_path / "x.xyz")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, flag, monkeypatch):
    (tmp_path / "x.png").write_bytes(b"old")

    def half(self, path, **options):
        Path(path).write_bytes(b"ha")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(RestyleError, match=r"cannot write .*x\.png': no space left on device") as caught:
        save_image(flag, tmp_path / "x.png")
    assert "--output" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == b"old"


def test_a_folder_that_is_a_file_is_one_clear_error(tmp_path, flag):
    (tmp_path / "out").write_bytes(b"x")
    with pytest.raises(RestyleError, match="cannot write"):
        save_image(flag, tmp_path / "out/x.png")
    with pytest.raises(RestyleError, match="cannot write"):
        save_image(flag, tmp_path / "out/sub/x.png")
    assert (tmp_path / "out").read_bytes() == b"x"
