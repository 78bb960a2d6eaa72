"""Cutting a square out of a photo, as FFHQ's pictures were cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from restyle_cli.align.geometry import Points, Quad, side_of


def crop_quad(picture: Image.Image, quad: Quad, size: int) -> Image.Image:
    """What `quad` holds, as a square of `size` pixels; what is outside the photo is mirrored and blurred."""
    picture, corners = _crop(picture, np.array(quad))
    picture, corners = _shrink(picture, corners, size)
    picture, corners = _pad(picture, corners)
    fine = min(4 * size, max(1024, 2 * size))  # 4096 for 1024 costs 0.8 s and cannot be seen
    data = tuple((corners + 0.5).ravel().tolist())  # Pillow counts from the corner of the first pixel
    square = picture.transform((fine, fine), Image.Transform.QUAD, data, Image.Resampling.BILINEAR)
    return square.resize((size, size), Image.Resampling.LANCZOS)


def _crop(picture: Image.Image, corners: Points) -> tuple[Image.Image, Points]:
    """Keep only the box around the corners, with a border, as far as the photo goes."""
    border = _border(corners)
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - border, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + border, picture.size)
    if np.any(high <= low):  # the square lies beside the photo
        return picture, corners
    return picture.crop((*low.tolist(), *high.tolist())), corners - low


def _shrink(picture: Image.Image, corners: Points, size: int) -> tuple[Image.Image, Points]:
    """Shrink a face much larger than wanted, so that sampling it skips no pixels."""
    factor = int(side_of(corners) / size / 2)
    if factor <= 1:
        return picture, corners
    smaller = (max(round(picture.width / factor), 1), max(round(picture.height / factor), 1))
    scale = np.array(smaller) / np.array(picture.size)
    return picture.resize(smaller, Image.Resampling.LANCZOS), (corners + 0.5) * scale - 0.5


def _pad(picture: Image.Image, corners: Points) -> tuple[Image.Image, Points]:
    """Mirror the photo outwards where the corners leave it; the further out, the more blurred and paler."""
    import cv2

    border, side = _border(corners), side_of(corners)
    before = np.maximum(border - np.floor(corners.min(axis=0)).astype(int), 0)
    after = np.maximum(np.ceil(corners.max(axis=0)).astype(int) + border - np.array(picture.size), 0)
    if max(*before, *after) <= border - 4:
        return picture, corners
    least = round(side * 0.3)
    left, top = np.maximum(before, least).tolist()
    right, bottom = np.maximum(after, least).tolist()
    wide = np.pad(np.asarray(picture, np.float32), ((top, bottom), (left, right), (0, 0)), mode="reflect")

    # 1 at the outer edge, 0 at the photo's edge, below 0 inside
    out_x, out_y = _outwards(wide.shape[1], left, right), _outwards(wide.shape[0], top, bottom)
    out = np.maximum(out_x[None, :], out_y[:, None])[..., None]
    blurred = cv2.GaussianBlur(wide, (0, 0), side * 0.02, borderType=cv2.BORDER_REFLECT)
    wide += (blurred - wide) * np.clip(3 * out + 1, 0, 1)
    wide += (np.median(wide, axis=(0, 1)) - wide) * np.clip(out, 0, 1)
    return Image.fromarray(np.clip(np.rint(wide), 0, 255).astype(np.uint8)), corners + np.array((left, top))


def _border(corners: Points) -> int:
    return max(round(side_of(corners) * 0.1), 3)


def _outwards(length: int, before: int, after: int) -> NDArray[np.float32]:
    i = np.arange(length, dtype=np.float32)
    return 1 - np.minimum(i / before, (length - 1 - i) / after)
