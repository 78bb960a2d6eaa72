"""Identity against the libraries called directly; CurricularFace on a tiny random network."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import dlib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from restyle_cli.align import LANDMARKS, model_file
from restyle_cli.api import align
from restyle_cli.images import to_tensor
from restyle_cli.metrics import choose
from restyle_cli.metrics.identity import SIDE, TEMPLATE, DlibIdentity, cosines, crops, five_points, locate, to_bytes
from restyle_cli.perceptual.identity import CurricularFace, CurricularFaceConfig
from restyle_cli.store import catalog, fetch
from restyle_cli.store.files import write_module


@pytest.fixture(scope="module")
def face() -> Tensor:
    """The astronaut's, aligned as in FFHQ, [1, 3, 256, 256]."""
    data = pytest.importorskip("skimage.data")
    return to_tensor(align(Image.fromarray(data.astronaut()), "always").image)[None]


def five_points_of(face: Tensor) -> np.ndarray:
    predictor = dlib.shape_predictor(str(model_file(LANDMARKS)))
    return five_points(locate(predictor, to_bytes(face)[0])[None])[0]


def test_the_numbers_of_dlib(face: Tensor) -> None:
    darker = (face * 0.6 - 0.2).roll(3, dims=-1)
    find = dlib.shape_predictor(str(model_file(DlibIdentity.landmarks_file)))
    network = dlib.face_recognition_model_v1(str(fetch.path_of(catalog.find("dlib"))))
    a, b = (
        np.array(network.compute_face_descriptor(picture, find(picture, dlib.rectangle(46, 75, 201, 230))))
        for picture in (to_bytes(one)[0] for one in (face, darker))
    )
    (metric,) = choose(["id/dlib"]).metrics
    ((cosine, distance),) = metric.measure(face, darker).tolist()
    assert distance == pytest.approx(np.linalg.norm(a - b), abs=0.01)
    assert cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-3)
    assert np.linalg.norm(metric.features(face)[0].numpy() - a) < 0.01
    assert 0 < distance < 0.6  # one person
    assert metric.measure(face, face).tolist() == [[1, 0]]


def test_to_bytes_inverts_to_tensor(face: Tensor) -> None:
    bytes_ = to_bytes(face)
    assert np.array_equal(bytes_[0], to_bytes(to_tensor(Image.fromarray(bytes_[0]))[None])[0])


def test_crops_move_the_points_to_the_template(face: Tensor) -> None:
    points = five_points_of(face)
    left, right, nose, *mouth = points
    assert left[0] < nose[0] < right[0]
    assert left[1] < nose[1] < min(y for _, y in mouth)

    # OpenCV, as the published script: the same similarity, the same crop up to its rounding of places to 1/32 px.
    matrix = cv2.estimateAffinePartial2D(points, TEMPLATE, method=cv2.LMEDS)[0]
    assert np.abs(points @ matrix[:, :2].T + matrix[:, 2] - TEMPLATE).max() < 8
    solved = np.linalg.lstsq(
        np.concatenate([[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in points]), TEMPLATE.ravel(), rcond=None
    )[0]
    a, b, right, down = solved
    theirs = cv2.warpAffine(to_bytes(face)[0], np.array([(a, -b, right), (b, a, down)]), (SIDE, SIDE))
    ours = to_bytes(crops(face, points[None]))[0]
    assert ours.shape == (SIDE, SIDE, 3)
    assert np.abs(ours.astype(int) - theirs).mean() < 0.5


def test_outside_of_the_image_is_black() -> None:
    bright = torch.ones(1, 3, 256, 256)
    far = np.array([(0, 0), (40, 0), (20, 20), (4, 44), (36, 44)], dtype=float)
    crop = crops(bright, far[None])
    assert crop.min() == -1
    assert crop.max() == 1


def test_curricularface(face: Tensor) -> None:
    torch.manual_seed(0)
    network = CurricularFace(CurricularFaceConfig(widths=(4, 4, 8, 8), blocks=(1, 1, 1, 1), dimensions=8)).eval()
    write_module(Path(os.environ["RESTYLE_HOME"]) / "CurricularFace_Backbone.pth", network, "curricularface")
    (metric,) = choose(["id"]).metrics
    assert metric.name == "id/curricularface"  # rather than dlib's, now that it is installed
    mirrored = face.flip(-1)
    with torch.no_grad():
        a, b = (network.embed(crops(p, five_points_of(p)[None])) for p in (face, mirrored))
        assert float(metric.measure(face, mirrored)) == pytest.approx(float((a * b).sum()), abs=1e-5)
        assert metric.measure(face, face).tolist() == [1]


def test_cosines() -> None:
    a, b = torch.randn(2, 5, 7)
    torch.testing.assert_close(cosines(a, b).float(), torch.nn.functional.cosine_similarity(a, b))
    assert cosines(a, a).tolist() == [1] * 5
