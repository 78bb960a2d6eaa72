"""Pillow without its own words: what it and its C libraries print on standard error is for programmers."""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from PIL import Image, ImageFile, TiffImagePlugin

from restyle_cli.images.wide_tiff import GREY_ALPHA_16

_ONE_AT_A_TIME = threading.RLock()  # what is set below is set for the whole process

logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextmanager
def quiet_pillow(opening: bool = False) -> Iterator[list[str]]:
    """Within, Pillow warns of nothing and refuses no image for its size; `images` has its own limit.

    Yields a list that libtiff's errors come into: Pillow hears of some only.

    `opening`: an image, not its pixels. Then PNG chunks beside the pixels may be damaged (while decoding, the same
    switch would fill missing pixels with grey), and TIFFs of 16-bit grey with alpha are known.
    """
    _silence_libtiff()
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.|pillow_heif\b")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        forgiving, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, opening
        added = GREY_ALPHA_16 if opening else {}
        TiffImagePlugin.OPEN_INFO.update(added)
        _libtiff_errors.clear()
        try:
            yield _libtiff_errors
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = limit, forgiving
            for kind in added:
                del TiffImagePlugin.OPEN_INFO[kind]


@cache
def _silence_libtiff() -> None:
    """Its own handlers print to the C standard error. A Pillow that hides its libtiff (static builds) keeps them."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(Image.core.__file__)  # symbols of what it is linked to are found through it
        library.TIFFSetWarningHandler(None)
        library.TIFFSetErrorHandler(_note_libtiff_error)


_libtiff_errors: list[str] = []


@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
def _note_libtiff_error(where: bytes | None, text: bytes | None, values: int) -> None:
    _libtiff_errors.append((text or b"").decode("ascii", "replace"))
