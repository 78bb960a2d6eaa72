"""Paste a generated crop into its photo: warped into place, colours matched at the edges, and blended.

The photo may be grey, have transparent parts or a colour profile, and keeps them. Outside the crop no value changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from restyle_cli.align.crop import crop_quad
from restyle_cli.align.geometry import Quad, image_corners, inverse_of, matrix_of, side_of
from restyle_cli.images.colour import from_srgb

FEATHER = 0.08
"""Width of the blended border, as a fraction of the crop's side."""
_MATCHED = 0.25  # width of the border in which colours are matched to the photo
_MATCH_SIDE = 128  # px of the crops in which colours are compared
_RING = round(FEATHER * _MATCH_SIDE)  # px: width of the border that is averaged
_BLUR = 0.04 * _MATCH_SIDE  # px: finer differences along the edges are no difference in colour
_ROWS = 256  # of the photo at once, so that large photos need little memory
_MODES = ("L", "LA", "RGB", "RGBA")

Array = NDArray[np.float32]


def paste(photo: Image.Image, image: Image.Image, quad: Quad) -> Image.Image:
    """A copy of `photo` (L, LA, RGB or RGBA) with `image` (RGB, sRGB) at its `quad`.

    The result has the photo's mode, alpha and colour profile (in `.info`). If the quad is the whole photo, it is the
    resized image. ValueError for other modes.
    """
    if photo.mode not in _MODES:
        raise ValueError(f"cannot paste into an image of mode {photo.mode}")
    icc = photo.info.get("icc_profile")
    image = from_srgb(image, icc)
    is_grey = photo.mode[0] == "L"
    if np.abs(np.array(quad) - image_corners(photo)).max() < 1e-6:
        result = image.resize(photo.size, Image.Resampling.BICUBIC) if image.size != photo.size else image.copy()
    else:
        result = _blend(photo.convert("RGB"), image.convert("L").convert("RGB") if is_grey else image, quad)
    if is_grey:
        result = result.convert("L")
    if photo.mode in ("LA", "RGBA"):
        result.putalpha(photo.getchannel("A"))
    result.info = {"icc_profile": icc} if icc else {}
    return result


def _blend(photo: Image.Image, image: Image.Image, quad: Quad) -> Image.Image:
    finest = 2 * side_of(quad)
    if image.width > finest:  # the warp would skip pixels of an image finer than that
        size = (max(round(finest), 8), max(round(finest * image.height / image.width), 8))
        image = image.resize(size, Image.Resampling.LANCZOS)
    values = np.asarray(image, np.float32) + _colour_difference(photo, image, quad)
    blended_edges = _blended_edges(photo, quad)
    result = np.array(photo)
    corners = np.array(quad)
    left, top = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)) + 1, photo.size).astype(int).tolist()
    for row in range(top, bottom, _ROWS):
        box = (left, row, right, min(row + _ROWS, bottom))
        colours, depth = _warp(values, quad, box, blended_edges)
        part = result[row : box[3], left:right]
        weight = _smoothstep(depth / FEATHER)[..., None]
        blended = np.clip(np.rint(part + weight * (colours - part)), 0, 255).astype(np.uint8)
        part[...] = np.where(weight > 0, blended, part)
    return Image.fromarray(result)


def _warp(
    values: Array, quad: Quad, box: tuple[int, int, int, int], blended_edges: Sequence[bool]
) -> tuple[Array, Array]:
    """Colours of the photo's pixels in `box`, and the distance of each to the blended edges of the crop.

    The distance is a fraction of the side, at most `FEATHER`, and 0 outside the crop.
    """
    left, top, right, bottom = box
    matrix = np.array(inverse_of(matrix_of(quad, values.shape[:2])))  # from crop to photo; OpenCV inverts it
    matrix[:, 2] -= (left, top)
    size = (right - left, bottom - top)
    colours = cv2.warpAffine(values, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    (a, b, x0), (c, d, y0) = matrix_of(quad, 1)
    x, y = np.arange(left, right), np.arange(top, bottom)[:, None]
    u, v = a * x + b * y + x0 + 0.5, c * x + d * y + y0 + 0.5
    depth = np.full(u.shape, FEATHER)
    for distance, is_blended in zip((u, v, 1 - u, 1 - v), blended_edges, strict=True):
        if is_blended:
            depth = np.minimum(depth, distance)
    inside = (u > 0) & (u < 1) & (v > 0) & (v < 1)
    return np.asarray(colours, np.float32), np.where(inside, depth, 0).astype(np.float32)


def _blended_edges(photo: Image.Image, quad: Quad) -> list[bool]:
    """Whether there is photo beyond the crop's left, top, right and bottom edge."""
    corners, border = np.array(quad), image_corners(photo)
    low, high = border[0] + 1e-6, border[2] - 1e-6
    edges = (corners[[0, 1]], corners[[0, 3]], corners[[3, 2]], corners[[1, 2]])
    return [not np.any(np.all(edge <= low, axis=0) | np.all(edge >= high, axis=0)) for edge in edges]


def _colour_difference(photo: Image.Image, image: Image.Image, quad: Quad) -> Array:
    """What to add to `image`, [H, W, 3], so that its colours along the edges are those of the photo.

    The blurred differences along the four edges are interpolated inwards by inverse distance (Shepard 1968) and fade
    out: the middle of the image keeps its colours. Interpolating between opposite edges would darken the sides where
    one of them is dark.
    """
    there = np.asarray(crop_quad(photo, quad, _MATCH_SIDE), np.float32)
    difference = there - np.asarray(image.resize((_MATCH_SIDE, _MATCH_SIDE), Image.Resampling.BOX), np.float32)
    top, bottom = (_blur(ring.mean(axis=0)) for ring in (difference[:_RING], difference[-_RING:]))
    left, right = (_blur(ring.mean(axis=1)) for ring in (difference[:, :_RING], difference[:, -_RING:]))
    t = (np.arange(_MATCH_SIDE, dtype=np.float32) + 0.5) / _MATCH_SIDE
    u, v = np.meshgrid(t, t)
    weights = np.stack([v, 1 - v, u, 1 - u]) ** -3
    weights /= weights.sum(axis=0)
    edges = np.broadcast_arrays(top[None], bottom[None], left[:, None], right[:, None])
    patch = np.einsum("ehw,ehwc->hwc", weights, np.stack(edges))
    depth = np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))
    patch *= (1 - _smoothstep(depth / _MATCHED))[..., None]
    return np.asarray(cv2.resize(patch, image.size, interpolation=cv2.INTER_LINEAR), np.float32)


def _blur(line: Array) -> Array:
    """A line [S, 3] without fine detail."""
    return np.asarray(cv2.GaussianBlur(line[None], (0, 0), _BLUR, borderType=cv2.BORDER_REFLECT)[0])


def _smoothstep(x: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """From 0 at 0 to 1 at 1, with a slope of 0 at both."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
