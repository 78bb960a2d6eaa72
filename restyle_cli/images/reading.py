"""Reading image files: whatever format, depth, colour profile and orientation becomes an upright 8-bit image."""

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
from restyle_cli.images import wide_tiff
from restyle_cli.images.colour import Profile, UnusableProfile, read_profile, to_srgb
from restyle_cli.images.formats import formats_of, hint_for
from restyle_cli.images.jpeg import ends_in_filling, is_ended, with_end_marker
from restyle_cli.images.levels import eight_bits, is_deep, scale_transparency
from restyle_cli.images.orientation import load_upright
from restyle_cli.images.quiet import quiet_pillow
from restyle_cli.images.wide_tiff import grey_and_alpha, is_grey_alpha_16
from restyle_cli.io import open_regular, reading_failed

MAX_PIXELS = 100_000_000
MIN_SIDE = 16
MARK = "restyle"
"""The text chunk of a PNG that says how the picture is framed; see `align`."""
SEAL = "restyle-pixels"
"""The text chunk of a PNG that says which pixels `MARK` was written for."""
TURNED = "turned"
"""In `.info` of a picture that lies on its side in its file and was turned upright."""

_BLACK, _DEEP_BLACK, _WHITE = 2, 16, 253
"""Levels up to which an image is black: the second where the range of its values may be another one; white from."""
_EXCEPT = 0.005
"""Part of the pixels that an image called black or white may have beside."""


def open_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture as 8-bit RGB in sRGB, upright, on white where transparent; of an animation, the first frame.

    Every failure is a RestyleError that names the file. More than `max_pixels` are refused before decoding. What may
    be wrong with the result is a RestyleWarning.
    A PNG's text chunk `MARK` stays in `.info` if the pixels are those it was written with, `TURNED` may be there, and
    nothing else.
    """
    path = Path(path)
    with _failures_named(path):
        decoded = _decode(path, max_pixels)
        picture = _on_white(decoded)
        if (level := _single_level(picture, decoded.is_deep)) is not None:
            decoded.notes.append(f"reads as all {level}; look at it")
        picture.info = decoded.info_for(picture)
    _warn(path, decoded.notes)
    return picture


def open_original(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """As `open_image`, but grey stays grey, and transparency and the colour profile stay: L, LA, RGB or RGBA.

    Colours that no such picture can have (CMYK, Lab, the profile of a scanner) become sRGB.
    """
    path = Path(path)
    with _failures_named(path):
        decoded = _decode(path, max_pixels)
        original, icc = decoded.pixels, decoded.icc
        profile = decoded.profile
        if original.mode in ("CMYK", "LAB") or (profile is not None and not profile.is_two_way):
            original, icc = _recoloured(decoded), None
        elif profile is None and not decoded.is_as_stored:
            icc = None
        original.info = ({"icc_profile": icc} if icc else {}) | ({TURNED: True} if decoded.turned else {})
    _warn(path, decoded.notes)
    return original


def seal_of(picture: Image.Image) -> str:
    """What `SEAL` says of a picture: its size and a checksum of its pixels as RGB."""
    checksum = hashlib.sha256(np.ascontiguousarray(picture.convert("RGB"))).hexdigest()
    return f"{picture.width}x{picture.height} sha256:{checksum}"


# --- from the file to upright pixels


@dataclass(frozen=True)
class _Decoded:
    """`pixels`: upright, of 8 bits, with the colours of `profile` (None: sRGB, or none that can be used).

    `is_as_stored`: the mode is the file's own. `icc`: the profile as it is in the file. `notes`: what to warn of.
    """

    pixels: Image.Image
    profile: Profile | None
    icc: bytes | None
    is_as_stored: bool
    is_deep: bool
    turned: bool
    texts: dict[str, str]
    notes: list[str]

    def info_for(self, picture: Image.Image) -> dict[str, object]:
        """What `open_image` promises for the `.info` of its result."""
        info: dict[str, object] = {TURNED: True} if self.turned else {}
        if MARK in self.texts and self.texts.get(SEAL) == seal_of(picture):
            info[MARK] = self.texts[MARK]
        return info


def _decode(path: Path, max_pixels: int) -> _Decoded:
    notes: list[str] = []
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise RestyleError(f"{str(path)!r} is empty", "copy or download the picture again")
        stored = _open_header(file, path, max_pixels)
        with quiet_pillow() as damage:
            stored, upright, turned = _load(stored, file, notes)
            if damage:
                notes.append("is damaged, and was read all the same; look at it")
        info = stored.info
        pixels = grey_and_alpha(upright) if is_grey_alpha_16(upright) else eight_bits(upright)
    return _Decoded(
        pixels=pixels,
        profile=_profile_of(info, pixels.mode.removesuffix("A"), notes),
        icc=info.get("icc_profile"),
        is_as_stored=stored.mode == pixels.mode,
        is_deep=is_deep(stored),
        turned=turned,
        texts={key: info[key] for key in (MARK, SEAL) if isinstance(info.get(key), str)},
        notes=notes,
    )


def _open_header(file: BinaryIO, path: Path, max_pixels: int) -> Image.Image:
    formats = formats_of(path)
    with quiet_pillow(opening=True):
        try:
            image = Image.open(file, formats=formats)
        except UnidentifiedImageError as error:
            tags = wide_tiff.read_tags(file)
            if tags is not None:
                _check_size(wide_tiff.size_of(tags), path, max_pixels)
            if tags is None or (image := wide_tiff.decode(file, tags)) is None:
                message = f"{str(path)!r} is not a picture that can be read"
                raise RestyleError(message, hint_for(file, formats)) from error
        scale_transparency(image)
    _check_size(image.size, path, max_pixels)
    return image


def _load(image: Image.Image, file: BinaryIO, notes: list[str]) -> tuple[Image.Image, Image.Image, bool]:
    """The image as stored, upright, and whether that differs."""
    if image.format != "JPEG":
        return image, *load_upright(image)
    try:
        loaded = load_upright(image)
    except OSError:  # perhaps only for want of the end marker
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
        notes.append("has no end marker, as after an interrupted copy, but all its pixels")
    image = Image.open(io.BytesIO(ended), formats=["JPEG"])
    return image, *load_upright(image)


def _check_size(size: tuple[int, int], path: Path, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise RestyleError(
            f"{str(path)!r} is too large: {width}x{height} pixels, {width * height / 1e6:.0f} million",
            f"shrink it first; up to {max_pixels / 1e6:.0f} million pixels are read",
        )
    if min(width, height) < MIN_SIDE:
        raise RestyleError(
            f"{str(path)!r} is too small: {width}x{height} pixels",
            f"each side needs at least {MIN_SIDE} pixels",
        )


# --- colours


def _profile_of(info: dict[Any, Any], mode: str, notes: list[str]) -> Profile | None:
    """That of an image of this mode, without alpha; None when it has none that can be used."""
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


def _recoloured(decoded: _Decoded) -> Image.Image:
    """RGB or RGBA, in sRGB."""
    pixels = decoded.pixels
    if not pixels.mode.endswith("A"):
        return to_srgb(pixels, decoded.profile)
    recoloured = to_srgb(pixels.convert(pixels.mode.removesuffix("A")), decoded.profile)
    recoloured.putalpha(pixels.getchannel("A"))
    return recoloured


def _on_white(decoded: _Decoded) -> Image.Image:
    recoloured = _recoloured(decoded)
    if recoloured.mode == "RGB":
        return recoloured
    white = Image.new("RGBA", recoloured.size, "white")
    white.alpha_composite(recoloured)
    return white.convert("RGB")


def _single_level(picture: Image.Image, is_deep: bool) -> str | None:
    """ "black" or "white" where nearly all of the picture is."""
    darkest = _DEEP_BLACK if is_deep else _BLACK
    level = None
    for view in (picture.resize((32, 32), Image.Resampling.NEAREST), picture):  # nearly always, the first is enough
        counts = np.array(view.convert("L").histogram())
        beside = _EXCEPT * counts.sum()
        level = (
            "black" if counts[darkest + 1 :].sum() <= beside else "white" if counts[:_WHITE].sum() <= beside else None
        )
        if level is None:
            return None
    return level


# --- messages


def _warn(path: Path, notes: list[str]) -> None:
    for note in notes:
        warnings.warn(f"{str(path)!r} {note}", RestyleWarning, stacklevel=3)


@contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    """Whatever goes wrong becomes a RestyleError about `path`: damaged data raise what the decoder stumbles over."""
    try:
        yield
    except RestyleError:
        raise
    except MemoryError as error:
        raise RestyleError(f"not enough memory for {str(path)!r}", "shrink the picture first") from error
    except OSError as error:
        raise (_damaged(path, error) if error.errno is None else reading_failed(path, error)) from error
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RestyleError:
    cut = "truncated" in str(error).lower() or isinstance(error, EOFError)
    return RestyleError(
        f"{str(path)!r} is {'cut off' if cut else 'damaged'} and cannot be decoded",
        "copy or download it again",
    )
