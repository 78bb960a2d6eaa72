"""Pillow without its own words: what it and its C libraries print on standard error is for programmers."""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from PIL import Image, ImageFile

_ONE_AT_A_TIME = threading.RLock()  # what is set below is set for the whole process

logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextmanager
def quiet_pillow(forgive_metadata: bool = False) -> Iterator[None]:
    """Within, Pillow warns of nothing and refuses no image for its size; `images` has its own limit.

    `forgive_metadata`: PNG chunks beside the pixels may be damaged. Not while pixels are decoded: it would fill those
    that are missing with grey.
    """
    _silence_libtiff()
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.|pillow_heif\b")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        forgiving, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, forgive_metadata
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = limit, forgiving


@cache
def _silence_libtiff() -> None:
    """Its handlers print to the C standard error. A Pillow that hides its libtiff (static builds) keeps them."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(Image.core.__file__)  # symbols of what it is linked to are found through it
        library.TIFFSetWarningHandler(None)
        library.TIFFSetErrorHandler(None)
