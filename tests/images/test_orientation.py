"""Which way up: the Orientation is read from wherever it is stored, and nothing else of the metadata matters."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from restyle_cli.images import TURNED, open_image, open_original

SHORT, LONG, ASCII, RATIONAL, SRATIONAL, FLOAT, BYTE = 3, 4, 2, 5, 10, 11, 1
ORIENTATION, X_RESOLUTION, SOFTWARE, FLASH = 0x0112, 0x011A, 0x0131, 0x9209
SIZE = (40, 24)


def exif(*entries: tuple[int, int, bytes], order: str = "<") -> bytes:
    """A directory with these tags: number, type, and the value in the bytes of `order`."""
    widths = {SHORT: 2, LONG: 4, RATIONAL: 8, SRATIONAL: 8, FLOAT: 4}
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}LH", 8, len(entries))
    data_at = 8 + 2 + 12 * len(entries) + 4
    directory, data = b"", b""
    for number, kind, value in entries:
        count = len(value) // widths.get(kind, 1)
        directory += struct.pack(f"{order}HHL", number, kind, count)
        if len(value) <= 4:
            directory += value.ljust(4, b"\0")
        else:
            directory += struct.pack(f"{order}L", data_at + len(data))
            data += value
    return b"Exif\0\0" + head + directory + bytes(4) + data


def short(value: int, order: str = "<") -> bytes:
    return struct.pack(f"{order}H", value)


SIX = (ORIENTATION, SHORT, short(6))
ON_ITS_SIDE = {
    "plain": exif(SIX),
    "big-endian": exif((ORIENTATION, SHORT, short(6, ">")), order=">"),
    "a rational without a value": exif(SIX, (X_RESOLUTION, SRATIONAL, struct.pack("<2i", -1, 0))),
    "a float that is none": exif(SIX, (X_RESOLUTION, FLOAT, struct.pack("<f", float("nan")))),
    "a long where a short belongs": exif(SIX, (FLASH, LONG, struct.pack("<L", 70000))),
    "text where a short belongs": exif(SIX, (FLASH, ASCII, b"none\0")),
    "a tag of no known type": exif(SIX, (SOFTWARE, 77, b"abcd")),
    "a tag beyond the end": exif(SIX)[:14] + exif(SIX, (SOFTWARE, ASCII, bytes(9)))[14:40],
    "as long": exif((ORIENTATION, LONG, struct.pack("<L", 6))),
    "as text": exif((ORIENTATION, ASCII, b"6\0")),
    "as byte": exif((ORIENTATION, BYTE, b"\6")),
    "as rational": exif((ORIENTATION, RATIONAL, struct.pack("<2L", 6, 1))),
    "as float": exif((ORIENTATION, FLOAT, struct.pack("<f", 6))),
    "twice": exif((ORIENTATION, SHORT, short(6) * 2)),
}
UPRIGHT = {
    "out of range": exif((ORIENTATION, SHORT, short(9))),
    "zero": exif((ORIENTATION, SHORT, short(0))),
    "no number": exif((ORIENTATION, ASCII, b"up\0")),
    "infinite": exif((ORIENTATION, FLOAT, struct.pack("<f", float("inf")))),
    "divided by zero": exif((ORIENTATION, RATIONAL, struct.pack("<2L", 6, 0))),
    "empty": exif(),
    "rubbish": b"Exif\0\0rubbish that is none",
}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description %s></x:xmpmeta>'


@pytest.fixture
def photo() -> Image.Image:
    """Coarse, so that JPEG keeps it."""
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
def test_what_exif_says_is_done(tmp_path: Path, photo: Image.Image, how: str, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    photo.save(path, exif=(ON_ITS_SIDE | UPRIGHT)[how], **options)
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
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    photo.save(tmp_path / f"x.{suffix}", exif=tags, **options)
    read = open_image(tmp_path / f"x.{suffix}")
    assert np.abs(np.asarray(read, int) - right).mean() < 3
    assert (TURNED in read.info) is (orientation > 1)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize(
    ("kind", "value"), [(SHORT, short(6)), (SHORT, short(6) * 2), (LONG, struct.pack("<L", 6)), (BYTE, b"\6")]
)
def test_a_tiff_has_it_among_its_own_tags(
    tmp_path: Path, photo: Image.Image, kind: int, value: bytes, compression: str
) -> None:
    photo.save(tmp_path / "x.tif", compression=compression, tiffinfo={ORIENTATION: 6})
    data = (tmp_path / "x.tif").read_bytes()
    entry = struct.pack("<HHL", ORIENTATION, SHORT, 1) + short(6) + b"\0\0"
    assert data.count(entry) == 1
    count = 2 if len(value) == 4 and kind == SHORT else 1
    changed = struct.pack("<HHL", ORIENTATION, kind, count) + value.ljust(4, b"\0")
    (tmp_path / "x.tif").write_bytes(data.replace(entry, changed))
    assert_shown(tmp_path / "x.tif", photo, turned=True)


def test_tiffs_with_other_odd_tags(tmp_path: Path, photo: Image.Image) -> None:
    photo.save(tmp_path / "x.tif", tiffinfo={ORIENTATION: 6, X_RESOLUTION: 7})
    data = (tmp_path / "x.tif").read_bytes()
    assert data.count(struct.pack("<2L", 7, 1)) == 1
    (tmp_path / "x.tif").write_bytes(data.replace(struct.pack("<2L", 7, 1), struct.pack("<2L", 7, 0)))
    assert_shown(tmp_path / "x.tif", photo, turned=True)


@pytest.mark.parametrize("said", [b'tiff:Orientation="6"/>', b"><tiff:Orientation>6</tiff:Orientation>"])
@pytest.mark.parametrize("beside", [None, "out of range", "rubbish"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_where_exif_says_nothing_xmp_counts(
    tmp_path: Path, photo: Image.Image, said: bytes, beside: str | None, suffix: str
) -> None:
    path = tmp_path / f"x.{suffix}"
    options: dict[str, object] = {"exif": UPRIGHT[beside]} if beside else {}
    if suffix == "png":
        options["pnginfo"] = text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", (XMP % said).decode())
    elif suffix == "tif":
        options = {"tiffinfo": {700: XMP % said}}
    else:
        options["xmp"] = XMP % said
    options |= {"quality": 100, "subsampling": 0} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    photo.save(path, **options)
    assert_shown(path, photo, turned=True)


def test_exif_comes_before_xmp(tmp_path: Path, photo: Image.Image) -> None:
    photo.save(
        tmp_path / "x.jpg",
        quality=100,
        subsampling=0,
        exif=exif((ORIENTATION, SHORT, short(1))),
        xmp=XMP % b'tiff:Orientation="6"/>',
    )
    assert_shown(tmp_path / "x.jpg", photo, turned=False)


def test_a_png_may_have_its_exif_last(tmp_path: Path, photo: Image.Image) -> None:
    photo.save(tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    content = b"eXIf" + ON_ITS_SIDE["a rational without a value"][6:]
    chunk = struct.pack(">L", len(content) - 4) + content + struct.pack(">L", zlib.crc32(content))
    (tmp_path / "x.png").write_bytes(data[:-12] + chunk + data[-12:])
    assert_shown(tmp_path / "x.png", photo, turned=True)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_an_avif_says_it_beside_its_exif(tmp_path: Path, photo: Image.Image) -> None:
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
    grey = Image.fromarray(np.asarray(photo.convert("L"), np.uint16) * 257) if mode == "I;16" else None
    stored = grey or photo.convert("L" if mode == "F" else mode)
    stored = Image.fromarray(np.asarray(stored, np.float32) / 255) if mode == "F" else stored
    stored.save(tmp_path / "x.tif", tiffinfo={ORIENTATION: 1})
    right = np.rot90(open_image(tmp_path / "x.tif"), -1)
    stored.save(tmp_path / "x.tif", tiffinfo={ORIENTATION: 6})
    assert np.array_equal(open_image(tmp_path / "x.tif"), right)


def test_masks_and_what_is_pasted_lie_as_the_photo(
    tmp_path: Path, tiny_store: Path, restyle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wide = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
    odd = ON_ITS_SIDE["a rational without a value"]
    wide.save("x.jpg", exif=odd, quality=95)
    mask = Image.new("L", (96, 64), 255)
    mask.paste(0, (0, 0, 48, 64))
    mask.save("mask.jpg", exif=odd)
    command = ("invert", "x.jpg", "-m", "image2stylegan++-portrait", "-n", 1, "--align", "never")
    done = restyle(*command, "--mask", "mask.jpg", "--paste-back", "-o", "out")
    assert done.exit_code == 0, done.stderr
    assert Image.open("out/x.pasted.png").size == (64, 96)
