"""Synthetic photographs with landmarks: a skin-coloured head with dark hair before a grey wall."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

SIDE = 128
# fmt: off
# ruff: noqa: E501
LANDMARKS = [[0.22, 0.49], [0.23, 0.56], [0.24, 0.64], [0.25, 0.71], [0.27, 0.78], [0.31, 0.84], [0.36, 0.88], [0.43, 0.92], [0.5, 0.93], [0.57, 0.92], [0.64, 0.89], [0.69, 0.84], [0.73, 0.78], [0.75, 0.71], [0.77, 0.64], [0.78, 0.57], [0.78, 0.49], [0.27, 0.43], [0.3, 0.39], [0.35, 0.38], [0.4, 0.38], [0.45, 0.4], [0.54, 0.4], [0.6, 0.38], [0.65, 0.38], [0.7, 0.39], [0.74, 0.43], [0.5, 0.46], [0.5, 0.5], [0.5, 0.55], [0.5, 0.6], [0.45, 0.64], [0.47, 0.64], [0.5, 0.65], [0.53, 0.64], [0.55, 0.64], [0.33, 0.48], [0.36, 0.46], [0.39, 0.46], [0.43, 0.48], [0.39, 0.49], [0.36, 0.49], [0.57, 0.48], [0.61, 0.46], [0.64, 0.46], [0.67, 0.48], [0.64, 0.49], [0.61, 0.49], [0.39, 0.73], [0.43, 0.71], [0.47, 0.7], [0.5, 0.71], [0.53, 0.7], [0.57, 0.71], [0.61, 0.73], [0.57, 0.76], [0.53, 0.78], [0.5, 0.78], [0.47, 0.78], [0.43, 0.76], [0.41, 0.73], [0.47, 0.73], [0.5, 0.73], [0.53, 0.73], [0.59, 0.73], [0.53, 0.74], [0.5, 0.74], [0.47, 0.74]]
TEMPLATE = {44: (0.36, 0.55), 45: (0.41, 0.53), 48: (0.6, 0.53), 49: (0.64, 0.55), 61: (0.44, 0.58), 66: (0.56, 0.58), 159: (0.38, 0.67), 161: (0.6, 0.64), 162: (0.62, 0.67), 165: (0.3, 0.58), 166: (0.35, 0.59), 168: (0.71, 0.58), 169: (0.66, 0.6), 174: (0.5, 0.84), 175: (0.5, 0.87), 178: (0.55, 0.81), 134: (0.24, 0.39), 135: (0.26, 0.31), 136: (0.29, 0.23), 137: (0.34, 0.19), 138: (0.42, 0.17), 139: (0.5, 0.17), 140: (0.59, 0.17), 141: (0.66, 0.19), 142: (0.72, 0.24), 143: (0.74, 0.32), 144: (0.76, 0.4), 115: (0.18, 0.47), 116: (0.17, 0.52), 117: (0.18, 0.58), 118: (0.19, 0.63), 119: (0.22, 0.68), 120: (0.83, 0.47), 121: (0.84, 0.52), 122: (0.83, 0.58), 123: (0.81, 0.63), 124: (0.78, 0.68), 146: (0.17, 0.74), 147: (0.13, 0.48), 148: (0.16, 0.32), 149: (0.24, 0.18), 150: (0.35, 0.09), 151: (0.5, 0.05), 152: (0.67, 0.09), 153: (0.77, 0.19), 154: (0.85, 0.32), 155: (0.88, 0.48), 156: (0.84, 0.74), 145: (0.29, 0.94), 157: (0.72, 0.94), 183: (0.42, 1.02), 184: (0.59, 1.02)}
# fmt: on


def paint(skin: tuple[int, int, int], hair: tuple[int, int, int], points: np.ndarray) -> np.ndarray:
    """A head [SIDE, SIDE, 3] (BGR bytes) on the wall."""
    image = np.full((SIDE, SIDE, 3), 200, np.uint8)
    image = (image - np.linspace(0, 12, SIDE)[:, None, None]).astype(np.uint8)
    at = lambda x, y: (round(x * SIDE), round(y * SIDE))  # noqa: E731
    cv2.rectangle(image, at(0.36, 0.7), at(0.64, 1.0), skin, -1)
    cv2.ellipse(image, at(0.5, 0.42), at(0.36, 0.36), 0, 0, 360, hair, -1, cv2.LINE_AA)
    cv2.ellipse(image, at(0.5, 0.56), at(0.27, 0.38), 0, 0, 360, skin, -1, cv2.LINE_AA)
    for k in (36, 39, 42, 45, 48, 54):
        cv2.circle(image, at(*points[k]), 2, (40, 30, 30), -1, cv2.LINE_AA)
    return image


def write_people(folder: Path, count: int = 6, seed: int = 0) -> None:
    """`count` people, neutral and smiling, as `read_photos` expects them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    template = np.zeros((189, 2))
    for index, point in TEMPLATE.items():
        template[index] = point
    records = {}
    for person in range(count):
        skin = tuple(int(v) for v in rng.uniform((90, 110, 140), (150, 180, 230)))
        hair = tuple(int(v) for v in rng.uniform(15, 60, 3))
        for kind in "ns":
            moved = np.array(LANDMARKS) * rng.uniform(0.97, 1.03) + rng.normal(0, 0.004, (68, 2))
            name = f"{person:03}{kind}"
            cv2.imwrite(str(folder / f"{name}.jpg"), paint(skin, hair, moved))
            records[name] = {"landmarks68": moved.tolist()} | (
                {"template189": template.tolist()} if kind == "n" else {}
            )
    (folder / "points.json").write_text(json.dumps(records), encoding="utf-8")
