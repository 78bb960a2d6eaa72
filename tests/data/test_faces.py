"""The face renderer on synthetic photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from restyle_cli.data.face_mesh import TEMPLATE_DEPTH, FaceMesh, ring
from restyle_cli.data.face_photos import FacePhotos, read_photos
from restyle_cli.data.face_space import CODE_DIM, FaceSpace, layer_groups, w_directions
from restyle_cli.data.faces import LARGEST_WEIGHT, SCENE, Faces, Look
from restyle_cli.data.matting import matte
from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.ops.layers import pixel_norm
from restyle_cli.train.generator import embed, set_mapping, shift_w

from .people import LANDMARKS, SIDE, TEMPLATE, write_people


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("people")
    write_people(path)
    return path


@pytest.fixture(scope="module")
def photos(folder: Path) -> FacePhotos:
    return read_photos(folder, 64, people=lambda person: person != "005")


@pytest.fixture(scope="module")
def faces(photos: FacePhotos) -> Faces:
    return Faces(photos)


def still(faces: Faces, **scene: float) -> Look:
    """A blend of the first two people, with the hair of the third, in a plain scene."""
    weights = np.zeros(len(faces.photos.names), np.float32)
    weights[:2] = 0.5
    hair = np.zeros_like(weights)
    hair[2] = 1
    own = dict(zip(("hair_light", "hair_a", "hair_b"), faces.natural_hair(hair), strict=True))
    return Look(weights, weights, hair, dict.fromkeys(SCENE, 0.0) | own | scene)


# --- matting


def test_matte_finds_the_opacity_of_a_soft_edge() -> None:
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE - 0.5
    alpha = np.clip((0.3 - np.hypot(x, y)) / 0.04 + 0.5, 0, 1)[..., None]
    wall = np.full((SIDE, SIDE, 3), 0.8, np.float32) - 0.05 * y[..., None]
    image = alpha * np.array((0.25, 0.15, 0.1), np.float32) + (1 - alpha) * wall
    face = SIDE * (0.5 + 0.1 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]))
    opacity, colour = matte(image.astype(np.float32), face)
    assert np.abs(opacity - alpha[..., 0]).mean() < 0.01
    seen = alpha[..., 0] > 0.5
    assert np.abs(colour[seen] - (0.25, 0.15, 0.1)).mean() < 0.01


# --- mesh


def test_warping_to_the_same_points_changes_nothing(photos: FacePhotos) -> None:
    image = photos.colours[0].astype(np.float32)
    same = photos.mesh.warp(image, photos.mean_shape, photos.mean_shape)
    assert np.abs(same - image).max() < 0.5


def test_a_turn_and_its_opposite_mirror_each_other() -> None:
    points = np.concatenate([LANDMARKS, [TEMPLATE[i] for i in TEMPLATE_DEPTH], ring()]) * 64
    mesh = FaceMesh(points, 64)
    left, right = (mesh.turned(points, yaw, 0) for yaw in (-0.3, 0.3))
    nose = 30
    assert left[nose, 0] < points[nose, 0] < right[nose, 0]
    assert left[nose, 0] - points[nose, 0] == pytest.approx(points[nose, 0] - right[nose, 0], abs=0.5)
    assert np.array_equal(left[-len(ring()) :], points[-len(ring()) :])


# --- looks


def test_nobody_is_rendered_with_their_own_face(faces: Faces) -> None:
    rng = np.random.default_rng(0)
    for look in (faces.look(rng) for _ in range(300)):
        for weights in (look.texture, look.shape):
            per_person = [weights[[n.startswith(p) for n in faces.photos.names]].sum() for p in faces.people]
            assert max(per_person) <= LARGEST_WEIGHT + 1e-5
            assert weights.sum() == pytest.approx(1, abs=1e-4)
        assert look.hair.sum() == pytest.approx(1)


def test_people_left_out_are_in_no_photograph(photos: FacePhotos, faces: Faces) -> None:
    assert "005" not in faces.people and len(faces.people) == 5
    assert not any(name.startswith("005") for name in photos.names)


def test_the_same_seed_renders_the_same_image(faces: Faces) -> None:
    first, second = (faces.render(faces.look(np.random.default_rng(7))) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.shape == (64, 64, 3) and first.min() >= 0 and first.max() <= 1


@pytest.mark.parametrize("name", [n for n in SCENE if not n.startswith(("glasses_", "hat_", "clothes_"))])
def test_every_parameter_of_the_scene_changes_the_image(faces: Faces, name: str) -> None:
    plain, changed = (faces.render(still(faces, **values)) for values in ({}, {name: 2.5}))
    assert np.abs(changed - plain).mean() > 1e-3


def test_the_wall_is_the_one_asked_for(faces: Faces) -> None:
    dark, light = (faces.render(still(faces, wall_light=value))[2, 2].mean() for value in (-2.0, 2.0))
    assert dark < 0.2 < 0.8 < light


def test_photographs_are_prepared_once(photos: FacePhotos, tmp_path: Path) -> None:
    photos.save(tmp_path / "photos.npz")
    again = FacePhotos.open(tmp_path / "photos.npz")
    assert again.names == photos.names and again.size == photos.size
    assert np.array_equal(again.colours, photos.colours)


def test_a_folder_without_landmarks_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RestyleError, match=r"points\.json"):
        read_photos(tmp_path, 64)


# --- codes


def test_codes_are_linear_in_the_blend(faces: Faces, photos: FacePhotos) -> None:
    codes = FaceSpace(photos).photo_codes(photos)
    one, two = still(faces), still(faces)
    other = Look(np.roll(one.texture, 2), one.shape, one.hair, one.scene)
    between = Look((one.texture + other.texture) / 2, one.shape, one.hair, one.scene)
    ends = [FaceSpace.code(look, codes) for look in (two, other, between)]
    assert ends[0].shape == (CODE_DIM,)
    np.testing.assert_allclose((ends[0] + ends[1]) / 2, ends[2], atol=1e-4)


def test_layer_groups_cover_every_number() -> None:
    groups = layer_groups()
    assert groups.shape == (3, CODE_DIM)
    assert groups.any(0).all()


@pytest.fixture
def network(photos: FacePhotos) -> StyleGAN2:
    config = StyleGAN2Config(
        resolution=16, channels={4: 8, 8: 8, 16: 8}, z_dim=CODE_DIM, mapping_layers=1, mapping_lr_mul=1.0, noise=False
    )
    made = StyleGAN2(config)
    set_mapping(made, 0.5 * w_directions(FaceSpace(photos), 512))
    return made


def test_the_mapping_network_is_the_embedding(network: StyleGAN2) -> None:
    z = pixel_norm(torch.randn(4, CODE_DIM, generator=torch.Generator().manual_seed(0)))
    centred = embed(network, z)
    shift_w(network, 1)
    torch.testing.assert_close(network.mapping(z), network.w_avg[0] + centred, atol=1e-4, rtol=1e-4)


def test_shifting_w_changes_no_image(network: StyleGAN2) -> None:
    w = network.w_plus(embed(network, torch.randn(2, CODE_DIM, generator=torch.Generator().manual_seed(1))))
    before = network(w)
    shift_w(network, 1)
    torch.testing.assert_close(network(w + network.w_avg), before, atol=1e-4, rtol=1e-4)
    shift_w(network, -1)
    torch.testing.assert_close(network(w), before, atol=1e-5, rtol=1e-4)
    assert float(network.w_avg.detach().abs().max()) < 1e-5
