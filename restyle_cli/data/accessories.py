"""Glasses and hats for rendered faces, painted in the mean shape and warped with the face."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

FINER = 4  # they are painted at this multiple of the size, then shrunk, for smooth edges


def glasses(points: np.ndarray, size: int, roundness: float, thickness: float) -> np.ndarray:
    """Opacity [size, size, 2] of frames and of lenses, for points [K, 2] of a face.

    `roundness` is 0 (rectangular) to 1 (round), `thickness` 0 to 1.
    """
    frames, lenses = (np.zeros((size * FINER, size * FINER), np.float32) for _ in range(2))
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    apart = np.linalg.norm(right - left)
    stroke = max(1, round((0.018 + 0.05 * thickness) * apart * FINER))
    down = 0.06 * apart
    width, height = 0.40 * apart, (0.27 + 0.11 * roundness) * apart
    power = 2 / (2 + 4 * (1 - roundness))  # a superellipse
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    outline = np.stack([np.cos(angle), np.sin(angle)], 1)
    outline = np.sign(outline) * np.abs(outline) ** power * (width, height)
    for eye, ear in ((left, points[0]), (right, points[16])):
        lens = outline + eye + np.array((np.sign(eye[0] - points[27, 0]) * 0.04 * apart, down))
        cv2.fillPoly(lenses, _polygon(lens), 1.0)
        cv2.polylines(frames, _polygon(lens), True, 1.0, stroke, cv2.LINE_AA)
        hinge = lens[np.argmax(np.abs(lens[:, 0] - points[27, 0]))] - (0, 0.4 * height)
        cv2.polylines(frames, _polygon([hinge, ear - (0, 0.02 * apart)]), False, 1.0, stroke, cv2.LINE_AA)
    inner = np.array((0.40 * apart, down - 0.25 * height))
    bridge = [left + inner, points[27] + np.array((0, 0.02 * apart)), right + inner * (-1, 1)]
    cv2.polylines(frames, _polygon(bridge), False, 1.0, stroke, cv2.LINE_AA)
    return cv2.resize(np.dstack([frames, lenses]), (size, size), interpolation=cv2.INTER_AREA)


def hat(points: np.ndarray, hairline: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A knitted hat: its opacity, its shade (about 1), and the area above its band that hides hair; [size, size]."""
    brows = points[17:27].mean(0)
    middle = hairline[len(hairline) // 2]
    band = 0.45 * middle[1] + 0.55 * brows[1]  # height of the band in the middle of the forehead
    half = 0.62 * np.ptp(points[:17, 0])
    centre = points[27, 0]
    x = np.linspace(-1, 1, 41)
    lower = np.stack([centre + half * x, band + 0.16 * half * x**2], 1)
    crown = np.stack(
        [centre + half * 1.02 * x[::-1], lower[0, 1] - 0.84 * half * np.sqrt(np.clip(1 - x[::-1] ** 2, 0, 1)) ** 0.9], 1
    )
    mask: np.ndarray = np.zeros((size * FINER, size * FINER), np.float32)
    cv2.fillPoly(mask, _polygon(np.concatenate([lower, crown])), 1.0)
    mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)
    v, u = np.mgrid[0:size, 0:size].astype(np.float32)
    across = np.clip((u - centre) / half, -1, 1)
    edge = band + 0.16 * half * across**2
    folded = v > edge - 0.22 * half  # the turned-up band has wider ribs
    ribs = np.sin(np.arcsin(across) * np.where(folded, 26, 40))
    shade = (1 + 0.07 * ribs) * (1 - 0.28 * across**2) * np.where(folded, 1.0, 0.93)
    return mask, shade.astype(np.float32), np.clip(edge - v + 0.5, 0, 1)


def _polygon(points: ArrayLike) -> list[np.ndarray]:
    """Points [K, 2] as OpenCV takes them, at `FINER` times the size."""
    return [np.round(np.asarray(points) * FINER).astype(np.int32)]
