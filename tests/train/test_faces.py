"""Training on rendered faces: the generator that learns their codes, and an encoder of that generator."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from data.people import write_people
from typer.testing import Result

from restyle_cli.data.face_space import CODE_DIM
from restyle_cli.data.renders import FacesAndPhotos, Renders, w_of_codes
from restyle_cli.generators.stylegan2 import StyleGAN2
from restyle_cli.store.files import read_header, read_module
from restyle_cli.train.losses import latent

GENERATOR = """
name = "face"
task = "faces"
model = { resolution = 16, w_dim = 288, channels = { 4 = 16, 8 = 16, 16 = 8 } }
data = { kind = "faces", count = 256, resolution = 16, held_out = ["005"] }
validation = { every = 20, images = 8, best = "l2" }
training = { batch = 8, lr = 0.02, ema = 0.9, mixing = 0.5, losses = { l2 = 4.0, gradient_l2 = 1.0 } }
stages = [
  { steps = 20, resolution = 8 },
  { steps = 20, resolution = 16, adversary = 0.1, losses = { l2 = 4.0, id = 0.01 } },
]
networks = { id = "dlib" }
"""
ENCODER = """
name = "restyle-face"
preset = "small"
generator = "run/face.safetensors"
model = { input_size = 16, widths = [8, 8], blocks = [1, 1] }
data = { kind = "faces", count = 256, resolution = 16, held_out = ["005"], photos = 0.5 }
training = { steps = 4, batch = 4, augment = 0.5, losses = { l2 = 1.0, lpips = 0.0, latent = 0.5 } }
validation = { every = 2, images = 2 }
"""


TOON = GENERATOR.replace('name = "face"', 'name = "toon"\nstart_from = "run/face.safetensors"').replace(
    'held_out = ["005"] }', 'held_out = ["005"], style = "toon" }'
)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    write_people(folder)
    return folder


def test_generator_and_encoder(
    restyle: Callable[..., Result], people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("face.toml").write_text(GENERATOR)
    done = restyle("train", "face.toml", "--data", people, "-o", "run", "--threads", 1)
    assert done.exit_code == 0, done.stderr
    scores = list(csv.DictReader(Path("run/scores.csv").read_text().splitlines()))
    assert [row["step"] for row in scores] == ["20", "40"]
    assert float(scores[1]["psnr"]) > 12  # the mean image has about 10 dB
    generator = read_module(Path("run/face.safetensors"))
    assert isinstance(generator, StyleGAN2)
    assert read_header(Path("run/face.safetensors"))["extra"]["latent_space"] == "face"
    # Random z, through the mapping network as other generators have it, give images of the trained kind.
    z = torch.randn(4, CODE_DIM, generator=torch.Generator().manual_seed(0))
    image = generator(generator.w_plus(generator.mapping(z)))
    assert image.isfinite().all()
    assert float(image.abs().max()) < 3

    # A cartoon has the code of its photograph: the toon generator keeps the mapping network of the first one.
    Path("toon.toml").write_text(TOON)
    assert restyle("train", "toon.toml", "--data", people, "-o", "toon", "--threads", 1).exit_code == 0
    toon = read_module(Path("toon/toon.safetensors"))
    assert isinstance(toon, StyleGAN2)
    torch.testing.assert_close(toon.mapping(z), generator.mapping(z), atol=2e-2, rtol=0)
    assert not torch.allclose(toon(toon.start(1)), generator(generator.start(1)), atol=1e-2)

    Path("encoder.toml").write_text(ENCODER)
    done = restyle("train", "encoder.toml", "--data", people, "-o", "encoder", "--threads", 1)
    assert done.exit_code == 0, done.stderr
    assert Path("encoder/restyle-face.safetensors").exists()

    wrong = restyle("train", "encoder.toml", "--data", people, "--generator", "portrait", "-o", "wrong")
    assert wrong.exit_code == 1
    assert "not a generator of rendered faces" in wrong.stderr


def test_codes_are_latents_of_the_generator_and_photographs_have_none(people: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = StyleGAN2(
        StyleGAN2.Config(16, {4: 8, 8: 8, 16: 8}, CODE_DIM, 288, mapping_layers=1, mapping_lr_mul=1.0, noise=False)
    ).requires_grad_(False)
    source = FacesAndPhotos(Renders(people, tmp_path, 16, 256, ["005"]), generator, (8, 8), photos=0.5)
    source.prepare(lambda text: None)
    batch = source.batch(range(40), [np.random.default_rng(k) for k in range(40)])
    assert batch.y.shape == (40, 3, 8, 8)
    assert batch.w is not None
    unknown = batch.w.isnan().all(dim=2).all(dim=1)
    assert 8 < int(unknown.sum()) < 32
    assert all(name.endswith(".jpg") == bool(none) for name, none in zip(batch.names, unknown, strict=True))
    assert not any(name.startswith("005") for name in batch.names)
    held_out = source.validation(9)
    assert list(held_out.names) == ["005n.jpg", "005s.jpg"]
    codes = source.renders.codes[:3]
    w = w_of_codes(generator, codes)
    assert w.shape == (3, generator.layers, 288)
    assert float(latent(w, w, torch.ones(288))) == 0
    mixed = torch.cat([w, torch.full_like(w, torch.nan)])
    torch.testing.assert_close(latent(torch.cat([w, w]) + 1, mixed, torch.ones(288)), torch.tensor(0.5))
