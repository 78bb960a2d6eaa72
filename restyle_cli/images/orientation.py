"""Which way up an image is shown: the Orientation of its EXIF or XMP.

Pillow's own `exif_transpose` writes the EXIF again, without the Orientation, and leaves the image on its side where
any other tag cannot be written.
"""

from __future__ import annotations

import re
import struct

from PIL import ExifTags, Image

_METHODS = {
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
    """The image decoded and upright, and whether it had to be turned or flipped for that."""
    if image.format == "TIFF":  # Pillow turns these itself, by the Orientation that it finds here
        orientation = _orientation(image)
        image.getexif()[ExifTags.Base.Orientation] = orientation
        image.load()
        return image, orientation in _METHODS
    image.load()  # first: a PNG may have its metadata after its pixels
    method = _METHODS.get(_orientation(image))
    return (image, False) if method is None else (image.transpose(method), True)


def _orientation(image: Image.Image) -> int:
    """From 1 (upright) to 8, as EXIF 2.32 numbers them; 1 where nothing valid is stored."""
    try:
        stored = _whole(image.getexif().get(ExifTags.Base.Orientation))
    except (SyntaxError, ValueError, TypeError, KeyError, struct.error):  # the EXIF is damaged, the pixels are not
        stored = None
    if stored in range(1, 9):
        return stored
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
    found = _IN_XMP.search(xmp.encode() if isinstance(xmp, str) else xmp)
    return int(found[1]) if found else 1


def _whole(value: object) -> int | None:
    """The number in a tag of any type: files have it as LONG, ASCII, BYTE, RATIONAL and twice, too."""
    if isinstance(value, tuple):
        value = value[0] if value else None
    if isinstance(value, bytes):
        value = value[0] if len(value) == 1 else value.strip(b"\0 ").decode("ascii", "replace")
    try:
        return int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None
