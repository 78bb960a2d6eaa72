"""Formats, files that were cut off, and what their libraries print."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from restyle_cli.errors import RestyleError, RestyleWarning
from restyle_cli.images import open_image
from restyle_cli.run.sources import find_images


def photo(width: int = 96, height: int = 80) -> Image.Image:
    small = np.random.default_rng(0).integers(0, 255, (10, 12, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


# --- formats


@pytest.mark.parametrize("name", ["x.ppm", "x.PPM", "x.pnm", "x.tga", "x.TGA", "x.jp2", "x.j2k", "x.JP2", "x.jpe"])
def test_colour_formats(tmp_path: Path, name: str) -> None:
    if "j" in name.lower() and not features.check("jpg_2000"):
        pytest.skip("this Pillow reads no JPEG 2000")
    photo().save(tmp_path / name, quality=100) if name == "x.jpe" else photo().save(tmp_path / name)
    assert [source.path.name for source in find_images([tmp_path])] == [name]
    assert np.abs(np.asarray(open_image(tmp_path / name), int) - np.asarray(photo())).mean() < 2


@pytest.mark.parametrize(("suffix", "mode"), [("pgm", "L"), ("pbm", "1"), ("pfm", "F"), ("tga", "RGBA"), ("jp2", "LA")])
def test_other_modes_of_these_formats(tmp_path: Path, suffix: str, mode: str) -> None:
    stored = photo().convert(mode)
    right = stored.convert("L")
    if mode == "F":
        stored = Image.fromarray(np.asarray(stored) / 255)
    stored.save(tmp_path / f"x.{suffix}")
    assert len(find_images([tmp_path])) == 1
    assert np.abs(np.asarray(open_image(tmp_path / f"x.{suffix}").convert("L"), int) - np.asarray(right)).max() <= 1


@pytest.mark.parametrize("suffix", ["ppm", "pgm", "pfm", "tga", "jp2", "j2k", "tif", "bmp", "gif"])
def test_none_of_them_is_read_in_half(tmp_path: Path, suffix: str) -> None:
    image = photo().convert({"pgm": "L", "pfm": "F"}.get(suffix, "RGB"))
    image.save(tmp_path / f"x.{suffix}")
    data = (tmp_path / f"x.{suffix}").read_bytes()
    for part in (0.5, 0.9):
        (tmp_path / f"x.{suffix}").write_bytes(data[: int(len(data) * part)])
        with pytest.raises(RestyleError, match=rf"x\.{suffix}"):
            open_image(tmp_path / f"x.{suffix}")


@pytest.mark.parametrize(
    "head", [b"P6 20000 20000 255\n", struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 20000, 20000, 24, 0)]
)
def test_they_have_the_same_limit_of_size(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / ("x.ppm" if head[:1] == b"P" else "x.tga")
    path.write_bytes(head)
    with pytest.raises(RestyleError, match="too large: 20000x20000"):
        open_image(path)


def test_a_tiff_of_doubles_has_it_too(tmp_path: Path) -> None:
    tags = [(256, 20000), (257, 20000), (258, 64), (259, 1), (262, 1), (273, 8), (277, 1), (279, 8), (339, 3)]
    directory = b"".join(struct.pack("<HHLL", number, 4, 1, value) for number, value in tags)
    (tmp_path / "x.tif").write_bytes(b"II*\0" + struct.pack("<LH", 8, len(tags)) + directory + bytes(4))
    with pytest.raises(RestyleError, match="too large: 20000x20000"):
        open_image(tmp_path / "x.tif")


def test_only_what_is_called_so_is_a_tga(tmp_path: Path) -> None:
    """It has no magic number: icons would be read as one."""
    data = encoded(photo(), "TGA")
    (tmp_path / "x.tga").write_bytes(data)
    (tmp_path / "x").write_bytes(data)
    (tmp_path / "x.jpg").write_bytes(data)
    assert open_image(tmp_path / "x.tga").size == open_image(tmp_path / "x").size == (96, 80)
    with pytest.raises(RestyleError, match="is not an image"):
        open_image(tmp_path / "x.jpg")


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"hevc"])
@pytest.mark.parametrize("name", ["x.jpg", "x.heic", "x"])
def test_heic_is_known_by_its_content(tmp_path: Path, name: str, brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(60))
    with pytest.raises(RestyleError, match="is not an image") as caught:
        open_image(tmp_path / name)
    assert "pip install pillow-heif" in caught.value.hint


def test_other_content_gets_the_list_of_formats(tmp_path: Path) -> None:
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypisom" + bytes(60))
    with pytest.raises(RestyleError) as caught:
        open_image(tmp_path / "x.heic")
    assert "PPM" in caught.value.hint and "JPEG 2000" in caught.value.hint


# --- JPEGs that end early

KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "without subsampling": {"subsampling": 0, "quality": 97},
    "with restarts": {"restart_marker_blocks": 3},
    "optimised": {"optimize": True, "quality": 60},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("end", [b"", b"\xff", bytes(512), b"\xff" * 512, b"\r\n"])
def test_without_the_end_marker_all_pixels_are_read(tmp_path: Path, kind: str, mode: str, end: bytes) -> None:
    data = encoded(photo().convert(mode), "JPEG", **KINDS[kind])
    (tmp_path / "whole.jpg").write_bytes(data)
    (tmp_path / "x.jpg").write_bytes(data[:-2] + end)
    with pytest.warns(RestyleWarning, match=r"x\.jpg' has no end marker") as caught:
        read = open_image(tmp_path / "x.jpg")
    assert len(caught) == 1
    assert np.array_equal(read, open_image(tmp_path / "whole.jpg"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [b"", bytes(512), b"\xff" * 512, b"\xff\xd9"])
def test_missing_pixels_are_never_made_up(tmp_path: Path, kind: str, end: bytes) -> None:
    data = encoded(photo(), "JPEG", **KINDS[kind])
    if kind == "progressive" and end == b"\xff\xd9":
        pytest.skip("scans that are missing are detail, and the file says that it is whole")
    for missing in (6, 12, 40, len(data) // 10, len(data) // 2)[3 if end == b"\xff\xd9" else 0 :]:
        (tmp_path / "x.jpg").write_bytes(data[:-missing] + end)
        with pytest.raises(RestyleError, match=r"x\.jpg' is cut off"):
            open_image(tmp_path / "x.jpg")


def test_a_progressive_file_without_its_last_scans_is_cut_off(tmp_path: Path) -> None:
    data = encoded(photo(), "JPEG", progressive=True)
    scans = [i for i in range(len(data)) if data[i : i + 2] == b"\xff\xda"]
    for start in scans[1:]:
        (tmp_path / "x.jpg").write_bytes(data[:start])
        with pytest.raises(RestyleError, match="cut off"):
            open_image(tmp_path / "x.jpg")


def test_grey_in_the_corner_is_no_missing_pixel(tmp_path: Path) -> None:
    grey = Image.new("RGB", (96, 80), (128, 128, 128))
    grey.paste(photo(40, 40), (0, 0))
    for trailer in (b"", b"what a phone adds"):
        (tmp_path / "x.jpg").write_bytes(encoded(grey, "JPEG") + trailer)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert open_image(tmp_path / "x.jpg").size == (96, 80)


def test_it_is_turned_as_well(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "x.jpg").write_bytes(encoded(photo(), "JPEG", exif=exif)[:-2])
    with pytest.warns(RestyleWarning):
        assert open_image(tmp_path / "x.jpg").size == (80, 96)


# --- what libraries print

_READ = "import sys; from restyle_cli.images import open_image; open_image(sys.argv[1])"


def printed(path: Path) -> str:
    """All that a process writes to standard error when it reads this image, its C libraries too."""
    return subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True).stderr


def test_pillow_and_libtiff_print_nothing(tmp_path: Path) -> None:
    two = b"Exif\0\0II*\0" + struct.pack("<LHHHLHHL", 8, 1, 0x0112, 3, 2, 1, 1, 0)
    (tmp_path / "twice.jpg").write_bytes(encoded(photo(), "JPEG", exif=two))
    with_warning = bytearray(encoded(photo(), "TIFF", compression="tiff_lzw"))
    with_warning[4:8] = struct.pack("<L", len(with_warning))  # a directory with a tag that nobody knows, out of order
    original = encoded(photo(), "TIFF", compression="tiff_lzw")
    (start,) = struct.unpack_from("<L", original, 4)
    (count,) = struct.unpack_from("<H", original, start)
    entries = original[start + 2 : start + 2 + 12 * count]
    unknown = struct.pack("<HHLL", 65000, 3, 1, 1)
    with_warning += struct.pack("<H", count + 1) + unknown + entries + bytes(4)
    (tmp_path / "unknown.tif").write_bytes(bytes(with_warning))
    for name in ("twice.jpg", "unknown.tif"):
        assert printed(tmp_path / name) == ""


def test_damage_in_a_tiff_is_one_line(
    tmp_path: Path, tiny_store: Path, restyle: Callable, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(encoded(photo(), "TIFF", compression="jpeg"))
    data[700:740] = b"\xff" * 40
    (tmp_path / "jpeg.tif").write_bytes(data)
    data = bytearray(encoded(photo(), "TIFF", compression="tiff_lzw"))
    data[2000:2100] = b"\xff" * 100
    (tmp_path / "lzw.tif").write_bytes(data)
    for name in ("jpeg.tif", "lzw.tif"):
        done = restyle("align", tmp_path / name, "--align", "never", "-o", tmp_path / "out")
        lines = [line for line in done.stderr.splitlines() if name in line]
        assert len(lines) == 1
        assert lines[0].startswith(("error: ", "warning: "))
        assert "damaged" in lines[0]
    assert capfd.readouterr().err == ""


def test_settings_of_pillow_are_as_before(tmp_path: Path) -> None:
    from PIL import ImageFile, TiffImagePlugin

    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, TiffImagePlugin.OPEN_INFO, Image.Exif.tobytes)
    photo().save(tmp_path / "x.png")
    open_image(tmp_path / "x.png")
    (tmp_path / "y.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(RestyleError):
        open_image(tmp_path / "y.png")
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, TiffImagePlugin.OPEN_INFO, Image.Exif.tobytes)
    assert after == before


def test_the_command_says_it_once(
    tmp_path: Path, tiny_store: Path, restyle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the photo is read a second time to paste into it."""
    monkeypatch.chdir(tmp_path)
    Path("x.jpg").write_bytes(encoded(photo(), "JPEG")[:-2])
    done = restyle("invert", "x.jpg", "-n", 1, "--align", "never", "--paste-back", "-o", "out")
    assert done.exit_code == 0
    assert done.stderr.count("warning: 'x.jpg' has no end marker") == 1
    assert "RestyleWarning" not in done.stderr
