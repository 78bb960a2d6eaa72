"""What makes one doubt that a crop shows a face as the networks know it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from restyle_cli.align.geometry import Points, Quad, features_of, mapped, matrix_of, quad_of, side_of

SMALL = 128
"""Pixels across a crop in the photo; from fewer, a crop of 256 shows no more than blur."""
_MISPLACED = 0.06  # of the crop's side: how far eyes or mouth may be from where they are placed
_SIDEWAYS = (
    0.42  # of the eyes' distance: how far the nose's tip is off their middle when a head is turned by 45 degrees
)
_NARROW = 0.6  # distance of the eyes against theirs from the mouth: .9 from the front, .6 turned by 45 degrees
_OUTSIDE = 3  # points beyond the border, of the 68: one or two may be the jaw's, guessed


def crop_warnings(picture: Image.Image, quad: Quad, landmarks: Points, seen: Points | None) -> list[str]:
    """What looks off about the crop `quad` with its `landmarks`, one line each; [] when nothing does.

    `seen` are the points found when looking at the crop itself, None when no face was found in it.
    """
    doubts = []
    if seen is None:
        doubts.append("no face is recognised in the crop itself; look at it")
    elif _misplaced(quad, seen) > _MISPLACED:
        doubts.append("eyes and mouth are not where they belong in the crop; look at it")
    if _is_cut_off(picture, landmarks):
        doubts.append("the face is cut by the border of the photo; what is missing was mirrored")
    if (side := side_of(quad)) < SMALL:
        doubts.append(f"the face is very small: the crop is {side:.0f} pixels wide in the photo")
    if _is_sideways(landmarks):
        doubts.append("the face is seen from the side, which the networks hardly know")
    return doubts


def _misplaced(quad: Quad, seen: Points) -> float:
    """The largest distance of eyes and mouth, as parts of the side, from where a crop cut by `seen` has them."""
    here = mapped(features_of(seen), matrix_of(quad, 1))
    there = mapped(features_of(seen), matrix_of(quad_of(seen), 1))
    return float(np.linalg.norm(here - there, axis=1).max())


def _is_cut_off(picture: Image.Image, landmarks: Points) -> bool:
    outside = np.any((landmarks < -0.5) | (landmarks > np.array(picture.size) - 0.5), axis=1)
    return int(outside.sum()) >= min(_OUTSIDE, len(landmarks) // 4)


def _is_sideways(landmarks: Points) -> bool:
    eye_left, eye_right, mouth = features_of(landmarks)
    down, width = mouth - (eye_left + eye_right) / 2, np.hypot(*(eye_right - eye_left))
    nose = (landmarks[30] if len(landmarks) == 68 else landmarks[2]) - (eye_left + eye_right) / 2
    off = abs(down[0] * nose[1] - down[1] * nose[0]) / np.hypot(*down)  # from the line between eyes and mouth
    return bool(off > _SIDEWAYS * width or width < _NARROW * np.hypot(*down))
