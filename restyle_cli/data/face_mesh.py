"""A triangle mesh over an aligned face crop: piecewise-affine warps, and rotations of the head in 2.5-D.

The points are the 68 dlib landmarks, some points of the published template of the Face Research Lab London Set
(hairline, hair outline, ears, cheeks, neck), and a fixed ring outside the crop, so that the mesh covers all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

# Depth towards the camera, in distances between the eyes: the mean over ninety people of what MediaPipe's face mesh
# (Apache-2.0) measures at each landmark, made symmetric. Hair, ears and neck are estimates.
# fmt: off
LANDMARK_DEPTH = np.array((
    -0.81, -0.78, -0.67, -0.63, -0.61, -0.40, -0.20, -0.02, 0.03,  # jaw
    -0.02, -0.20, -0.40, -0.61, -0.63, -0.67, -0.78, -0.81,
    -0.31, -0.11, 0.03, 0.09, 0.12, 0.12, 0.09, 0.03, -0.11, -0.31,  # brows
    0.16, 0.30, 0.45, 0.54, 0.23, 0.29, 0.31, 0.29, 0.23,  # nose
    -0.16, -0.07, -0.06, -0.09, -0.07, -0.09, -0.09, -0.06, -0.07, -0.16, -0.09, -0.07,  # eyes
    0.03, 0.18, 0.28, 0.29, 0.28, 0.18, 0.03, 0.18, 0.23, 0.24, 0.23, 0.18,  # lips
    0.09, 0.21, 0.23, 0.21, 0.09, 0.21, 0.23, 0.21,
))
# fmt: on
CHEEKS = {44: -0.04, 45: -0.01, 48: -0.01, 49: -0.04, 61: 0.28, 66: 0.28, 159: 0.07, 161: 0.10, 162: 0.07, 165: -0.17}
CHEEKS |= {166: 0.01, 168: -0.17, 169: 0.01, 174: 0.16, 175: 0.12, 178: 0.13}
HAIRLINE = dict(
    zip(range(134, 145), (-0.57, -0.36, -0.21, -0.09, 0.0, 0.03, 0.0, -0.09, -0.21, -0.36, -0.57), strict=True)
)
EARS = dict.fromkeys(range(115, 125), -0.85)
HAIR = dict.fromkeys(range(146, 157), -0.9)
NECK = dict.fromkeys((145, 157, 183, 184), -0.6)
TEMPLATE_DEPTH = CHEEKS | HAIRLINE | EARS | HAIR | NECK  # from a point's number in the template to its depth
HEAD_CENTRE = -0.6  # depth of the axis of rotation
EYES_AND_MOUTH = (*range(36, 48), 48, 54)


def ring() -> np.ndarray:
    """Fixed points [R, 2] outside the crop, in units of its side."""
    ticks = np.linspace(-0.35, 1.35, 7)
    edge = (ticks[0], ticks[-1])
    return np.array([[x, y] for x in ticks for y in ticks if x in edge or y in edge])


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The least-squares similarity [2, 3] that takes points `source` [K, 2] to `target` [K, 2]."""
    a, b = source.mean(0), target.mean(0)
    p, q = source - a, target - b
    norm = np.square(p).sum()
    cosine, sine = (p * q).sum() / norm, (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum() / norm
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.concatenate([turn, (b - turn @ a)[:, None]], 1)


def affine(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The least-squares affine transform [2, 3] that takes points `source` [K, 2] to `target` [K, 2]."""
    terms = np.concatenate([source, np.ones((len(source), 1))], 1)
    return np.linalg.lstsq(terms, target, rcond=None)[0].T


def apply(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Transform [2, 3] applied to points [K, 2]."""
    return points @ transform[:, :2].T + transform[:, 2]


@dataclass(frozen=True)
class FaceMesh:
    """The mesh over the mean shape: `points` [K, 2] in pixels of a crop of `size`, the ring last."""

    points: np.ndarray
    size: int

    @cached_property
    def triangles(self) -> np.ndarray:
        """[T, 3] indices of points (Delaunay)."""
        from matplotlib.tri import Triangulation

        return Triangulation(*self.points.T).triangles

    @cached_property
    def depth(self) -> np.ndarray:
        """[K] in pixels, 0 at the axis of the head and for the ring."""
        eyes = np.linalg.norm(self.points[36:42].mean(0) - self.points[42:48].mean(0))
        known = np.concatenate([LANDMARK_DEPTH, list(TEMPLATE_DEPTH.values())]) - HEAD_CENTRE
        return eyes * np.concatenate([known, np.zeros(len(self.points) - len(known))])

    @cached_property
    def normals(self) -> np.ndarray:
        """[size, size, 2]: the smoothed slope of the surface to the right and downwards, about -1 to 1."""
        height = self.warp(self.depth_map(), self.points, self.points)
        height = cv2.GaussianBlur(height, (0, 0), 0.045 * self.size)
        slope = np.stack([-cv2.Sobel(height, cv2.CV_32F, 1, 0), -cv2.Sobel(height, cv2.CV_32F, 0, 1)], -1) / 8
        return slope / np.sqrt(1 + np.square(slope).sum(-1, keepdims=True))

    def depth_map(self) -> np.ndarray:
        """[size, size]: the depth of each pixel of the mean shape."""
        ids = self._rasterise(self.points)
        corners, depth = self.points[self.triangles], self.depth[self.triangles]
        system = np.concatenate([corners, np.ones((*corners.shape[:2], 1))], 2)
        plane = np.linalg.solve(system, depth[..., None])[..., 0]
        y, x = np.mgrid[0 : self.size, 0 : self.size] + 0.5
        return (np.stack([x, y, np.ones_like(x)], -1) * plane[ids]).sum(-1).astype(np.float32)

    def warp(self, image: np.ndarray, target: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Warp an image [size, size, …] piecewise affinely from the points `source` [K, 2] to `target`.

        The image may have a margin on all sides, which fills areas that the warp uncovers.
        """
        margin = (len(image) - self.size) // 2
        ids = self._rasterise(target)
        t, s = target[self.triangles], source[self.triangles]
        across, back = (np.stack([v[:, 1] - v[:, 0], v[:, 2] - v[:, 0]], 2) for v in (t, s))
        across[np.abs(np.linalg.det(across)) < 1e-3] = np.eye(2)
        turn = back @ np.linalg.inv(across)
        shift = s[:, 0] - (turn @ t[:, 0, :, None])[..., 0]
        where = np.concatenate([turn, shift[..., None]], 2).astype(np.float32)[ids]
        y, x = np.mgrid[0 : self.size, 0 : self.size].astype(np.float32) + 0.5
        u, v = (where[..., k, 0] * x + where[..., k, 1] * y + where[..., k, 2] - 0.5 + margin for k in range(2))
        return cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def turned(self, shape: np.ndarray, yaw: float, pitch: float) -> np.ndarray:
        """The points `shape` [K, 2] after a rotation of the head in radians, positive to the right and down.

        The ring stays, and eyes and mouth stay centred, as in FFHQ's crops.
        """
        moved, inner = shape.copy(), slice(0, len(shape) - len(ring()))
        centre = shape[list(EYES_AND_MOUTH)].mean(0)
        x, y = (shape[inner] - centre).T
        x, z = x * np.cos(yaw) + self.depth[inner] * np.sin(yaw), self.depth[inner] * np.cos(yaw) - x * np.sin(yaw)
        moved[inner] = np.stack([x, y * np.cos(pitch) + z * np.sin(pitch)], 1) + centre
        moved[inner] += centre - moved[list(EYES_AND_MOUTH)].mean(0)
        return moved

    def _rasterise(self, points: np.ndarray) -> np.ndarray:
        """[size, size]: the triangle of each pixel; where the mesh folds, the one nearest to the camera."""
        ids = np.zeros((self.size, self.size), np.int32)
        corners = np.round(points[self.triangles] * 16).astype(np.int32)
        for k in np.argsort(self.depth[self.triangles].mean(1)):
            cv2.fillConvexPoly(ids, corners[k], int(k), shift=4)
        return ids
