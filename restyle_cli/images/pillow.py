"""Pillow's formats and orientation, without the messages that Pillow and its C libraries print."""

from __future__ import annotations

import ctypes
import logging
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

from restyle_cli.images.levels import GREY_ALPHA_16

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".heic", ".heif", ".hif"),
        *(".tif", ".tiff", ".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga"),
        *(".jp2", ".j2k", ".jpf", ".jpx", ".j2c"),
    )
)
"""Files in a folder with these suffixes are images. A file that is named itself may have any suffix."""
FORMATS_READ = "JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP, GIF, PPM, PGM, TGA and JPEG 2000 are read"

# Listed, because others run programs (EPS) or are no photographs. HEIF comes with pillow-heif.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "PPM", "JPEG2000", "HEIF")
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))


def formats_for(path: Path) -> list[str]:
    """Pillow's names of the installed formats that `path` may have."""
    Image.init()
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    # A TGA has no magic number: many files that are no images would be read as one.
    untyped = ("TGA",) if path.suffix.lower() in (".tga", "") else ()
    return [name for name in (*_FORMATS, *untyped) if name in Image.OPEN]


def hint_for(file: BinaryIO, formats: list[str]) -> str:
    """What to do about a file that is in none of `formats`."""
    file.seek(0)
    head = file.read(12)
    brand = head[8:] if head[4:8] == b"ftyp" else b""
    if brand in _HEIC_BRANDS and "HEIF" not in formats:
        return "its content is HEIC, which needs one more package: pip install pillow-heif"
    if brand in (b"avif", b"avis") and "AVIF" not in formats:
        return "its content is AVIF, which needs a newer Pillow: pip install 'pillow>=11.3'"
    return FORMATS_READ


# --- orientation

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_IN_XMP = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([1-8])\s*["'<]""")


def load_upright(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image decoded and upright, and whether it had to be rotated or flipped.

    Pillow's `exif_transpose` leaves the image as it is if any other tag of the EXIF cannot be written again.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # Pillow transposes these itself, by this tag
        orientation = _orientation(image)
        image.getexif()[ExifTags.Base.Orientation] = orientation
        image.load()
        return image, orientation in _TRANSPOSE
    image.load()  # first: a PNG may have its metadata after its pixels
    method = _TRANSPOSE.get(_orientation(image))
    return (image, False) if method is None else (image.transpose(method), True)


def _orientation(image: Image.Image) -> int:
    """The Orientation of EXIF 2.32 or XMP, from 1 (upright) to 8; 1 where nothing valid is stored."""
    try:
        stored = _as_int(image.getexif().get(ExifTags.Base.Orientation))
    except (SyntaxError, ValueError, TypeError, KeyError, struct.error):  # the EXIF is damaged, the pixels are not
        stored = 0
    if 1 <= stored <= 8:
        return stored
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
    found = _IN_XMP.search(xmp.encode() if isinstance(xmp, str) else xmp)
    return int(found[1]) if found else 1


def _as_int(value: Any) -> int:
    """The number in a tag, 0 if it is none: some files store it as LONG, ASCII, BYTE or RATIONAL, or twice."""
    if isinstance(value, tuple):
        value = value[0] if value else 0
    if isinstance(value, bytes):
        value = value[0] if len(value) == 1 else value.strip(b"\0 ").decode("ascii", "replace")
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return 0


# --- messages

_LOCK = threading.RLock()  # the settings below are global
_libtiff_errors: list[str] = []

logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextmanager
def quiet_pillow(opening: bool = False) -> Iterator[list[str]]:
    """In the block, Pillow prints no warnings and accepts images of any size; `open_image` has its own limit.

    With `opening`, for reading the header, damaged metadata beside the pixels is ignored, and 16-bit grey TIFFs with
    alpha can be opened. Yields a list that libtiff's errors are added to: Pillow reports only some of them.
    """
    _redirect_libtiff()
    settings = _SETTINGS + (_WHILE_OPENING if opening else ())
    with _LOCK, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.|pillow_heif\b")
        before = [getattr(owner, name) for owner, name, _ in settings]
        for owner, name, value in settings:
            setattr(owner, name, value)
        _libtiff_errors.clear()
        try:
            yield _libtiff_errors
        finally:
            for (owner, name, _), value in reversed(list(zip(settings, before, strict=True))):
                setattr(owner, name, value)


_write_exif = Image.Exif.tobytes


def _write_orientation(exif: Image.Exif, offset: int = 8) -> bytes:
    """The EXIF with its Orientation only. Pillow writes it to add an AVIF's rotation, and fails on invalid tags."""
    alone = Image.Exif()
    alone[ExifTags.Base.Orientation] = exif[ExifTags.Base.Orientation]
    return _write_exif(alone, offset)


_SETTINGS: tuple[tuple[Any, str, Any], ...] = (
    (Image, "MAX_IMAGE_PIXELS", None),
    (ImageFile, "LOAD_TRUNCATED_IMAGES", False),
)
_WHILE_OPENING: tuple[tuple[Any, str, Any], ...] = (
    (ImageFile, "LOAD_TRUNCATED_IMAGES", True),  # for the metadata of PNGs; missing pixels would be filled in
    (TiffImagePlugin, "OPEN_INFO", TiffImagePlugin.OPEN_INFO | GREY_ALPHA_16),
    (Image.Exif, "tobytes", _write_orientation),
)


@cache
def _redirect_libtiff() -> None:
    """Replace libtiff's handlers, which print to the C standard error, unless Pillow hides its libtiff."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(Image.core.__file__)  # gives access to the symbols of the libraries it is linked to
        library.TIFFSetWarningHandler(None)
        library.TIFFSetErrorHandler(_collect_libtiff_error)


@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
def _collect_libtiff_error(where: bytes | None, text: bytes | None, values: int) -> None:
    _libtiff_errors.append((text or b"").decode("ascii", "replace"))
