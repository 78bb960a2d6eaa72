"""Warnings about a crop that may not show a face as the models expect it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from restyle_cli.align.geometry import Points, Quad, features_of, mapped, matrix_of, quad_of, side_of

SMALL = 128
"""Width of a crop in the photo, in px, below which the result is blurred."""
_MISPLACED = 0.06  # largest distance of eyes or mouth from their place, as a fraction of the crop's side
# Of a head turned by 45 degrees: distance of the nose tip from the axis of the face / distance of the eyes, and
# distance of the eyes / distance from eyes to mouth (0.9 from the front).
_SIDEWAYS, _NARROW = 0.42, 0.6
_OUTSIDE = 3  # of 68 landmarks; one or two outside may be a guess at the jaw


def crop_warnings(image: Image.Image, quad: Quad, landmarks: Points, seen: Points | None) -> list[str]:
    """Warnings about the crop `quad` of a face with `landmarks`, one line each.

    `seen`: the landmarks detected in the crop, in coordinates of the photo; None if no face was detected there.
    """
    warnings = []
    if seen is None:
        warnings.append("no face is detected in the crop; check it")
    elif _misplaced(quad, seen) > _MISPLACED:
        warnings.append("eyes and mouth are not where they belong in the crop; check it")
    if _is_cut_off(image, landmarks):
        warnings.append("the face is cut by the border of the photo; the missing part is mirrored")
    if (side := side_of(quad)) < SMALL:
        warnings.append(f"the face is very small: the crop is {side:.0f} pixels wide in the photo")
    if _is_sideways(landmarks):
        warnings.append("the face is seen from the side; the models were trained on few such faces")
    return warnings


def _misplaced(quad: Quad, seen: Points) -> float:
    """Largest distance of eyes and mouth from their place in a crop made from `seen`, as a fraction of the side."""
    actual = mapped(features_of(seen), matrix_of(quad, 1))
    expected = mapped(features_of(seen), matrix_of(quad_of(seen), 1))
    return float(np.linalg.norm(actual - expected, axis=1).max())


def _is_cut_off(image: Image.Image, landmarks: Points) -> bool:
    outside = np.any((landmarks < -0.5) | (landmarks > np.array(image.size) - 0.5), axis=1)
    return int(outside.sum()) >= min(_OUTSIDE, len(landmarks) // 4)


def _is_sideways(landmarks: Points) -> bool:
    eye_left, eye_right, mouth = features_of(landmarks)
    down, width = mouth - (eye_left + eye_right) / 2, np.hypot(*(eye_right - eye_left))
    nose = (landmarks[30] if len(landmarks) == 68 else landmarks[2]) - (eye_left + eye_right) / 2
    height = np.hypot(*down)
    offset = abs(down[0] * nose[1] - down[1] * nose[0]) / height  # of the nose from the line between eyes and mouth
    return bool(offset > _SIDEWAYS * width or width < _NARROW * height)
