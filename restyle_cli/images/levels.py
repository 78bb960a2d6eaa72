"""Pixels of any depth as 8 bits per channel, with transparency as an alpha channel.

Types wider than 8 bits often use only a part of their range. White is the lowest of the usual values (1, 255, 65535,
the maximum of the type) that nearly all values stay below; the few above are clipped, such as ringing and hot pixels.
Values that are not finite are transparent.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

Samples = NDArray[np.integer[Any] | np.floating[Any]]
Tags = TiffImagePlugin.ImageFileDirectory_v2

_KEPT = ("L", "LA", "RGB", "RGBA", "CMYK", "LAB")
_NEAREST = {"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA"}
_BEYOND = 0.5  # percent of the values that may lie beyond black or white
_OVERSHOOT = 4  # how far nearly all values may exceed a white; with the next one, 255 times higher, all would be black
_SAMPLE = 1000  # values per side from which percentiles are computed
_BITS, _INTERPRETATION, _SAMPLE_FORMAT = 258, 262, 339  # tags of a TIFF
_WIDTH, _HEIGHT, _ORIENTATION, _SAMPLES, _ALPHA, _PROFILE = 256, 257, 274, 277, 338, 34675
_PREMULTIPLIED = 1
# Levels of a PNG to those of Pillow's pixels, by Pillow's name for the file's layout.
_TO_EIGHT_BITS: dict[str, Callable[[int], int]] = {
    "L;2": lambda level: level * 85,
    "L;4": lambda level: level * 17,
    "RGB;16B": lambda level: level >> 8,
}
GREY_ALPHA_16 = {
    (order, 1, (1,), 1, (16, 16), alpha): ("RGBA", "RGBA")
    for order in (b"II", b"MM")
    for alpha in ((0,), (_PREMULTIPLIED,), (2,))
}
"""For `TiffImagePlugin.OPEN_INFO`: opens two samples of 16 bits as four bytes, which `eight_bits` combines."""


def is_deep(image: Image.Image) -> bool:
    """Whether its values have more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def scale_transparency(image: Image.Image) -> None:
    """Scale the transparent colour of a PNG, before decoding, to 8 bits. Pillow does it for some depths only."""
    transparent, tiles = image.info.get("transparency"), getattr(image, "tile", None)
    scale = _TO_EIGHT_BITS.get(tiles[0][3]) if image.format == "PNG" and tiles else None
    if scale is not None and transparent is not None:
        several = isinstance(transparent, tuple)
        image.info["transparency"] = tuple(map(scale, transparent)) if several else scale(transparent)


def eight_bits(image: Image.Image) -> Image.Image:
    """A copy as L, LA, RGB, RGBA, CMYK or LAB, whichever loses least."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_BITS) == (16, 16):
        return _from_grey_alpha_16(image)
    if is_deep(image):
        return _from_deep_grey(image)
    if "transparency" in image.info:
        return image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    return image.copy() if image.mode in _KEPT else image.convert(_NEAREST.get(image.mode, "RGB"))


def _from_grey_alpha_16(image: TiffImagePlugin.TiffImageFile) -> Image.Image:
    # libtiff, which decompresses for Pillow, returns samples in the machine's byte order.
    order = ">" if image.info.get("compression") == "raw" and image.tag_v2.prefix == b"MM" else "<"
    samples = np.frombuffer(image.tobytes(), f"{order}u2").reshape(image.height, image.width, 2)
    mode = "La" if _tag(image, _ALPHA, 0) == _PREMULTIPLIED else "LA"
    return Image.frombytes(mode, image.size, _scaled(samples, 0, 65535).tobytes()).convert("LA")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    stored: Samples = np.asarray(image)
    if image.mode == "I":  # Pillow's mode for several integer types
        if _tag(image, _BITS, 32) == 16:
            stored = stored.astype(np.int16)
        elif _tag(image, _SAMPLE_FORMAT, 1) == 1:
            stored = stored.view(np.uint32)
    missing = ~np.isfinite(stored)
    if "transparency" in image.info:
        missing |= stored == image.info["transparency"]
    if image.format == "PPM" and image.mode == "I":
        black, white = 0.0, 65535.0  # Pillow has scaled it by the maximum in the header
    else:
        largest = 2 ** _tag(image, _BITS, 16) - 1 if image.mode.startswith("I;16") else None
        black, white = _value_range(stored, missing, largest)
    if _tag(image, _INTERPRETATION, 1) == 0:  # white is zero
        black, white = white, black
    grey = Image.fromarray(_scaled(stored, black, white))
    if missing.any():
        grey.putalpha(Image.fromarray(np.where(missing, 0, 255).astype(np.uint8)))
    return grey


def _tag(image: Image.Image, number: int, default: int) -> int:
    """The first value of a tag of a TIFF; `default` for other files and where it is missing."""
    value = getattr(image, "tag_v2", {}).get(number, default)
    return value[0] if isinstance(value, tuple) else value


def _value_range(values: Samples, missing: NDArray[np.bool_], largest: int | None = None) -> tuple[float, float]:
    """The values of black and white; `largest` is the highest possible value (default: that of the type).

    If many values are far below zero, as in an image of [-1, 1], black is as far from zero as white.
    """
    rows, columns = (max(side // _SAMPLE, 1) for side in values.shape[:2])
    sample = values[::rows, ::columns][~missing[::rows, ::columns]]
    low, high = np.percentile(sample, (_BEYOND, 100 - _BEYOND)) if sample.size else (0.0, 1.0)
    is_integer = values.dtype.kind in "iu"
    if largest is None:
        largest = int(np.iinfo(values.dtype.name).max) if is_integer else 65535
    whites = [white for white in (1, 255, 65535) if white < largest] + [largest]
    # A dark photograph in the 16 bits of scanners and PNGs stays dark.
    exact = [1, 255] if values.dtype.str.endswith("u2") else [1] if is_integer else []
    reached = max(high, -low)
    white = next((w for w in whites if reached <= (w if w in exact else w * _OVERSHOOT)), largest)
    return (-white if low < -white / 2 else 0), white


def _scaled(values: Samples, black: float, white: float) -> NDArray[np.uint8]:
    """`values` as levels from 0 to 255, clipped; NaN is 0."""
    levels = np.array(values, np.float32)
    levels -= black
    levels *= 255 / (white - black)
    levels += 0.5
    np.nan_to_num(levels, copy=False, nan=0)
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


# --- TIFFs that Pillow has no mode for: colour of 32 bits, 64-bit floats


def read_tags(file: BinaryIO) -> Tags | None:
    """The first directory of a TIFF that OpenCV may decode; None for other files."""
    file.seek(0)
    head = file.read(8)
    if head[:4] not in (b"II*\0", b"MM\0*"):
        return None
    tags = Tags(head)
    file.seek(tags.next)
    tags.load(file)
    return tags if tags.get(_SAMPLES, 1) in (1, 3, 4) and {_WIDTH, _HEIGHT} <= tags.keys() else None


def size_of(tags: Tags) -> tuple[int, int]:
    """Width and height as stored."""
    return tags[_WIDTH], tags[_HEIGHT]


def decode_tiff(file: BinaryIO, tags: Tags) -> Image.Image | None:
    """L, LA, RGB or RGBA with the profile and orientation of the file; None if OpenCV cannot decode it."""
    import cv2

    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it prints what it cannot read
    try:
        values = cv2.imdecode(np.frombuffer(_marked_upright(file), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if values is None or values.shape[1::-1] != size_of(tags):
        return None
    values = values.reshape(*values.shape[:2], -1)
    finite = np.asarray(np.isfinite(values).all(axis=-1))
    colours = values[..., :3][..., ::-1]  # OpenCV has blue first
    levels = _scaled(colours, *_value_range(colours, ~np.broadcast_to(finite[..., None], colours.shape)))
    image = Image.fromarray(levels if levels.shape[-1] == 3 else levels[..., 0])
    if values.shape[-1] == 4 or not finite.all():
        alpha = values[..., 3] if values.shape[-1] == 4 else np.ones(finite.shape)
        alpha_levels = _scaled(alpha, *_value_range(alpha, ~finite))
        image.putalpha(Image.fromarray(np.where(finite, alpha_levels, 0).astype(np.uint8)))
    if _PROFILE in tags:
        image.info["icc_profile"] = tags[_PROFILE]
    image.getexif()[ExifTags.Base.Orientation] = tags.get(_ORIENTATION, 1)
    return image


def _marked_upright(file: BinaryIO) -> bytearray:
    """The file with an Orientation of 1: OpenCV rotates some images by it, and fails on others."""
    file.seek(0)
    data = bytearray(file.read())
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}L", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, start)
    for position in range(start + 2, start + 2 + 12 * entries, 12):  # tag, type, count, value
        if struct.unpack_from(f"{order}H", data, position) == (_ORIENTATION,):
            struct.pack_into(f"{order}HHLHH", data, position, _ORIENTATION, 3, 1, 1, 0)
    return data
