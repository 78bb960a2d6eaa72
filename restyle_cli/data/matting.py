"""Separate a person from a smooth, light studio wall.

The wall is a quadratic surface in Lab, fitted to the pixels that lie on it. A pixel between wall and person is a mix
I = a F + (1 - a) B of the nearby foreground colour F and the wall B, which gives the opacity a.
"""

from __future__ import annotations

import cv2
import numpy as np

WALL_DISTANCES = (8.0, 6.0, 5.0, 4.5, 4.0, 4.0)  # largest Lab distance of a wall pixel in each fit
PERSON_DISTANCE = 22.0  # pixels this far from the wall's colour are opaque
UNLIKE_WALL = 8.0  # Lab distance that a white shirt has from the wall, and a gap in hair has not
SMALLEST_GAP = 1e-4  # of the image's area: in smaller gaps between strands of hair, the opacity is computed
FAR = 0.03  # of the side: pixels this far from any wall pixel are opaque, except in gaps
BLURS = ((2.0, 1.0), (6.0, 0.05), (20.0, 0.001))  # (sigma, weight) of the local foreground colour


def matte(rgb: np.ndarray, outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Opacity [S, S] and the person's colour [S, S, 3] of a photograph [S, S, 3], all in [0, 1].

    `outline` [K, 2] are points of the face in pixels; their convex hull is opaque.
    """
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    face = np.zeros(rgb.shape[:2], np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(outline.astype(np.float32)).astype(np.int32), 1)
    wall, on_wall, distance = fit_wall(lab, face > 0)
    far = cv2.erode((distance > PERSON_DISTANCE).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    away = cv2.distanceTransform((~on_wall).astype(np.uint8), cv2.DIST_L2, 5)
    person = (far | (face > 0) | ((away > FAR * len(rgb)) & (distance > UNLIKE_WALL))) & ~on_wall
    foreground = _local_mean(rgb, person.astype(np.float32))
    back = cv2.cvtColor(wall, cv2.COLOR_LAB2RGB)
    across = back - foreground
    alpha = ((back - rgb) * across).sum(-1) / np.maximum((across * across).sum(-1), 0.01)
    alpha = np.clip((alpha - 0.06) / 0.86, 0, 1)
    alpha[person] = 1
    alpha[cv2.erode(on_wall.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = 0
    share = alpha[..., None]
    unmixed = np.clip((rgb - (1 - share) * back) / np.maximum(share, 0.25), 0, 1)
    colour = np.where(share > 0.98, rgb, share * unmixed + (1 - share) * foreground)
    return alpha.astype(np.float32), colour.astype(np.float32)


def fit_wall(lab: np.ndarray, face: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The wall's colour [S, S, 3] in Lab, its mask [S, S], and the distance of each pixel from it [S, S]."""
    side = len(lab)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1)
    frame = np.zeros((side, side), bool)
    margin = side // 20
    frame[: 6 * side // 10, :margin] = frame[: 6 * side // 10, -margin:] = frame[:3] = True
    seen = frame & (lab[..., 0] > 60) & (np.hypot(lab[..., 1], lab[..., 2]) < 12)
    for fit, limit in enumerate(WALL_DISTANCES):
        coefficients = np.linalg.lstsq(terms[seen], lab[seen], rcond=None)[0]
        wall = (terms @ coefficients).astype(np.float32)
        distance = np.sqrt((np.square(lab - wall) * (0.7, 1.5, 1.5)).sum(-1))
        near = ((distance < limit) & ~face).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(near)
        large = stats[:, cv2.CC_STAT_AREA] > SMALLEST_GAP * side**2
        large[0] = False
        if fit < 2:  # at first only areas that touch the border
            large &= np.isin(np.arange(count), labels[frame & (near > 0)])
        seen = large[labels]
    return wall, seen, distance


def _local_mean(rgb: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The mean colour of the weighted pixels around each pixel, with larger weights near it."""
    total, norm = np.zeros_like(rgb), np.full_like(weight, 1e-8)
    for sigma, share in BLURS:
        total += share * cv2.GaussianBlur(rgb * weight[..., None], (0, 0), sigma)
        norm += share * cv2.GaussianBlur(weight, (0, 0), sigma)
    return total / norm[..., None]
