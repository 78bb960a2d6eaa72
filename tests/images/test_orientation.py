"""The Orientation is read wherever it is stored, and no other metadata matters."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features
from tiff import ASCII, BYTE, FLOAT, LONG, ORIENTATION, RATIONAL, SHORT, SRATIONAL, directory, head, long, short

from restyle_cli.images import TURNED, open_image, open_original

X_RESOLUTION, SOFTWARE, FLASH = 0x011A, 0x0131, 0x9209
SIZE = (40, 24)


def exif(*entries: tuple[int, int, bytes], order: str = "<") -> bytes:
    return b"Exif\0\0" + head(order) + directory(*entries, order=order)


SIX = (ORIENTATION, SHORT, short(6))
ON_ITS_SIDE = {
    "plain": exif(SIX),
    "big-endian": exif((ORIENTATION, SHORT, short(6, order=">")), order=">"),
    "a rational without a value": exif(SIX, (X_RESOLUTION, SRATIONAL, struct.pack("<2i", -1, 0))),
    "NaN": exif(SIX, (X_RESOLUTION, FLOAT, struct.pack("<f", float("nan")))),
    "a long instead of a short": exif(SIX, (FLASH, LONG, long(70000))),
    "text instead of a short": exif(SIX, (FLASH, ASCII, b"none\0")),
    "a tag of unknown type": exif(SIX, (SOFTWARE, 77, b"abcd")),
    "a tag beyond the end": exif(SIX)[:14] + exif(SIX, (SOFTWARE, ASCII, bytes(9)))[14:40],
    "as long": exif((ORIENTATION, LONG, long(6))),
    "as text": exif((ORIENTATION, ASCII, b"6\0")),
    "as byte": exif((ORIENTATION, BYTE, b"\6")),
    "as rational": exif((ORIENTATION, RATIONAL, long(6, 1))),
    "as float": exif((ORIENTATION, FLOAT, struct.pack("<f", 6))),
    "twice": exif((ORIENTATION, SHORT, short(6, 6))),
}
UPRIGHT = {
    "out of range": exif((ORIENTATION, SHORT, short(9))),
    "zero": exif((ORIENTATION, SHORT, short(0))),
    "no number": exif((ORIENTATION, ASCII, b"up\0")),
    "infinite": exif((ORIENTATION, FLOAT, struct.pack("<f", float("inf")))),
    "divided by zero": exif((ORIENTATION, RATIONAL, long(6, 0))),
    "empty": exif(),
    "rubbish": b"Exif\0\0rubbish that is none",
}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description %s></x:xmpmeta>'
EXACT: dict[str, dict[str, object]] = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}


@pytest.fixture
def photo() -> Image.Image:
    """Coarse blocks, so that JPEG keeps them."""
    blocks = np.random.default_rng(0).integers(0, 255, (3, 5, 3), np.uint8)
    return Image.fromarray(blocks).resize(SIZE, Image.Resampling.NEAREST)


def assert_shown(path: Path, stored: Image.Image, turned: bool) -> None:
    right = np.rot90(stored, -1) if turned else np.asarray(stored)
    for read in (open_image(path), open_original(path)):
        assert read.size == right.shape[1::-1]
        assert np.abs(np.asarray(read, int) - right).mean() < 3
        assert read.info.get(TURNED, False) is turned


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("how", [*ON_ITS_SIDE, *UPRIGHT])
def test_exif(tmp_path: Path, photo: Image.Image, how: str, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    photo.save(path, exif=(ON_ITS_SIDE | UPRIGHT)[how], **EXACT.get(suffix, {}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow warns of most of these
        assert_shown(path, photo, turned=how in ON_ITS_SIDE)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations(tmp_path: Path, photo: Image.Image, orientation: int, suffix: str) -> None:
    right = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90,
    }[orientation](np.asarray(photo))
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    photo.save(tmp_path / f"x.{suffix}", exif=tags, **EXACT.get(suffix, {}))
    read = open_image(tmp_path / f"x.{suffix}")
    assert np.abs(np.asarray(read, int) - right).mean() < 3
    assert (TURNED in read.info) is (orientation > 1)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize(("kind", "value"), [(SHORT, short(6)), (SHORT, short(6, 6)), (LONG, long(6)), (BYTE, b"\6")])
def test_tags_of_a_tiff(tmp_path: Path, photo: Image.Image, kind: int, value: bytes, compression: str) -> None:
    """Also with a resolution of 7 / 0."""
    photo.save(tmp_path / "x.tif", compression=compression, tiffinfo={ORIENTATION: 6, X_RESOLUTION: 7})
    data = (tmp_path / "x.tif").read_bytes()
    entry = struct.pack("<HHL", ORIENTATION, SHORT, 1) + short(6) + b"\0\0"
    assert (data.count(entry), data.count(long(7, 1))) == (1, 1)
    count = 2 if len(value) == 4 and kind == SHORT else 1
    changed = struct.pack("<HHL", ORIENTATION, kind, count) + value.ljust(4, b"\0")
    (tmp_path / "x.tif").write_bytes(data.replace(entry, changed).replace(long(7, 1), long(7, 0)))
    assert_shown(tmp_path / "x.tif", photo, turned=True)


@pytest.mark.parametrize("text", [b'tiff:Orientation="6"/>', b"><tiff:Orientation>6</tiff:Orientation>"])
@pytest.mark.parametrize("other", [None, "out of range", "rubbish"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_xmp_counts_if_exif_has_no_orientation(
    tmp_path: Path, photo: Image.Image, text: bytes, other: str | None, suffix: str
) -> None:
    path = tmp_path / f"x.{suffix}"
    options: dict[str, object] = {"exif": UPRIGHT[other]} if other else {}
    if suffix == "png":
        options["pnginfo"] = chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", (XMP % text).decode())
    elif suffix == "tif":
        options = {"tiffinfo": {700: XMP % text}}
    else:
        options["xmp"] = XMP % text
    photo.save(path, **options, **EXACT.get(suffix, {}))
    assert_shown(path, photo, turned=True)


def test_exif_comes_before_xmp(tmp_path: Path, photo: Image.Image) -> None:
    upright = exif((ORIENTATION, SHORT, short(1)))
    photo.save(tmp_path / "x.jpg", exif=upright, xmp=XMP % b'tiff:Orientation="6"/>', **EXACT["jpg"])
    assert_shown(tmp_path / "x.jpg", photo, turned=False)


def test_a_png_may_have_its_exif_last(tmp_path: Path, photo: Image.Image) -> None:
    photo.save(tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    content = b"eXIf" + ON_ITS_SIDE["a rational without a value"][6:]
    chunk = struct.pack(">L", len(content) - 4) + content + struct.pack(">L", zlib.crc32(content))
    (tmp_path / "x.png").write_bytes(data[:-12] + chunk + data[-12:])
    assert_shown(tmp_path / "x.png", photo, turned=True)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_an_avif_with_invalid_exif(tmp_path: Path, photo: Image.Image) -> None:
    """It stores the rotation beside its EXIF."""
    tags = Image.Exif()
    tags[ORIENTATION], tags[X_RESOLUTION] = 6, 7.0
    photo.save(tmp_path / "x.avif", exif=tags, quality=100, subsampling="4:4:4")
    data = (tmp_path / "x.avif").read_bytes()
    for good, odd in (
        (struct.pack(">HH", X_RESOLUTION, RATIONAL), struct.pack(">HH", X_RESOLUTION, SRATIONAL)),
        (struct.pack(">2L", 7, 1), struct.pack(">2l", -1, 0)),
    ):
        assert data.count(good) == 1
        data = data.replace(good, odd)
    (tmp_path / "odd.avif").write_bytes(data)
    assert open_image(tmp_path / "odd.avif").size == SIZE[::-1]
    assert np.array_equal(open_image(tmp_path / "odd.avif"), open_image(tmp_path / "x.avif"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "F"])
def test_every_mode_is_turned(tmp_path: Path, photo: Image.Image, mode: str) -> None:
    levels = np.asarray(photo.convert("L"))
    deep = {"I;16": levels.astype(np.uint16) * 257, "F": levels.astype(np.float32) / 255}
    stored = Image.fromarray(deep[mode]) if mode in deep else photo.convert(mode)
    stored.save(tmp_path / "x.tif", tiffinfo={ORIENTATION: 1})
    right = np.rot90(open_image(tmp_path / "x.tif"), -1)
    stored.save(tmp_path / "x.tif", tiffinfo={ORIENTATION: 6})
    assert np.array_equal(open_image(tmp_path / "x.tif"), right)


def test_masks_and_pasted_images_are_turned_like_the_photo(
    tmp_path: Path, tiny_store: Path, restyle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = ON_ITS_SIDE["a rational without a value"]
    Image.linear_gradient("L").resize((96, 64)).convert("RGB").save("x.jpg", exif=odd, quality=95)
    mask = Image.new("L", (96, 64), 255)
    mask.paste(0, (0, 0, 48, 64))
    mask.save("mask.jpg", exif=odd)
    command = ("invert", "x.jpg", "-m", "image2stylegan++-portrait", "-n", 1, "--align", "never")
    done = restyle(*command, "--mask", "mask.jpg", "--paste-back", "-o", "out")
    assert done.exit_code == 0, done.stderr
    assert Image.open("out/x.pasted.png").size == (64, 96)
