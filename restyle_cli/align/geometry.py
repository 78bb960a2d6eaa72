"""The square of a face in a photo, and the affine map from the photo to the crop.

Coordinates are in pixels; (0, 0) is the *centre* of the upper left pixel, as for landmarks, so the corner of the image
is (-0.5, -0.5).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Points = NDArray[np.float64]
"""[..., 2]: x to the right, y downwards."""
Quad = tuple[tuple[float, float], ...]
"""Four corners in the photo: upper left, lower left, lower right, upper right of the crop."""
Matrix = tuple[tuple[float, float, float], tuple[float, float, float]]
Size = tuple[int, int]
"""Height and width."""


def features_of(
    landmarks: Points,  # [68, 2] or [5, 2]
) -> Points:
    """The centres of left eye, right eye and mouth, [3, 2]; left as seen in the image.

    Five landmarks are left eye, right eye, nose, left and right corner of the mouth.
    """
    if len(landmarks) == 5:
        return np.stack([landmarks[0], landmarks[1], landmarks[3:].mean(axis=0)])
    eye_left, eye_right = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    return np.stack([eye_left, eye_right, landmarks[[48, 54]].mean(axis=0)])


def quad_of(
    landmarks: Points,  # [68, 2] or [5, 2]
) -> Quad:
    """FFHQ's square of a face (Karras et al. 2019), from the position of eyes and mouth."""
    eye_left, eye_right, mouth = features_of(landmarks)
    eyes = (eye_left + eye_right) / 2
    across, down = eye_right - eye_left, mouth - eyes

    # Both terms point to the right of the crop; their sum is more stable for faces seen from the side.
    x = across - _rotated90(down)
    x *= max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down)) / np.hypot(*x)
    y = _rotated90(x)
    centre = eyes + 0.1 * down
    return as_quad(np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y]))


def matrix_of(quad: Quad, size: int | Size) -> Matrix:
    """The affine map from the photo to the crop of `quad`; `size` is its side, or (height, width)."""
    height, width = (size, size) if isinstance(size, int) else size
    upper_left, lower_left, _, upper_right = np.array(quad)
    axes = np.stack([upper_right - upper_left, lower_left - upper_left], axis=1)
    linear = np.array([[width], [height]]) * np.linalg.inv(axes)
    shift = -0.5 - linear @ upper_left
    (a, b), (c, d) = linear.tolist()
    return (a, b, float(shift[0])), (c, d, float(shift[1]))


def inverse_of(matrix: Matrix) -> Matrix:
    """The inverse affine map, from the crop to the photo."""
    (a, b, x), (c, d, y) = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2].tolist()
    return (a, b, x), (c, d, y)


def mapped(points: Points, matrix: Matrix) -> Points:
    """Apply `matrix` to points [..., 2]."""
    m = np.array(matrix)
    return points @ m[:, :2].T + m[:, 2]


def image_corners(image: Image.Image) -> Points:
    """The corners of an image, [4, 2], in the order of a Quad."""
    right, bottom = image.width - 0.5, image.height - 0.5
    return np.array([(-0.5, -0.5), (-0.5, bottom), (right, bottom), (right, -0.5)])


def as_quad(corners: Points) -> Quad:
    """Corners [4, 2] as a Quad of Python floats."""
    return tuple((float(x), float(y)) for x, y in corners)


def side_of(quad: Quad | Points) -> float:
    """Width of a quad in pixels of the photo."""
    (left, top), (right, bottom) = quad[0], quad[3]
    return float(np.hypot(right - left, bottom - top))


def tilt_of(quad: Quad | Points) -> float:
    """Clockwise rotation of a quad in the photo, in degrees from -180 to 180."""
    (left, top), (right, bottom) = quad[0], quad[3]
    return float(np.degrees(np.arctan2(bottom - top, right - left)))


def _rotated90(v: Points) -> Points:
    """v rotated by 90 degrees, from right to down."""
    return np.array([-v[1], v[0]])
