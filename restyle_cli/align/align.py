"""Photos framed as the networks know them: a face's square as in FFHQ, or what another domain was trained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from restyle_cli.align.crop import crop_quad
from restyle_cli.align.detect import Face, detect_boxes, find_faces, locate
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
from restyle_cli.records import Misfit, parse_json
from restyle_cli.store import catalog

MODES = ("auto", "always", "never")
Rule = Literal["face", "centre", "none"]
"""How a domain's pictures are framed; explained in `catalog.toml`."""
FaceChoice = int | Literal["all"]
"""Of several faces, one by its number, 1 being the largest, or each."""

_FRAME = "ffhq"
_LOOKS, _VIEW_SIDE = 3, 256  # how often a crop is looked at again, and how large, px
_LARGEST = 8  # times the picture's side: how large the square around a face may be
_SQUARE_WITHIN = 0.02
_FITS_WITHIN = 0.05  # of the side: how far a corner of the face's own square may lie from the picture's


@dataclass(frozen=True)
class AlignOptions:
    """What is wished: `mode` auto, always or never, which `face`, a domain's `rule`, a person's own `points`."""

    mode: str = "auto"
    face: FaceChoice = 1
    rule: Rule = "face"
    points: Landmarks | None = None


@dataclass(frozen=True)
class Aligned:
    """An `image` ready for the networks and where it was in the photo.

    `quad`: its corners there (the photo's own corners, unless cut out); `matrix`: photo to crop, 2x3;
    `faces`: how many were found, 0 when none was looked for; `face`: which of them this is, 1 the largest;
    `how`: "aligned" (cut out), "fits" (was framed already), "centred" (the middle, of domains without faces) or
    "unaligned" (left as it was, as wished or as its domain has it);
    `warnings`: what looks off, for people to read; `landmarks`: [68, 2] or [5, 2], in the photo.
    """

    image: Image.Image
    quad: Quad
    matrix: Matrix
    faces: int
    how: str
    face: int = 1
    warnings: Sequence[str] = ()
    landmarks: Sequence[tuple[float, float]] = ()


def align(picture: Image.Image, mode: str = "auto", size: int = 256, name: str = "the picture") -> Aligned:
    """An RGB `picture` framed, as a square of `size` pixels; of several faces, the largest.

    auto: leaves alone what fits: what carries our mark (`aligned_mark`), or is square with the face in place.
    always: cuts out the face whatever the picture is. never: the whole picture, squashed.
    RestyleError naming `name` when there is no face.
    """
    return align_image(picture, AlignOptions(mode), (size, size), Path(name))[0]


def align_image(picture: Image.Image, framing: AlignOptions, size: Size, path: Path) -> list[Aligned]:
    """An RGB `picture`, read from `path`, framed as pictures of `size` (height, width): one, or each face's.

    RestyleError when there is no face, or not as many as asked for.
    """
    mode = framing.mode
    if mode not in MODES:
        near = did_you_mean(mode, MODES)
        raise UsageError(f"no alignment named '{mode}'", near or "choose auto, always or never")
    if mode == "never" or framing.rule == "none":
        return [_whole(picture, size, 0, "unaligned")]
    if framing.rule == "centre":
        return [_centred(picture, size)]
    own = framing.points.of(path) if framing.points else None
    if own is not None:
        return [_at(picture, own, framing, size, path)]
    if mode == "auto" and framing.face in (1, "all") and _is_marked(picture):
        return [_whole(picture, size, 0, "fits")]
    faces = find_faces(picture)
    chosen = _choose(faces, framing.face, path)
    return [_framed(picture, faces, number, framing, size) for number in chosen]


def recrop(photo: Image.Image, quad: Quad, size: Size, cut_out: bool) -> Image.Image:
    """What `quad` holds of the photo, in another `size` (height, width); `cut_out`: as a face's square is."""
    if cut_out:
        return _square(photo, quad, size)
    (left, top), _, (right, bottom), _ = ((round(x + 0.5), round(y + 0.5)) for x, y in quad)
    return _whole(photo.crop((left, top, right, bottom)), size, 0, "unaligned").image


def alignment_rule(*names: str) -> Rule:
    """How photos are framed for networks or files called so; as faces when the catalog does not know any of them."""
    domain = catalog.domain_of(*names)
    return domain.align if domain is not None else "face"


def aligned_mark() -> dict[str, str]:
    """The text chunk by which a PNG says that it is framed already: `images.save_image(…, text=…)`."""
    return {MARK: json.dumps({"frame": _FRAME})}


def _choose(faces: Sequence[Face], face: FaceChoice, path: Path) -> list[int]:
    """The numbers, from 1 on, of the faces asked for."""
    if not faces:
        hint = "pass --align never if the photo is already cropped, or --landmarks FILE with the points of its face"
        raise RestyleError(f"no face found in {str(path)!r}", hint)
    if face == "all":
        return list(range(1, len(faces) + 1))
    if face > len(faces):
        found = "1 face was" if len(faces) == 1 else f"{len(faces)} faces were"
        hint = "--face 1 is the largest; --face all takes each"
        raise RestyleError(f"no face {face} in {str(path)!r}: {found} found", hint)
    return [face]


def _framed(picture: Image.Image, faces: Sequence[Face], number: int, framing: AlignOptions, size: Size) -> Aligned:
    """The face of this number, cut out, unless the picture fits already."""
    landmarks = faces[number - 1].landmarks
    quad, seen = _settle(picture, quad_of(landmarks))
    if framing.mode == "auto" and _fits(picture, quad):
        return replace(_whole(picture, size, len(faces), "fits"), face=number)
    if seen is not None:
        landmarks = seen
    doubts = crop_warnings(picture, quad, landmarks, seen)
    if len(faces) > 1 and framing.face == 1:
        doubts.append(f"there are {len(faces)} faces, and this is the largest; --face all takes each")
    return _cut_out(picture, quad, size, len(faces), number, doubts, landmarks)


def _at(picture: Image.Image, landmarks: Points, framing: AlignOptions, size: Size, path: Path) -> Aligned:
    """The face at the points that a person gave; these are believed, but looked at."""
    quad = quad_of(landmarks)
    corners = np.array(quad)
    hint = f"points count in pixels of the upright picture, here {picture.width}x{picture.height}"
    if np.any(corners.max(axis=0) < 0) or np.any(corners.min(axis=0) > picture.size):
        raise RestyleError(f"the landmarks for {str(path)!r} lie outside of it", hint)
    if side_of(quad) > _LARGEST * max(picture.size):
        raise RestyleError(f"the landmarks for {str(path)!r} are of a face much larger than it", hint)
    if framing.mode == "auto" and _fits(picture, quad):
        return _whole(picture, size, 1, "fits")
    doubts = crop_warnings(picture, quad, landmarks, _look(picture, quad))
    return _cut_out(picture, quad, size, 1, 1, doubts, landmarks)


def _cut_out(
    picture: Image.Image,
    quad: Quad,
    size: Size,
    faces: int,
    number: int,
    doubts: list[str],
    landmarks: Points,
) -> Aligned:
    square = _square(picture, quad, size)
    return Aligned(square, quad, matrix_of(quad, size), faces, "aligned", number, tuple(doubts), as_quad(landmarks))


def _square(picture: Image.Image, quad: Quad, size: Size) -> Image.Image:
    square = crop_quad(picture, quad, max(size))
    return square if size[0] == size[1] else square.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def _whole(picture: Image.Image, size: Size, faces: int, how: str) -> Aligned:
    """The picture as it is; shrunk by the filter the papers read their aligned files with."""
    quad = as_quad(image_corners(picture))
    width_height = (size[1], size[0])
    resized = picture
    if picture.size != width_height:
        resized = picture.resize(width_height, Image.Resampling.BILINEAR)
    return Aligned(resized, quad, matrix_of(quad, size), faces, how)


def _centred(picture: Image.Image, size: Size) -> Aligned:
    """The largest part of the shape of `size` from the middle of the picture."""
    height, width = size
    scale = min(picture.width / width, picture.height / height)
    across, down = min(round(width * scale), picture.width), min(round(height * scale), picture.height)
    left, top = (picture.width - across) // 2, (picture.height - down) // 2
    part = _whole(picture.crop((left, top, left + across, top + down)), size, 0, "centred")
    quad = as_quad(np.array(part.quad) + np.array((left, top)))
    return replace(part, quad=quad, matrix=matrix_of(quad, size))


def _fits(picture: Image.Image, quad: Quad) -> bool:
    longer, shorter = max(picture.size), min(picture.size)
    return longer - shorter <= _SQUARE_WITHIN * longer and _off(picture, quad) <= _FITS_WITHIN


def _off(picture: Image.Image, quad: Quad) -> float:
    """How far the corners of a face's own square are from the picture's at most, as a part of its side."""
    return float(np.linalg.norm(np.array(quad) - image_corners(picture), axis=1).max() / max(picture.size))


def _is_marked(picture: Image.Image) -> bool:
    try:
        mark = parse_json(picture.info.get(MARK, "null"))
    except Misfit:
        return False
    return isinstance(mark, dict) and mark.get("frame") == _FRAME


def _settle(picture: Image.Image, quad: Quad) -> tuple[Quad, Points | None]:
    """Look at the crop again, and move it until the face in it stays where it is; also the points last seen.

    Landmarks are learnt on upright faces: on strongly tilted ones they can be far off, and one or two looks
    mend that. A crop that is right is left as it is, to the last digit.
    """
    seen = _look(picture, quad)
    for _ in range(_LOOKS):
        if seen is None or _moved(quad, seen) <= _FITS_WITHIN:
            break
        quad = quad_of(seen)
        seen = _look(picture, quad)
    return quad, seen


def _moved(quad: Quad, landmarks: Points) -> float:
    """How far the square of `landmarks` is from `quad`, corner by corner at most, as a part of its side."""
    corners = np.array(quad)
    difference = np.linalg.norm(np.array(quad_of(landmarks)) - corners, axis=1)
    return float(difference.max() / np.linalg.norm(corners[3] - corners[0]))


def _look(picture: Image.Image, quad: Quad) -> Points | None:
    """The points, in the photo, of the face in the middle of the crop; None when none is seen there."""
    view = crop_quad(picture, quad, _VIEW_SIDE)
    boxes = detect_boxes(view)
    if not boxes:
        return None
    middle = min(boxes, key=lambda box: np.abs(box.mean(axis=0) - _VIEW_SIDE / 2).max())
    seen = locate(view, 0, [middle])[0].landmarks
    return mapped(seen, inverse_of(matrix_of(quad, _VIEW_SIDE)))
