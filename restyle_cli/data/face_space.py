"""The latent codes of rendered faces, and their embedding in a generator's W.

A code is K numbers of mean 0 and variance about 1: principal components of texture, shape and hair, and the scene's
parameters. W is a linear image of the codes: w = sqrt(2) (M c + b), M with orthogonal columns. The generator's mapping
network computes exactly that from z = c: one layer whose bias b keeps its leaky rectifier in the linear part.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from restyle_cli.data.face_photos import FacePhotos
from restyle_cli.data.faces import ACCESSORIES, CLOTHES, COLOURS, LIGHT, POSE, SCENE, Look

TEXTURES, SHAPES, HAIRS = 120, 40, 64  # principal components
CODE_DIM = TEXTURES + SHAPES + HAIRS + len(SCENE)
THUMB = 32  # side of the thumbnails that describe hair
TEXTURE_SIDE = 96  # side at which textures are compared
BIAS = 5.0  # a coordinate of M c has a standard deviation of about 0.8
LENGTH = 2.0  # of a column of M
SHORTEST = 0.25  # as a share of that


def layer_groups() -> np.ndarray:
    """[3, K]: which numbers of a code control the coarse, middle and fine layers; some control two groups."""
    wide = {"texture": (0, 1, 1), "shape": (1, 1, 0), "hair": (1, 1, 0)}
    of_scene = dict.fromkeys(POSE, (1, 1, 0)) | dict.fromkeys(ACCESSORIES, (1, 1, 0))
    of_scene |= dict.fromkeys(LIGHT, (0, 0, 1)) | dict.fromkeys((*COLOURS, *CLOTHES), (0, 0, 1))
    of_scene |= dict.fromkeys(("light_x", "light_y", "wall_x", "wall_y"), (0, 1, 1))
    of_scene |= dict.fromkeys(("glasses_tone", "hat_light", "hat_a", "hat_b"), (0, 0, 1))
    columns = [wide["texture"]] * TEXTURES + [wide["shape"]] * SHAPES + [wide["hair"]] * HAIRS
    return np.array(columns + [of_scene[name] for name in SCENE], bool).T


@dataclass(frozen=True)
class Components:
    """Whitened principal components: (value - mean) @ directions / spread."""

    mean: np.ndarray
    directions: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, count: int) -> Components:
        """The first `count` components of rows [N, D], padded with zeros if there are fewer."""
        mean = values.mean(0)
        _, scale, directions = np.linalg.svd(values - mean, full_matrices=False)
        largest = np.abs(directions).argmax(1)
        directions *= np.sign(directions[np.arange(len(directions)), largest])[:, None]  # the same sign anywhere
        spread = scale[:count] / np.sqrt(len(values))
        there = spread > 1e-6 * spread[0]
        padding = [(0, count - there.sum())]
        directions = np.pad(directions[:count][there], [*padding, (0, 0)])
        return cls(mean, directions.T, np.pad(spread[there], padding, constant_values=spread[0]))

    def project(self, values: np.ndarray) -> np.ndarray:
        """Rows [N, D] to codes [N, count]."""
        return (values - self.mean) @ self.directions / self.spread


class FaceSpace:
    """Codes of looks in the components of the training photographs."""

    def __init__(self, photos: FacePhotos) -> None:
        values = features(photos)
        self.components = [Components.of(v, count) for v, count in zip(values, (TEXTURES, SHAPES, HAIRS), strict=True)]

    def photo_codes(self, photos: FacePhotos) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Codes of texture, shape and hair of each photograph, also of people that are not in the training set."""
        texture, shape, hair = (c.project(v) for c, v in zip(self.components, features(photos), strict=True))
        return texture, shape, hair

    @staticmethod
    def code(look: Look, photo_codes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
        """The code [K] of a blend. The weights sum to one, so it is the blend of the codes."""
        blends = [w @ codes for w, codes in zip((look.texture, look.shape, look.hair), photo_codes, strict=True)]
        return np.concatenate([*blends, [look.scene[name] for name in SCENE]]).astype(np.float32)


def features(photos: FacePhotos) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Face texture, face shape and hair, one row per photograph, from which the components are computed."""
    from restyle_cli.data.faces import filled_textures

    count, small = len(photos.names), (TEXTURE_SIDE, TEXTURE_SIDE)
    inside = cv2.resize(photos.face, small, interpolation=cv2.INTER_AREA) > 0.3
    texture = np.stack([cv2.resize(t, small, interpolation=cv2.INTER_AREA)[inside] for t in filled_textures(photos)])
    eyes_and_mouth = photos.shapes[:, :68] / photos.size
    outline = photos.shapes[:, 68:-24] / photos.size
    thumbs = []
    for colour, opacity, mask in zip(photos.colours, photos.opacity, photos.hair, strict=True):
        lightness = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY).astype(np.float32) * (mask / 255)
        maps = np.dstack([opacity, mask, lightness - lightness.sum() / max(1.0, mask.sum() / 255) * (mask / 255)])
        thumbs.append(cv2.resize(maps.astype(np.float32) / 255, (THUMB, THUMB), interpolation=cv2.INTER_AREA).ravel())
    hair = np.concatenate([np.stack(thumbs), 3 * outline.reshape(count, -1)], 1)
    return texture.reshape(count, -1), eyes_and_mouth.reshape(count, -1), hair


def w_directions(space: FaceSpace, w_dim: int) -> np.ndarray:
    """M [w_dim, K]: fixed orthogonal columns, longer for components that change the image more."""
    q, r = np.linalg.qr(np.random.default_rng(0).standard_normal((w_dim, CODE_DIM)))
    lengths = [np.sqrt(c.spread / c.spread[0]).clip(SHORTEST) for c in space.components]
    return (LENGTH * q * np.sign(np.diag(r)) * np.concatenate([*lengths, np.ones(len(SCENE))])).astype(np.float32)
