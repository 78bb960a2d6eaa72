"""TIFFs with samples that Pillow has no mode for: 16-bit grey with alpha, colour of 32 bits, 64-bit floats."""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from restyle_cli.images.levels import scaled, value_range

_WIDTH, _HEIGHT, _SAMPLES, _ORIENTATION, _ALPHA, _PROFILE = 256, 257, 277, 274, 338, 34675  # tags
_PREMULTIPLIED = 1
GREY_ALPHA_16 = {
    (order, 1, (1,), 1, (16, 16), alpha): ("RGBA", "RGBA")
    for order in (b"II", b"MM")
    for alpha in ((0,), (_PREMULTIPLIED,), (2,))
}
"""For `TiffImagePlugin.OPEN_INFO`: two samples of 16 bits as four bytes, which `grey_and_alpha` puts together."""


def is_grey_alpha_16(image: Image.Image) -> bool:
    """Whether it was opened by way of `GREY_ALPHA_16`."""
    return image.format == "TIFF" and image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE) == (16, 16)


def grey_and_alpha(image: Image.Image) -> Image.Image:
    """LA of one that `is_grey_alpha_16`."""
    # libtiff, which Pillow decompresses with, gives samples in the order of this machine
    order = ">" if image.info.get("compression") == "raw" and image.tag_v2.prefix == b"MM" else "<"
    samples = np.frombuffer(image.tobytes(), f"{order}u2").reshape(image.height, image.width, 2)
    levels = scaled(samples, 0, 65535)
    mode = "La" if image.tag_v2.get(_ALPHA) in (_PREMULTIPLIED, (_PREMULTIPLIED,)) else "LA"
    return Image.frombytes(mode, image.size, levels.tobytes()).convert("LA")


def read_tags(file: BinaryIO) -> TiffImagePlugin.ImageFileDirectory_v2 | None:
    """The first directory of a TIFF that OpenCV may decode; None for other files."""
    file.seek(0)
    head = file.read(8)
    if head[:4] not in (b"II*\0", b"MM\0*"):
        return None
    tags = TiffImagePlugin.ImageFileDirectory_v2(head)
    file.seek(tags.next)
    tags.load(file)
    return tags if tags.get(_SAMPLES, 1) in (1, 3, 4) and {_WIDTH, _HEIGHT} <= tags.keys() else None


def size_of(tags: TiffImagePlugin.ImageFileDirectory_v2) -> tuple[int, int]:
    """Width and height as stored."""
    return tags[_WIDTH], tags[_HEIGHT]


def decode(file: BinaryIO, tags: TiffImagePlugin.ImageFileDirectory_v2) -> Image.Image | None:
    """L, LA, RGB or RGBA with its profile and orientation beside; None when OpenCV cannot either."""
    values = _samples(_marked_upright(file))
    if values is None or values.shape[1::-1] != size_of(tags):
        return None
    values = values.reshape(*values.shape[:2], -1)
    opaque = np.isfinite(values).all(axis=-1)
    colours = values[..., :3][..., ::-1]
    black, white = value_range(colours, ~np.broadcast_to(opaque[..., None], colours.shape))
    levels = scaled(colours, black, white)
    image = Image.fromarray(levels if levels.shape[-1] == 3 else levels[..., 0])
    if values.shape[-1] == 4 or not opaque.all():
        alpha = values[..., 3] if values.shape[-1] == 4 else np.ones(opaque.shape)
        alpha_levels = scaled(alpha, *value_range(alpha, ~opaque))
        image.putalpha(Image.fromarray(np.where(opaque, alpha_levels, 0).astype(np.uint8)))
    if _PROFILE in tags:
        image.info["icc_profile"] = tags[_PROFILE]
    image.getexif()[ExifTags.Base.Orientation] = tags.get(_ORIENTATION, 1)
    return image


def _marked_upright(file: BinaryIO) -> bytearray:
    """The file with an Orientation of 1: OpenCV turns some by it, and fails on those that lie on their side."""
    file.seek(0)
    data = bytearray(file.read())
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}L", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, start)
    for position in range(start + 2, start + 2 + 12 * entries, 12):  # tag, type, count, value
        if struct.unpack_from(f"{order}H", data, position) == (_ORIENTATION,):
            struct.pack_into(f"{order}HHLHH", data, position, _ORIENTATION, 3, 1, 1, 0)
    return data


def _samples(data: bytearray) -> NDArray[np.generic] | None:
    """[H, W] or [H, W, C], blue first, of the file's own type."""
    import cv2

    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # it prints what it cannot read
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        logging.setLogLevel(level)
