"""Cartoons of rendered faces: larger eyes, flat colours, ink lines. Pixel by pixel in place, so that one code means the
same person in both styles.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

EYE_RADIUS, EYE_GAIN = 0.135, 0.38  # of the enlarged area, in units of the side; how much its centre grows
MOUTH_RADIUS, MOUTH_GAIN = 0.155, 0.1
TONES = 8  # levels of brightness
INK_WIDTH = 0.004  # of the finest lines, in units of the side
SATURATION = 1.45


def cartoon(image: Image, points: NDArray[np.float32]) -> Image:
    """The cartoon of an RGB image [S, S, 3] in [0, 1]; `points` [K, 2] are its landmarks in px, dlib's 68 first."""
    side = len(image)
    for eye in (points[36:42].mean(0), points[42:48].mean(0)):
        image = enlarged(image, eye, EYE_RADIUS * side, EYE_GAIN)
    image = enlarged(image, points[48:60].mean(0), MOUTH_RADIUS * side, MOUTH_GAIN)
    smooth = (image * 255).astype(np.uint8)
    for _ in range(3):  # evens out skin and hair, keeps edges
        smooth = cv2.bilateralFilter(smooth, 0, 26, 0.02 * side).astype(np.uint8)
    return (_flat(smooth) * ink(smooth)[..., None]).clip(0, 1).astype(np.float32)


def enlarged(image: Image, centre: NDArray[np.float32], radius: float, gain: float) -> Image:
    """The image with a smooth magnification around `centre` (x, y), which ends at `radius` px."""
    side = len(image)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    dx, dy = x - centre[0], y - centre[1]
    distance = (np.hypot(dx, dy) / radius).clip(0, 1)
    scale = 1 - gain * (1 - distance) ** 2 * (1 + 2 * distance)  # 1 with slope 0 at the radius
    where = (centre[0] + dx * scale).astype(np.float32), (centre[1] + dy * scale).astype(np.float32)
    return cv2.remap(image, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)


def ink(image: NDArray[np.uint8]) -> Image:
    """[S, S]: 1 where there is no line, darker where the image is darker than its surroundings."""
    grey = cv2.cvtColor(cv2.medianBlur(image, 3), cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    width = INK_WIDTH * len(image)
    difference = cv2.GaussianBlur(grey, (0, 0), width) - 0.985 * cv2.GaussianBlur(grey, (0, 0), 2.2 * width)
    return (0.35 + 0.65 / (1 + np.exp(-500 * (difference + 0.005)))).astype(np.float32)


def _flat(image: NDArray[np.uint8]) -> Image:
    """Few levels of brightness with soft steps between them, and stronger colours."""
    calm = cv2.edgePreservingFilter(image, flags=cv2.RECURS_FILTER, sigma_s=24, sigma_r=0.28)
    hsv = cv2.cvtColor(calm.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = (hsv[..., 1] * SATURATION).clip(0, 1)
    level = ((hsv[..., 2] - 0.04) * 1.1).clip(0, 1) * TONES
    hsv[..., 2] = (np.floor(level) + ((level % 1 - 0.5) * 6 + 0.5).clip(0, 1)) / TONES
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.float32)
