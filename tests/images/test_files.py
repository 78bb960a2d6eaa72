"""Formats, files that are damaged or no images, and the messages of libraries."""

from __future__ import annotations

import errno
import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin, features
from tiff import LONG, SHORT, directory, head, long, short

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


def refusal(path: Path) -> RestyleError:
    """The error of a file that cannot be read: one line with the name, and a hint."""
    with pytest.raises(RestyleError) as caught:
        open_image(path)
    assert path.name in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


# --- formats

NAMES = ["x.jpg", "x.png", "x.webp", "x.tif", "x.bmp", "x.ppm", "x.PPM", "x.pnm", "x.tga", "x.TGA", "x.jpe"]
NAMES += ["x.jp2", "x.j2k", "x.JP2"] if features.check("jpg_2000") else []


@pytest.mark.parametrize("name", NAMES)
def test_formats(tmp_path: Path, name: str) -> None:
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100}, "jpe": {"quality": 100}}
    photo().save(tmp_path / name, **options.get(name[2:], {}))
    assert [source.path.name for source in find_images([tmp_path])] == [name]
    read = open_image(tmp_path / name)
    assert read.mode == "RGB"
    assert np.abs(np.asarray(read, int) - np.asarray(photo())).mean() < 2


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [("pgm", "L"), ("pbm", "1"), ("pfm", "F"), ("tga", "RGBA"), ("jp2", "LA"), ("png", "P")]
    + [("tif", mode) for mode in ("L", "1", "CMYK", "YCbCr")],
)
def test_other_modes(tmp_path: Path, suffix: str, mode: str) -> None:
    stored = photo().quantize(64) if mode == "P" else photo().convert(mode)
    right = np.asarray(stored.convert("RGB").convert("L"), int)
    if mode == "F":
        stored = Image.fromarray(np.asarray(stored) / 255)
    stored.save(tmp_path / f"x.{suffix}")
    assert len(find_images([tmp_path])) == 1
    read = open_image(tmp_path / f"x.{suffix}")
    assert read.mode == "RGB"
    assert np.abs(np.asarray(read.convert("L"), int) - right).max() <= 1


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame(tmp_path: Path, suffix: str) -> None:
    first, later = Image.new("RGB", (40, 20), "red"), Image.new("RGB", (40, 20), "blue")
    first.save(tmp_path / f"x.{suffix}", save_all=True, append_images=[later, later])
    assert open_image(tmp_path / f"x.{suffix}").getpixel((3, 3))[0] > 250


def test_only_files_named_tga_are_read_as_one(tmp_path: Path) -> None:
    """It has no magic number: icons would be read as one."""
    for name in ("x.tga", "x", "x.jpg"):
        (tmp_path / name).write_bytes(encoded(photo(), "TGA"))
    assert open_image(tmp_path / "x.tga").size == open_image(tmp_path / "x").size == (96, 80)
    assert "is not an image" in refusal(tmp_path / "x.jpg").message


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"hevc"])
@pytest.mark.parametrize("name", ["x.jpg", "x.heic", "x"])
def test_heic_is_known_by_its_content(tmp_path: Path, name: str, brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(60))
    assert "pip install pillow-heif" in str(refusal(tmp_path / name).hint)


# --- refusals

PROGRAM = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n"


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("x.jpg", None, "no file", "check the name"),
        ("x.jpg", b"", "is empty", "again"),
        ("x.jpg", b"dear diary", "is not an image", "JPEG 2000 are read"),
        ("x.heic", b"\0\0\0\x18ftypisom" + bytes(60), "is not an image", "PPM"),
        ("x.jpg", PROGRAM, "is not an image", "JPEG"),  # Pillow would run Ghostscript
        ("x.png", encoded(Image.new("RGB", (1, 1)), "PNG"), "too small: 1x1", "16 pixels"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, name: str, content: bytes | None, message: str, hint: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    error = refusal(tmp_path / name)
    assert message in error.message
    assert hint in str(error.hint)


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo().save(tmp_path / "x.png")

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    error = refusal(tmp_path / "x.png")
    assert "permission denied" in error.message
    assert "chmod" in str(error.hint)


@pytest.mark.parametrize("part", [0.5, 0.9])
@pytest.mark.parametrize(
    "suffix", ["jpg", "png", "webp", "ppm", "pgm", "pfm", "tga", "jp2", "j2k", "tif", "bmp", "gif"]
)
def test_a_file_that_is_cut_off(tmp_path: Path, suffix: str, part: float) -> None:
    photo().convert({"pgm": "L", "pfm": "F"}.get(suffix, "RGB")).save(tmp_path / f"x.{suffix}")
    data = (tmp_path / f"x.{suffix}").read_bytes()
    (tmp_path / f"x.{suffix}").write_bytes(data[: int(len(data) * part)])
    message = refusal(tmp_path / f"x.{suffix}").message
    assert suffix != "jpg" or "cut off" in message


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size that ends before its pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


LARGE_TIFF = {256: 20000, 257: 20000, 258: 64, 259: 1, 262: 1, 273: 8, 277: 1, 279: 8, 339: 3}
LARGE = {
    "x.png": png_header(20000, 20000),
    "x.ppm": b"P6 20000 20000 255\n",
    "x.tga": struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 20000, 20000, 24, 0),
    "x.tif": head() + directory(*((tag, LONG, long(value)) for tag, value in LARGE_TIFF.items())),
}


@pytest.mark.parametrize("name", LARGE)
def test_an_enormous_image_is_refused_before_it_is_decoded(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(LARGE[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "too large: 20000x20000" in refusal(tmp_path / name).message


def test_a_large_image_below_the_limit_is_decoded_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png_header(9500, 9500))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "cut off" in refusal(tmp_path / "x.png").message


# --- JPEGs that end early

KINDS: dict[str, dict[str, object]] = {
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
def test_missing_pixels_are_never_filled_in(tmp_path: Path, kind: str, end: bytes) -> None:
    data = encoded(photo(), "JPEG", **KINDS[kind])
    if kind == "progressive" and end == b"\xff\xd9":
        pytest.skip("only scans with detail are missing, and the file claims to be complete")
    for missing in (6, 12, 40, len(data) // 10, len(data) // 2)[3 if end == b"\xff\xd9" else 0 :]:
        (tmp_path / "x.jpg").write_bytes(data[:-missing] + end)
        assert "x.jpg' is cut off" in refusal(tmp_path / "x.jpg").message


def test_a_progressive_file_without_its_last_scans_is_cut_off(tmp_path: Path) -> None:
    data = encoded(photo(), "JPEG", progressive=True)
    scans = [i for i in range(len(data)) if data[i : i + 2] == b"\xff\xda"]
    for start in scans[1:]:
        (tmp_path / "x.jpg").write_bytes(data[:start])
        assert "cut off" in refusal(tmp_path / "x.jpg").message


@pytest.mark.parametrize("trailer", [b"", b"appended by a phone"])
def test_a_grey_corner_is_not_taken_for_missing_pixels(tmp_path: Path, trailer: bytes) -> None:
    grey = Image.new("RGB", (96, 80), (128, 128, 128))
    grey.paste(photo(40, 40), (0, 0))
    (tmp_path / "x.jpg").write_bytes(encoded(grey, "JPEG") + trailer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(tmp_path / "x.jpg").size == (96, 80)


def test_a_file_without_end_marker_is_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "x.jpg").write_bytes(encoded(photo(), "JPEG", exif=exif)[:-2])
    with pytest.warns(RestyleWarning):
        assert open_image(tmp_path / "x.jpg").size == (80, 96)


def test_the_command_warns_once(
    tmp_path: Path, tiny_store: Path, restyle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photo is read twice with --paste-back."""
    monkeypatch.chdir(tmp_path)
    Path("x.jpg").write_bytes(encoded(photo(), "JPEG")[:-2])
    done = restyle("invert", "x.jpg", "-n", 1, "--align", "never", "--paste-back", "-o", "out")
    assert done.exit_code == 0
    assert done.stderr.count("warning: 'x.jpg' has no end marker") == 1
    assert "RestyleWarning" not in done.stderr


# --- messages of libraries

_READ = "import sys; from restyle_cli.images import open_image; open_image(sys.argv[1])"


def test_pillow_and_libtiff_print_nothing(tmp_path: Path) -> None:
    two = b"Exif\0\0" + head() + directory((0x0112, SHORT, short(1, 1)))
    (tmp_path / "twice.jpg").write_bytes(encoded(photo(), "JPEG", exif=two))
    data = encoded(photo(), "TIFF", compression="tiff_lzw")
    (start,) = struct.unpack_from("<L", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    unknown = struct.pack("<HHHLL", count + 1, 65000, 3, 1, 1)  # a tag that no program knows, out of order
    entries = data[start + 2 : start + 2 + 12 * count]
    (tmp_path / "unknown.tif").write_bytes(data[:4] + long(len(data)) + data[8:] + unknown + entries + bytes(4))
    for name in ("twice.jpg", "unknown.tif"):
        done = subprocess.run([sys.executable, "-c", _READ, str(tmp_path / name)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("compression", "start", "end"), [("jpeg", 700, 740), ("tiff_lzw", 2000, 2100)])
def test_damage_in_a_tiff_is_one_line(
    tmp_path: Path,
    tiny_store: Path,
    restyle: Callable,
    capfd: pytest.CaptureFixture[str],
    compression: str,
    start: int,
    end: int,
) -> None:
    data = bytearray(encoded(photo(), "TIFF", compression=compression))
    data[start:end] = b"\xff" * (end - start)
    (tmp_path / "x.tif").write_bytes(data)
    done = restyle("align", tmp_path / "x.tif", "--align", "never", "-o", tmp_path / "out")
    (line,) = [line for line in done.stderr.splitlines() if "x.tif" in line]
    assert line.startswith(("error: ", "warning: "))
    assert "damaged" in line
    assert capfd.readouterr().err == ""


def test_settings_of_pillow_are_restored(tmp_path: Path) -> None:
    def settings() -> tuple[object, ...]:
        return (
            Image.MAX_IMAGE_PIXELS,
            ImageFile.LOAD_TRUNCATED_IMAGES,
            dict(TiffImagePlugin.OPEN_INFO),
            Image.Exif.tobytes,
        )

    before = settings()
    photo().save(tmp_path / "x.png")
    open_image(tmp_path / "x.png")
    (tmp_path / "y.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    refusal(tmp_path / "y.png")
    assert settings() == before
