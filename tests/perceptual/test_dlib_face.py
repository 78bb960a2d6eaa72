"""dlib's face network and face chips against dlib, on crops of the astronaut."""

from __future__ import annotations

from pathlib import Path

import dlib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from torch import Tensor

from restyle_cli.align import model_file
from restyle_cli.align.detect import find_faces
from restyle_cli.api import align
from restyle_cli.errors import RestyleError
from restyle_cli.images import to_tensor
from restyle_cli.metrics.identity import FACE, DlibIdentity, locate
from restyle_cli.perceptual.dlib_face import DlibFace, chips
from restyle_cli.store import catalog, fetch
from restyle_cli.store.files import read_module

FILE = fetch.path_of(catalog.find("dlib"))


@pytest.fixture(scope="module")
def network() -> DlibFace:
    network = read_module(FILE, role="perceptual")
    assert isinstance(network, DlibFace)
    return network


@pytest.fixture(scope="module")
def theirs() -> dlib.face_recognition_model_v1:
    return dlib.face_recognition_model_v1(str(FILE))


def crops() -> list[Image.Image]:
    """The astronaut's face at several positions, sizes and angles."""
    photo = Image.fromarray(data.astronaut())
    return [
        photo.crop((96, 0, 352, 256)),
        photo.crop((80, 20, 380, 320)).resize((256, 256)),
        photo.rotate(12, center=(224, 110)).crop((100, 0, 340, 240)),
        photo.crop((100, 0, 340, 240)).resize((330, 330)),
    ]


def tensor(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 127.5 - 1


@pytest.mark.parametrize("index", range(4))
def test_dlibs_chips_and_descriptors(network: DlibFace, theirs: dlib.face_recognition_model_v1, index: int) -> None:
    image = np.asarray(crops()[index])
    predictor = dlib.shape_predictor(str(model_file(DlibIdentity.landmarks_file)))
    (face,) = dlib.get_frontal_face_detector()(image, 1)
    shape = predictor(image, face)
    points = torch.tensor([[(point.x, point.y) for point in shape.parts()]])
    chip = dlib.get_face_chip(image, shape, size=150, padding=0.25)
    ours = chips(tensor(image), points)
    assert ((ours - tensor(chip)) * 127.5).abs().max() < 0.51  # dlib rounds to whole levels
    expected = np.array(theirs.compute_face_descriptor(image, shape))
    assert np.linalg.norm(network.embed(tensor(chip))[0].numpy() - expected) < 1e-5
    assert np.linalg.norm(network.embed(ours)[0].numpy() - expected) < 0.01


def test_without_landmarks_the_face_is_where_ffhq_has_it(network: DlibFace) -> None:
    photo = Image.fromarray(data.astronaut())
    assert find_faces(photo)
    image = np.asarray(align(photo, "always").image.resize((256, 256)))
    predictor = dlib.shape_predictor(str(model_file(DlibIdentity.landmarks_file)))
    points = torch.from_numpy(locate(predictor, image))[None]
    exact, fixed = network.embed(chips(tensor(image), points)), network.embed(chips(tensor(image)))
    assert (exact - fixed).norm() < 0.2  # a third of what separates two people
    large = torch.nn.functional.interpolate(tensor(image), (512, 512))
    torch.testing.assert_close(chips(large), chips(tensor(image)))
    unit = network(tensor(image))
    torch.testing.assert_close(unit, torch.nn.functional.normalize(fixed, dim=1))


def test_it_is_a_loss(network: DlibFace) -> None:
    target = to_tensor(align(Image.fromarray(data.astronaut()), "always").image)[None]
    wanted = network(target)
    image = (0.5 * target).roll(4, dims=-1).requires_grad_()
    adam = torch.optim.Adam([image], 0.01)
    losses = []
    for _ in range(4):
        loss = 1 - (network(image) * wanted).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    assert image.grad is not None and image.grad.isfinite().all()
    assert losses == sorted(losses, reverse=True)


def test_a_batch_is_its_images(network: DlibFace) -> None:
    batch = torch.cat([tensor(np.asarray(image.resize((256, 256)))) for image in crops()])
    points = torch.tensor([FACE]).reshape(1, 2, 2).float().repeat(4, 3, 1)[:, :5] + torch.arange(40).view(4, 5, 2)
    together = network.embed(chips(batch, points))
    one = torch.cat([network.embed(chips(x[None], p[None])) for x, p in zip(batch, points, strict=True)])
    torch.testing.assert_close(together, one, rtol=1e-4, atol=1e-4)


def test_damaged_files(tmp_path: Path) -> None:
    content = FILE.read_bytes()
    path = tmp_path / "face.dat"
    con = content.index(b"con_4")
    endless = content[: con + 6] + b"\x02\x08" + b"\xff" * 8 + content[con + 16 :]
    negative = content[: con + 6] + b"\x02\x81" + content[con + 8 :]
    for damaged in (content[:-300_000], content[:1000], content[:40], endless, negative, content * 3):
        path.write_bytes(damaged)
        with pytest.raises(RestyleError, match=r"face\.dat'"):
            read_module(path, role="perceptual")
