"""Pixels of any depth as 8 bits a channel, with transparency as an alpha channel.

Types wider than 8 bits are often not filled. White is the lowest of the usual values (1, 255, 65535, the type's
maximum) that nearly all values stay below; the few beyond are clipped, as ringing and hot pixels are. What is not
finite is missing: transparent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_KEPT = ("L", "LA", "RGB", "RGBA", "CMYK", "LAB")
_NEAREST = {"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA"}
_BEYOND = 0.5
"""Percent of the values that may lie beyond black or white."""
_OVERSHOOT = 4
"""How far nearly all values may exceed a white. An image for the next one, 255 times higher, would be black."""
_SAMPLE = 1000
"""Values along a side that percentiles are taken of."""
_BITS, _INTERPRETATION, _SAMPLE_FORMAT = 258, 262, 339  # tags of a TIFF
_TO_EIGHT_BITS: dict[str, Callable[[int], int]] = {
    "L;2": lambda level: level * 85,
    "L;4": lambda level: level * 17,
    "RGB;16B": lambda level: level >> 8,
}
"""From a level of a PNG to one of Pillow's pixels, by Pillow's name for how the file stores them."""


def is_deep(image: Image.Image) -> bool:
    """Whether its values have more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def scale_transparency(image: Image.Image) -> None:
    """Give the transparent colour of a PNG, not decoded yet, the depth of its pixels, as Pillow does for some only."""
    transparent, tiles = image.info.get("transparency"), getattr(image, "tile", None)
    scale = _TO_EIGHT_BITS.get(tiles[0][3]) if image.format == "PNG" and tiles else None
    if scale is not None and transparent is not None:
        several = isinstance(transparent, tuple)
        image.info["transparency"] = tuple(map(scale, transparent)) if several else scale(transparent)


def eight_bits(image: Image.Image) -> Image.Image:
    """A copy as L, LA, RGB, RGBA, CMYK or LAB, whichever loses least."""
    if is_deep(image):
        return _from_deep_grey(image)
    if "transparency" in image.info:
        return image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    return image.copy() if image.mode in _KEPT else image.convert(_NEAREST.get(image.mode, "RGB"))


def _from_deep_grey(image: Image.Image) -> Image.Image:
    stored = np.asarray(image)
    if image.mode == "I":  # which Pillow has for whole numbers of several types
        stored = _in_own_type(stored, _tag(image, _BITS, 32), _tag(image, _SAMPLE_FORMAT, 1))
    missing = ~np.isfinite(stored)
    if "transparency" in image.info:
        missing |= stored == image.info["transparency"]
    black, white = _range(image, stored, missing)
    if _tag(image, _INTERPRETATION, 1) == 0:  # white is zero
        black, white = white, black
    grey = Image.fromarray(scaled(stored, black, white))
    if missing.any():
        grey.putalpha(Image.fromarray(np.where(missing, 0, 255).astype(np.uint8)))
    return grey


def _in_own_type(stored: NDArray[np.int32], bits: int, sample_format: int) -> NDArray[np.generic]:
    if bits == 16:
        return stored.astype(np.int16)
    return stored.view(np.uint32) if sample_format == 1 else stored


def _range(image: Image.Image, stored: NDArray[np.generic], missing: NDArray[np.bool_]) -> tuple[float, float]:
    if image.format == "PPM" and image.mode == "I":
        return 0, 65535  # the header has said what is white
    return value_range(stored, missing, 2 ** _tag(image, _BITS, 16) - 1 if image.mode.startswith("I;16") else None)


def value_range(
    values: NDArray[np.generic], missing: NDArray[np.bool_], largest: float | None = None
) -> tuple[float, float]:
    """The values that are black and white; `largest`: the highest that there can be, else by the type.

    Where many values are far below zero, as in an image of [-1, 1], black is as far from zero as white.
    """
    steps = tuple(max(side // _SAMPLE, 1) for side in values.shape[:2])
    sample = values[:: steps[0], :: steps[1]][~missing[:: steps[0], :: steps[1]]]
    low, high = np.percentile(sample, (_BEYOND, 100 - _BEYOND)) if sample.size else (0.0, 1.0)
    whole = values.dtype.kind in "iu"
    if largest is None:
        largest = np.iinfo(values.dtype).max if whole else 65535
    whites = [white for white in (1, 255, 65535) if white < largest] + [largest]
    # A photograph may well be that dark in the 16 bits that scanners and PNGs have; then it stays.
    exact = [1, 255] if values.dtype.kind == "u" and values.dtype.itemsize == 2 else [1] if whole else []
    reached = max(high, -low)
    white = next((w for w in whites if reached <= (w if w in exact else w * _OVERSHOOT)), largest)
    return (-white if low < -white / 2 else 0), white


def scaled(values: NDArray[np.generic], black: float, white: float) -> NDArray[np.uint8]:
    """`values` as levels from 0 to 255, clipped, those that are no numbers as 0."""
    levels = np.array(values, np.float32)
    levels -= black
    levels *= 255 / (white - black)
    levels += 0.5
    np.nan_to_num(levels, copy=False, nan=0)
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


def _tag(image: Image.Image, number: int, default: int) -> int:
    """The first value of a tag of a TIFF; of other files and where it is missing, `default`."""
    value = getattr(image, "tag_v2", {}).get(number, default)
    return value[0] if isinstance(value, tuple) else value
