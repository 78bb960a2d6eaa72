"""Pillow without its own words: what it and its C libraries print on standard error is for programmers."""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

from restyle_cli.images.wide_tiff import GREY_ALPHA_16

_ONE_AT_A_TIME = threading.RLock()  # what is set below is set for the whole process
_libtiff_errors: list[str] = []

logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextmanager
def quiet_pillow(opening: bool = False) -> Iterator[list[str]]:
    """Within, Pillow warns of nothing and refuses no image for its size; `images` has its own limit.

    `opening`: an image, not its pixels. Then damaged metadata beside the pixels is forgiven, and TIFFs of 16-bit grey
    with alpha are known. Yields a list that libtiff's errors come into: Pillow hears of some only.
    """
    _redirect_libtiff()
    settings = _SETTINGS + (_WHILE_OPENING if opening else ())
    with _ONE_AT_A_TIME, warnings.catch_warnings():
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
    """EXIF without all that cannot be written again: Pillow does so to put an AVIF's own rotation into it."""
    alone = Image.Exif()
    alone[ExifTags.Base.Orientation] = exif[ExifTags.Base.Orientation]
    return _write_exif(alone, offset)


_SETTINGS: tuple[tuple[Any, str, Any], ...] = (
    (Image, "MAX_IMAGE_PIXELS", None),
    (ImageFile, "LOAD_TRUNCATED_IMAGES", False),
)
_WHILE_OPENING: tuple[tuple[Any, str, Any], ...] = (
    (ImageFile, "LOAD_TRUNCATED_IMAGES", True),  # of the metadata of PNGs; of pixels, it would fill missing ones
    (TiffImagePlugin, "OPEN_INFO", TiffImagePlugin.OPEN_INFO | GREY_ALPHA_16),
    (Image.Exif, "tobytes", _write_orientation),
)


@cache
def _redirect_libtiff() -> None:
    """Its own handlers print to the C standard error. A Pillow that hides its libtiff (static builds) keeps them."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(Image.core.__file__)  # symbols of what it is linked to are found through it
        library.TIFFSetWarningHandler(None)
        library.TIFFSetErrorHandler(_note_libtiff_error)


@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
def _note_libtiff_error(where: bytes | None, text: bytes | None, values: int) -> None:
    _libtiff_errors.append((text or b"").decode("ascii", "replace"))
