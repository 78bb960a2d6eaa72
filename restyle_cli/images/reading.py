"""Read image files of any format, depth, colour profile and orientation as upright 8-bit images."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from restyle_cli.errors import RestyleError, RestyleWarning
from restyle_cli.images import levels
from restyle_cli.images.colour import Profile, UnusableProfile, read_profile, to_srgb
from restyle_cli.images.jpeg import ends_in_filling, is_ended, with_end_marker
from restyle_cli.images.pillow import formats_for, hint_for, load_upright, quiet_pillow
from restyle_cli.io import open_regular, reading_failed

MAX_PIXELS = 100_000_000
MIN_SIDE = 16
MARK = "restyle"
"""Text chunk of a PNG that says how the image is aligned; see `align`."""
SEAL = "restyle-pixels"
"""Text chunk of a PNG with the checksum of the pixels that `MARK` was written for."""
TURNED = "turned"
"""Key in `.info` of an image that is stored on its side and was rotated upright."""

# Highest level of a black image; for deep images, whose range may have been misjudged; lowest level of a white image.
_BLACK, _DEEP_BLACK, _WHITE = 2, 16, 253
_EXCEPT = 0.005  # fraction of the pixels of a black or white image that may be different


def open_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image as 8-bit RGB in sRGB, upright, on white where transparent; of an animation, the first frame.

    `.info` has `MARK` if the pixels are those that it was written with, `TURNED` if so, and nothing else. A possible
    problem is a RestyleWarning. RestyleError, which names the file, if it cannot be read, or before decoding if it has
    more than `max_pixels`.
    """
    path = Path(path)
    with _problems_of(path) as notes:
        decoded = _decode(path, max_pixels, notes)
        image = _in_srgb(decoded)
        if image.mode == "RGBA":
            white = Image.new("RGBA", image.size, "white")
            white.alpha_composite(image)
            image = white.convert("RGB")
        if level := _single_level(image, decoded.is_deep):
            notes.append(f"reads as all {level}; look at it")
        image.info = {TURNED: True} if decoded.turned else {}
        if MARK in decoded.texts and decoded.texts.get(SEAL) == seal_of(image):
            image.info[MARK] = decoded.texts[MARK]
    return image


def open_original(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Like `open_image`, but grey, transparency and the colour profile are kept: L, LA, RGB or RGBA.

    CMYK, Lab and profiles without a way back (those of scanners) become sRGB.
    """
    path = Path(path)
    with _problems_of(path) as notes:
        decoded = _decode(path, max_pixels, notes)
        image, icc, profile = decoded.pixels, decoded.icc, decoded.profile
        if image.mode in ("CMYK", "LAB") or (profile is not None and not profile.is_two_way):
            image, icc = _in_srgb(decoded), None
        elif profile is None and not decoded.is_as_stored:
            icc = None
        image.info = {TURNED: True} if decoded.turned else {}
        if icc:
            image.info["icc_profile"] = icc
    return image


def seal_of(image: Image.Image) -> str:
    """The value of `SEAL` for an image: its size and a checksum of its pixels as RGB."""
    checksum = hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()
    return f"{image.width}x{image.height} sha256:{checksum}"


# --- from the file to upright pixels


@dataclass(frozen=True)
class _Decoded:
    """Upright 8-bit pixels and what is known of them."""

    pixels: Image.Image
    profile: Profile | None  # None: sRGB, or a profile that cannot be used
    icc: bytes | None  # the profile as stored
    is_as_stored: bool  # whether the mode is that of the file
    is_deep: bool
    turned: bool
    texts: dict[str, str]  # MARK and SEAL


def _decode(path: Path, max_pixels: int, notes: list[str]) -> _Decoded:
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise RestyleError(f"{str(path)!r} is empty", "copy or download the image again")
        stored = _open_header(file, path, max_pixels)
        with quiet_pillow() as damage:
            stored, upright, turned = _load(stored, file, notes)
            if damage:
                notes.append("is damaged but could be read; look at it")
        info = stored.info
        pixels = levels.eight_bits(upright)
    return _Decoded(
        pixels=pixels,
        profile=_profile_in(info, pixels.mode.removesuffix("A"), notes),
        icc=info.get("icc_profile"),
        is_as_stored=stored.mode == pixels.mode,
        is_deep=levels.is_deep(stored),
        turned=turned,
        texts={key: info[key] for key in (MARK, SEAL) if isinstance(info.get(key), str)},
    )


def _open_header(file: BinaryIO, path: Path, max_pixels: int) -> Image.Image:
    formats = formats_for(path)
    image: Image.Image | None
    with quiet_pillow(opening=True):
        try:
            image = Image.open(file, formats=formats)
        except UnidentifiedImageError as error:
            image = None
            if tags := levels.read_tags(file):
                _check_size(levels.size_of(tags), path, max_pixels)
                image = levels.decode_tiff(file, tags)
            if image is None:
                message = f"{str(path)!r} is not an image that can be read"
                raise RestyleError(message, hint_for(file, formats)) from error
        levels.scale_transparency(image)
    _check_size(image.size, path, max_pixels)
    return image


def _check_size(size: tuple[int, int], path: Path, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise RestyleError(
            f"{str(path)!r} is too large: {width}x{height} pixels, {width * height / 1e6:.0f} million",
            f"shrink it first; up to {max_pixels / 1e6:.0f} million pixels are read",
        )
    if min(width, height) < MIN_SIDE:
        message = f"{str(path)!r} is too small: {width}x{height} pixels"
        raise RestyleError(message, f"each side needs at least {MIN_SIDE} pixels")


def _load(image: Image.Image, file: BinaryIO, notes: list[str]) -> tuple[Image.Image, Image.Image, bool]:
    """The image as stored, the upright image, and whether it had to be rotated or flipped."""
    if image.format != "JPEG":
        return image, *load_upright(image)
    try:
        loaded = load_upright(image)
    except OSError:  # perhaps only because the end marker is missing
        loaded = None
    file.seek(0)
    data = file.read()
    has_end = is_ended(data)
    if loaded is not None and has_end and not ends_in_filling(image):
        return image, *loaded
    ended = with_end_marker(data)
    if ended is None:
        raise EOFError("pixels are missing")
    if not has_end:
        notes.append("has no end marker (an interrupted copy?), but all its pixels")
    image = Image.open(io.BytesIO(ended), formats=["JPEG"])
    return image, *load_upright(image)


# --- colours


def _profile_in(info: dict[Any, Any], mode: str, notes: list[str]) -> Profile | None:
    """The profile of an image with this mode (without alpha); None if it has none that can be used."""
    if "icc_profile" not in info or mode == "LAB":  # Lab needs none
        return None
    try:
        profile = read_profile(info["icc_profile"])
        if profile.fits(mode):
            return profile
    except UnusableProfile:
        pass
    notes.append("has a colour profile that cannot be used; read as sRGB")
    return None


def _in_srgb(decoded: _Decoded) -> Image.Image:
    """RGB or RGBA."""
    pixels = decoded.pixels
    if not pixels.mode.endswith("A"):
        return to_srgb(pixels, decoded.profile)
    converted = to_srgb(pixels.convert(pixels.mode.removesuffix("A")), decoded.profile)
    converted.putalpha(pixels.getchannel("A"))
    return converted


def _single_level(image: Image.Image, is_deep: bool) -> str | None:
    """ "black" or "white" if nearly all of the image is."""
    darkest = _DEEP_BLACK if is_deep else _BLACK
    level = None
    for view in (image.resize((32, 32), Image.Resampling.NEAREST), image):  # nearly always, the first is enough
        counts = np.array(view.convert("L").histogram())
        allowed = _EXCEPT * counts.sum()
        if counts[darkest + 1 :].sum() <= allowed:
            level = "black"
        elif counts[:_WHITE].sum() <= allowed:
            level = "white"
        else:
            return None
    return level


@contextmanager
def _problems_of(path: Path) -> Iterator[list[str]]:
    """Turn any failure in the block into a RestyleError about `path`, and the notes added to the list into warnings."""
    notes: list[str] = []
    try:
        yield notes
    except RestyleError:
        raise
    except MemoryError as error:
        raise RestyleError(f"not enough memory for {str(path)!r}", "shrink the image first") from error
    except Exception as error:  # for damaged data, decoders raise errors of many kinds
        if isinstance(error, OSError) and error.errno is not None:
            raise reading_failed(path, error) from error
        state = "cut off" if "truncated" in str(error).lower() or isinstance(error, EOFError) else "damaged"
        raise RestyleError(f"{str(path)!r} is {state} and cannot be decoded", "copy or download it again") from error
    for note in notes:
        warnings.warn(f"{str(path)!r} {note}", RestyleWarning, stacklevel=4)
