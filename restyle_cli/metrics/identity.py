"""Identity by CurricularFace, as the published tables measure it.

The published script cuts faces out with MTCNN and passes over pairs where that finds none. Here the pictures are framed
as FFHQ frames faces, so the five points are read by dlib where the face must be, and every pair counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from restyle_cli.align import LANDMARKS
from restyle_cli.metrics.face import FACE, dlib_model, to_bytes
from restyle_cli.metrics.metric import Column, NetworkMetric, cosines
from restyle_cli.metrics.pixel import compared

SIDE = 112
TEMPLATE = np.array(
    [(38.29459953, 51.69630051), (73.53179932, 51.50139999), (56.02519989, 71.73660278),
     (41.54930115, 92.36550140), (70.72990036, 92.20410156)]
)  # fmt: skip
"""Where face networks have eyes, tip of the nose and corners of the mouth in their square of `SIDE` px."""


class CurricularIdentity(NetworkMetric):
    """Cosine of the embeddings of the faces cut out."""

    name = "id/curricularface"
    columns = (Column("id/curricularface", "ID CurricularFace", higher=True, equal=1.0),)
    protocol = (
        "cosine of CurricularFace IR-101's embeddings of 112 px crops by five points; the published script finds the "
        "points with MTCNN, this one with dlib in FFHQ's frame, where it expects a face"
    )
    entry_name = "curricularface"

    def __init__(self, device: str | torch.device = "cpu") -> None:
        super().__init__(device)
        self._predictor = dlib_model(self.name, "shape_predictor", LANDMARKS)

    def look(self, pictures: Tensor) -> Tensor:
        """Embeddings [N, D] of the faces."""
        portraits = compared(pictures)
        points = np.stack([five_points(self._predictor, picture) for picture in to_bytes(portraits)])
        return self.network.embed(crops(portraits, points))

    def compare(self, targets: Tensor, results: Tensor) -> Tensor:
        """Cosine of each pair, [N, 1]."""
        return cosines(targets, results)[:, None]


def five_points(
    predictor: Any,  # dlib's, of 68 points
    picture: NDArray[np.uint8],  # [256, 256, 3], framed as FFHQ frames faces
) -> NDArray[np.float64]:
    """Eyes, tip of the nose and corners of the mouth of the face that must be there, [5, 2] in pixels."""
    import dlib

    parts = predictor(picture, dlib.rectangle(*FACE)).parts()
    points = np.array([(point.x, point.y) for point in parts], dtype=np.float64)
    return np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]])


def crops(
    pictures: Tensor,  # [N, 3, H, W] in [-1, 1]
    points: NDArray[np.float64],  # [N, 5, 2]
) -> Tensor:
    """Each picture turned, scaled and shifted so that its points come nearest to `TEMPLATE`, [N, 3, 112, 112]."""
    height, width = pictures.shape[-2:]
    rows, columns = np.mgrid[:SIDE, :SIDE]
    grid = columns + 1j * rows
    places = []
    for one in points:
        turn, shift = _similarity(one)
        places.append((grid - shift) / turn)  # of each pixel of the crop, in the picture
    there = np.stack(places)
    normal = np.stack([(2 * there.real + 1) / width - 1, (2 * there.imag + 1) / height - 1], axis=-1)
    sampling = torch.from_numpy(normal).float().to(pictures)
    return F.grid_sample(pictures + 1, sampling, align_corners=False) - 1  # black outside


def _similarity(points: NDArray[np.float64]) -> tuple[complex, complex]:
    """z -> turn * z + shift that takes the points [5, 2] nearest to the template, in complex numbers."""
    here, there = points @ (1, 1j), TEMPLATE @ (1, 1j)
    spread = here - here.mean()
    turn = complex((spread.conj() @ (there - there.mean())) / (spread.conj() @ spread).real)
    return turn, complex(there.mean() - turn * here.mean())
