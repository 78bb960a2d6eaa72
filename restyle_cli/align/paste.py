"""A crop's picture put back into its photo: warped to its place, matched to what surrounds it, faded in at its edges.

The photo may be grey, have transparent parts or a colour profile, and keeps them. Outside the crop no value changes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from restyle_cli.align import Quad, crop_quad, inverse_of, matrix_of
from restyle_cli.align.geometry import image_corners, side_of
from restyle_cli.images.colour import from_srgb

FEATHER = 0.08
"""Over which part of the crop's side the picture fades in."""
_MATCHED = 0.25  # of the side: how far from the edge the colours are drawn to the photo's
_MATCH_SIDE = 128  # px: colours are compared in crops of this size
_RING = round(FEATHER * _MATCH_SIDE)  # px: how deep along the edges
_EVENED = 0.04 * _MATCH_SIDE  # px: what is finer along the edges is no matter of colour
_ROWS = 256  # of the photo at once, so that large ones need little memory
_MODES = ("L", "LA", "RGB", "RGBA")

Field = NDArray[np.float32]


def paste(photo: Image.Image, picture: Image.Image, quad: Quad) -> Image.Image:
    """A copy of `photo` (L, LA, RGB or RGBA) with `picture` (RGB, sRGB) in the place that `quad` has in it.

    Where the quad is the whole photo, the result is the picture, resized. The result has the photo's colour profile
    (`.info`), and the picture comes in its colours.
    """
    if photo.mode not in _MODES:
        raise ValueError(f"photos of mode {photo.mode} are not pasted into")
    icc = photo.info.get("icc_profile")
    pasted = _pasted(photo, from_srgb(picture, icc), quad)
    pasted.info = {"icc_profile": icc} if icc else {}
    return pasted


def _pasted(photo: Image.Image, picture: Image.Image, quad: Quad) -> Image.Image:
    if np.abs(np.array(quad) - image_corners(photo)).max() < 1e-6:
        resized = picture.resize(photo.size, Image.Resampling.BICUBIC) if picture.size != photo.size else picture
        return _with_alpha_of(photo, resized)
    return _with_alpha_of(photo, _blended(photo.convert("RGB"), picture, quad, grey=photo.mode[0] == "L"))


def _with_alpha_of(photo: Image.Image, result: Image.Image) -> Image.Image:
    """`result` (RGB) in the mode of the photo."""
    result = result.convert("L") if photo.mode[0] == "L" else result
    if photo.mode in ("LA", "RGBA"):
        result = result.copy()
        result.putalpha(photo.getchannel("A"))
    return result


def _blended(photo: Image.Image, picture: Image.Image, quad: Quad, grey: bool) -> Image.Image:
    picture = picture.convert("L").convert("RGB") if grey else picture
    picture = _shrunk(picture, quad)
    values = np.asarray(picture, np.float32) + _colour_match(photo, picture, quad)
    open_edges = _open_edges(photo, quad)
    result = np.array(photo)
    for rows, columns in _bands(photo, quad):
        colours, depth = _sampled(values, quad, rows, columns, open_edges)
        weight = _smooth(depth / FEATHER)[..., None]
        old = result[rows, columns]
        new = np.clip(np.rint(old + weight * (colours - old)), 0, 255).astype(np.uint8)
        result[rows, columns] = np.where(weight > 0, new, old)
    return Image.fromarray(result)


def _shrunk(picture: Image.Image, quad: Quad) -> Image.Image:
    """At most twice as fine as its place in the photo; from finer ones, pixels would be skipped."""
    finest = 2 * side_of(quad)
    if picture.width <= finest:
        return picture
    size = (max(round(finest), 8), max(round(finest * picture.height / picture.width), 8))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _bands(photo: Image.Image, quad: Quad) -> Iterator[tuple[slice, slice]]:
    """The part of the photo that the quad touches, some rows at a time."""
    corners = np.array(quad)
    left, top = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int).tolist()
    right, bottom = (np.minimum(np.ceil(corners.max(axis=0)) + 1, photo.size)).astype(int).tolist()
    for row in range(top, bottom, _ROWS):
        columns = np.array([x for x in _across(corners, row - 1, min(row + _ROWS, bottom)) if np.isfinite(x)])
        low = max(int(np.floor(columns.min(initial=right))), left)
        high = min(int(np.ceil(columns.max(initial=left))) + 1, right)
        if low < high:
            yield slice(row, min(row + _ROWS, bottom)), slice(low, high)


def _across(corners: NDArray[np.float64], above: float, below: float) -> Iterator[float]:
    """The columns between which the quad lies in rows from `above` to `below`."""
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        for y in (above, below):
            if min(y0, y1) <= y <= max(y0, y1) and y0 != y1:
                yield x0 + (x1 - x0) * (y - y0) / (y1 - y0)
        if above <= y0 <= below:
            yield x0


def _sampled(
    values: Field, quad: Quad, rows: slice, columns: slice, open_edges: tuple[bool, ...]
) -> tuple[Field, Field]:
    """Colours of the photo's pixels, by cubic interpolation, and how deep in the crop each lies, in parts of its side.

    Depth counts from the edges that are open only, and is 0 or less outside.
    """
    import cv2

    height, width = values.shape[:2]
    back = np.array(inverse_of(matrix_of(quad, (height, width))))  # crop to photo, as cv2 wants to invert it itself
    back[:, 2] -= (columns.start, rows.start)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    colours = cv2.warpAffine(values, back, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    (a, b, x0), (c, d, y0) = matrix_of(quad, 1)
    x, y = np.arange(columns.start, columns.stop), np.arange(rows.start, rows.stop)[:, None]
    u, v = a * x + b * y + x0 + 0.5, c * x + d * y + y0 + 0.5
    depth = np.full(u.shape, FEATHER)
    inside = (u > 0) & (u < 1) & (v > 0) & (v < 1)
    for distance, is_open in zip((u, v, 1 - u, 1 - v), open_edges, strict=True):
        if is_open:
            depth = np.minimum(depth, distance)
    return colours, np.where(inside, depth, 0).astype(np.float32)


def _open_edges(photo: Image.Image, quad: Quad) -> tuple[bool, ...]:
    """Whether the crop's left, top, right and bottom edge has photo beyond it to fade into."""
    upper_left, lower_left, lower_right, upper_right = np.array(quad)
    edges = ((upper_left, lower_left), (upper_left, upper_right), (upper_right, lower_right), (lower_left, lower_right))
    border = image_corners(photo)
    low, high = border[0] + 1e-6, border[2] - 1e-6
    return tuple(
        not any(np.all(np.array(edge)[:, i] <= low[i]) or np.all(np.array(edge)[:, i] >= high[i]) for i in (0, 1))
        for edge in edges
    )


def _smooth(x: Field) -> Field:
    """From 0 at 0 to 1 at 1, without a kink at either."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _colour_match(photo: Image.Image, picture: Image.Image, quad: Quad) -> Field:
    """What is added to `picture` [H, W, 3] so that along the edges its colours are those of the photo.

    The differences along the four edges, evened out, are carried inwards and fade: the middle of the picture keeps
    its own colours.
    """
    import cv2

    there = np.asarray(crop_quad(photo, quad, _MATCH_SIDE), np.float32)
    here = np.asarray(picture.resize((_MATCH_SIDE, _MATCH_SIDE), Image.Resampling.BOX), np.float32)
    patch = _carried_inwards(there - here)
    x = np.abs((np.arange(_MATCH_SIDE) + 0.5) / _MATCH_SIDE * 2 - 1)
    depth = (1 - np.maximum(x[None, :], x[:, None])) / 2
    patch *= (1 - _smooth(depth / _MATCHED))[..., None]
    return cv2.resize(patch.astype(np.float32), picture.size, interpolation=cv2.INTER_LINEAR)


def _carried_inwards(difference: Field) -> Field:
    """From the values along the four edges of `difference` a surface [S, S, 3]: the nearer an edge, the more it counts.

    So are they by inverse distance (Shepard 1968); of a patch that is interpolated between opposite edges, what is
    dark below would darken the sides.
    """
    side = len(difference)
    top, bottom = (_even(ring.mean(axis=0)) for ring in (difference[:_RING], difference[-_RING:]))
    left, right = (_even(ring.mean(axis=1)) for ring in (difference[:, :_RING], difference[:, -_RING:]))
    t = (np.arange(side, dtype=np.float32) + 0.5) / side
    u, v = np.meshgrid(t, t)
    weights = np.stack([v, 1 - v, u, 1 - u]) ** -3
    weights /= weights.sum(axis=0)
    edges = np.broadcast_arrays(top[None], bottom[None], left[:, None], right[:, None])
    return sum(weight[..., None] * edge for weight, edge in zip(weights, edges, strict=True))


def _even(
    line: Field,  # [S, 3]
) -> Field:
    """Without its fine detail."""
    import cv2

    return cv2.GaussianBlur(line[None], (0, 0), _EVENED, borderType=cv2.BORDER_REFLECT)[0]
