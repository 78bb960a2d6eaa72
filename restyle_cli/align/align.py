"""Crop images the way the models were trained: faces as in FFHQ, other domains as the catalog says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from restyle_cli.align.crop import crop_quad
from restyle_cli.align.detect import detect_boxes, find_faces, locate
from restyle_cli.align.geometry import (
    Matrix,
    Points,
    Quad,
    Size,
    as_quad,
    image_corners,
    inverse_of,
    mapped,
    matrix_of,
    quad_of,
    side_of,
)
from restyle_cli.align.landmarks import Landmarks
from restyle_cli.align.warnings import crop_warnings
from restyle_cli.errors import RestyleError, UsageError, did_you_mean
from restyle_cli.images import MARK
from restyle_cli.records import RecordError, parse_json
from restyle_cli.store import catalog

MODES = ("auto", "always", "never")
Rule = Literal["face", "centre", "none"]
"""How images of a domain are aligned; explained in `catalog.toml`."""
FaceChoice = int | Literal["all"]
"""The number of a face, 1 being the largest, or all faces."""

_FRAME = "ffhq"
_MAX_REFINEMENTS = 3
_VIEW_SIDE = 256  # px of the crop in which the face is detected again
_MAX_SIDE = 8  # longest side of a face's square, as a multiple of the image's
_SQUARE_TOLERANCE = 0.02
_FIT_TOLERANCE = 0.05  # of the side: largest distance between the corners of an image and of its face's square


@dataclass(frozen=True)
class AlignOptions:
    """`mode`: auto, always or never; which `face`; a domain's `rule`; `landmarks` that the user provides."""

    mode: str = "auto"
    face: FaceChoice = 1
    rule: Rule = "face"
    landmarks: Landmarks | None = None


@dataclass(frozen=True)
class Aligned:
    """An `image` ready for a model and where it comes from in the photo.

    `quad`: its corners in the photo; `matrix`: the affine map from photo to crop, 2x3; `faces`: how many were found, 0
    if none was searched; `face`: the number of this one; `how`: "aligned" (a face was cropped), "fits" (the image was a
    crop already), "centred" (the middle was cropped) or "unaligned" (resized); `landmarks`: [68, 2] or [5, 2], in the
    photo.
    """

    image: Image.Image
    quad: Quad
    matrix: Matrix
    faces: int
    how: str
    face: int = 1
    warnings: Sequence[str] = ()
    landmarks: Sequence[tuple[float, float]] = ()


def align_image(image: Image.Image, options: AlignOptions, size: Size, path: Path) -> list[Aligned]:
    """Align an RGB image, read from `path`, to `size` (height, width): one crop, or one of each face.

    auto: an image that is a crop already is only resized: by its `aligned_mark`, or because it is square and the face
    is in place. always: the face is cropped in any case. never: the whole image is resized, whatever its shape.

    RestyleError if there are fewer faces than requested, or none.
    """
    if options.mode not in MODES:
        hint = did_you_mean(options.mode, MODES) or "choose auto, always or never"
        raise UsageError(f"no alignment named '{options.mode}'", hint)
    if options.mode == "never" or options.rule == "none":
        return [_resized(image, size, "unaligned")]
    if options.rule == "centre":
        return [_centre_crop(image, size)]
    landmarks = options.landmarks.of(path) if options.landmarks else None
    if landmarks is not None:
        return [_crop_at(image, landmarks, options, size, path)]
    if options.mode == "auto" and options.face in (1, "all") and _is_marked(image):
        return [_resized(image, size, "fits")]
    faces = find_faces(image)
    if not faces:
        hint = "pass --align never if the photo is already cropped, or --landmarks FILE with the landmarks of its face"
        raise RestyleError(f"no face found in {str(path)!r}", hint)
    if options.face != "all" and options.face > len(faces):
        found = "1 face was found" if len(faces) == 1 else f"{len(faces)} faces were found"
        hint = "--face 1 is the largest; --face all takes each"
        raise RestyleError(f"no face {options.face} in {str(path)!r}: {found}", hint)
    numbers = range(1, len(faces) + 1) if options.face == "all" else [options.face]
    crops = []
    for number in numbers:
        crop = _crop_face(image, faces[number - 1].landmarks, options, size)
        if len(faces) > 1 and options.face == 1 and crop.how == "aligned":
            note = f"there are {len(faces)} faces, and this is the largest; --face all takes each"
            crop = replace(crop, warnings=(*crop.warnings, note))
        crops.append(replace(crop, faces=len(faces), face=number))
    return crops


def recrop(photo: Image.Image, quad: Quad, size: Size, is_face: bool) -> Image.Image:
    """Crop a quad of the photo again, to another `size` (height, width); `is_face`: with padding, as faces are."""
    if is_face:
        return _face_square(photo, quad, size)
    (left, top), _, (right, bottom), _ = ((round(x + 0.5), round(y + 0.5)) for x, y in quad)
    return _resized(photo.crop((left, top, right, bottom)), size, "unaligned").image


def alignment_rule(*names: str) -> Rule:
    """The rule of the domain of models or files with these names; "face" if the catalog knows none of them."""
    domain = catalog.domain_of(*names)
    return domain.align if domain is not None else "face"


def aligned_mark() -> dict[str, str]:
    """Text chunk for `images.save_image` that marks a PNG as aligned."""
    return {MARK: json.dumps({"frame": _FRAME})}


def _is_marked(image: Image.Image) -> bool:
    try:
        mark = parse_json(image.info.get(MARK, "null"))
    except RecordError:
        return False
    return isinstance(mark, dict) and mark.get("frame") == _FRAME


def _crop_face(image: Image.Image, landmarks: Points, options: AlignOptions, size: Size) -> Aligned:
    """Crop a face that was detected, unless the image is its crop."""
    quad, seen = _refine(image, quad_of(landmarks))
    if options.mode == "auto" and _fits(image, quad):
        return _resized(image, size, "fits")
    return _cropped(image, quad, landmarks if seen is None else seen, seen, size)


def _crop_at(image: Image.Image, landmarks: Points, options: AlignOptions, size: Size, path: Path) -> Aligned:
    """Crop the face at landmarks that the user provided, without correcting them."""
    quad = quad_of(landmarks)
    corners = np.array(quad)
    hint = f"landmarks are in pixels of the upright image, here {image.width}x{image.height}"
    if np.any(corners.max(axis=0) < 0) or np.any(corners.min(axis=0) > image.size):
        raise RestyleError(f"the landmarks for {str(path)!r} lie outside the image", hint)
    if side_of(quad) > _MAX_SIDE * max(image.size):
        raise RestyleError(f"the landmarks for {str(path)!r} are of a face much larger than the image", hint)
    if options.mode == "auto" and _fits(image, quad):
        return replace(_resized(image, size, "fits"), faces=1)
    return _cropped(image, quad, landmarks, _detect_in_crop(image, quad), size)


def _cropped(image: Image.Image, quad: Quad, landmarks: Points, seen: Points | None, size: Size) -> Aligned:
    square = _face_square(image, quad, size)
    warnings = tuple(crop_warnings(image, quad, landmarks, seen))
    return Aligned(square, quad, matrix_of(quad, size), 1, "aligned", 1, warnings, as_quad(landmarks))


def _face_square(image: Image.Image, quad: Quad, size: Size) -> Image.Image:
    square = crop_quad(image, quad, max(size))
    return square if size[0] == size[1] else square.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def _resized(image: Image.Image, size: Size, how: str) -> Aligned:
    """The whole image, resized with the filter that the papers use for aligned files."""
    quad = as_quad(image_corners(image))
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return Aligned(image, quad, matrix_of(quad, size), 0, how)


def _centre_crop(image: Image.Image, size: Size) -> Aligned:
    """The largest centred part with the aspect ratio of `size`."""
    height, width = size
    scale = min(image.width / width, image.height / height)
    across, down = min(round(width * scale), image.width), min(round(height * scale), image.height)
    left, top = (image.width - across) // 2, (image.height - down) // 2
    crop = _resized(image.crop((left, top, left + across, top + down)), size, "centred")
    quad = as_quad(np.array(crop.quad) + np.array((left, top)))
    return replace(crop, quad=quad, matrix=matrix_of(quad, size))


def _fits(image: Image.Image, quad: Quad) -> bool:
    """Whether the image is square, and the square of its face the whole image."""
    longer, shorter = max(image.size), min(image.size)
    distance = np.linalg.norm(np.array(quad) - image_corners(image), axis=1).max() / longer
    return bool(longer - shorter <= _SQUARE_TOLERANCE * longer and distance <= _FIT_TOLERANCE)


def _refine(image: Image.Image, quad: Quad) -> tuple[Quad, Points | None]:
    """Detect the face again in its crop, until the crop stays; also the landmarks that were detected last.

    The landmark model was trained on upright faces and can be far off on strongly tilted ones. A crop that is right
    already is not changed at all.
    """
    seen = _detect_in_crop(image, quad)
    for _ in range(_MAX_REFINEMENTS):
        if seen is None:
            break
        corners = np.array(quad)
        distance = np.linalg.norm(np.array(quad_of(seen)) - corners, axis=1).max()
        if distance / np.linalg.norm(corners[3] - corners[0]) <= _FIT_TOLERANCE:
            break
        quad = quad_of(seen)
        seen = _detect_in_crop(image, quad)
    return quad, seen


def _detect_in_crop(image: Image.Image, quad: Quad) -> Points | None:
    """The landmarks, in coordinates of the image, of the face in the middle of the crop; None if there is none."""
    view = crop_quad(image, quad, _VIEW_SIDE)
    boxes = detect_boxes(view)
    if not boxes:
        return None
    middle = min(boxes, key=lambda box: np.abs(box.mean(axis=0) - _VIEW_SIDE / 2).max())
    landmarks = locate(view, 0, [middle])[0].landmarks
    return mapped(landmarks, inverse_of(matrix_of(quad, _VIEW_SIDE)))
