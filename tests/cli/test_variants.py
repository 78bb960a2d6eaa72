"""`restyle invert` from what is no photo, and with several pictures for one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from commands import Run
from PIL import Image

from restyle_cli.images import to_image
from restyle_cli.methods.mixing import FINE, mix, sample_w
from restyle_cli.store import fetch
from restyle_cli.store.files import read_latent, write_module


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A generator with fine layers, and encoders of pSp for photos, sketches and label maps of 5 classes."""
    folder = tmp_path / "models"
    folder.mkdir()
    write_module(folder / "draws.safetensors", tiny.generator(resolution=128), "stylegan2")
    for name, channels, seed in (("photo", 3, 1), ("sketch", 1, 2), ("labels", 5, 3)):
        encoder = tiny.encoder(seed, channels, styles=12)
        write_module(folder / f"{name}.safetensors", encoder, "small", {"method": "psp", "generator": "draws"})
    return folder


@pytest.fixture
def wide_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `tiny_store`, of generators with fine layers; toons are far from portraits."""
    folder = tmp_path / "weights"
    folder.mkdir()
    toons = tiny.generator(resolution=128)
    toons.to_rgbs[0].bias.add_(5.0)
    write_module(folder / "portrait.safetensors", tiny.generator(resolution=128), "stylegan2")
    write_module(folder / "toon.safetensors", toons, "stylegan2", {"latent_space": "portrait"})
    for name, of in (("psp-portrait", "portrait"), ("restyle-psp-portrait", "portrait"), ("restyle-psp-toon", "toon")):
        tiny.write_encoder(folder / f"{name}.safetensors", name.removesuffix(f"-{of}"), of, styles=12)
    monkeypatch.setattr(fetch, "embedded_folder", lambda: folder)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.effect_noise((256, 256), 60).convert("RGB").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    """Grey levels from 0 to 4: a sketch in the dark, or a label map."""
    values = np.random.default_rng(0).integers(0, 5, (8, 8), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    path = tmp_path / "drawing.png"
    Image.fromarray(values).resize((256, 256), Image.Resampling.NEAREST).save(path)
    return path


def test_several_pictures_of_one_sketch(restyle: Run, models: Path, drawing: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("invert", drawing, "-m", models / "sketch.safetensors", "--variants", 3, "--seed", 7, "-o", out)
    result = restyle(*arguments, "--json")
    assert result.exit_code == 0, result.output
    (image,) = json.loads(result.stdout)["images"]
    assert {f"variant-{k}" for k in (1, 2, 3)} | {"variants"} <= set(image["outputs"])
    tensors, made = read_latent(out / "drawing.safetensors")
    assert made["seeds"] == [7, 8, 9]
    assert made["kept_step"] == 1, "whatever the L2 is between a sketch and a face"
    draws = tiny.generator(resolution=128)
    for k, seed in enumerate(made["seeds"], start=1):
        w = mix(tensors["w"][None], sample_w(draws, seed))
        assert torch.allclose(tensors["w_variants"][k - 1], w[0], atol=1e-6)
        drawn = np.asarray(to_image(draws(w)[0]), dtype=int)
        written = np.asarray(Image.open(out / f"drawing.variant-{k}.png"), dtype=int)
        assert written.shape == (128, 128, 3)
        assert np.abs(drawn - written).max() <= 1
    assert torch.equal(tensors["w_variants"][:, :FINE], tensors["w"][:FINE].expand(3, -1, -1))
    assert json.loads(restyle(*arguments, "--json").stdout)["summary"]["skipped"] == 1
    other = restyle(*arguments[:-1], out, "--mix-alpha", 0.5, "--json")
    assert json.loads(other.stdout)["summary"]["done"] == 1, "another setting, another result"
    halved, _ = read_latent(out / "drawing.safetensors")
    middle = (tensors["w"][FINE:] + tensors["w_variants"][0, FINE:]) / 2
    assert torch.allclose(halved["w_variants"][0, FINE:], middle, atol=1e-5)


def test_mix_alpha_alone_makes_five(restyle: Run, models: Path, drawing: Path, tmp_path: Path) -> None:
    result = restyle("invert", drawing, "-m", models / "sketch.safetensors", "--mix-alpha", 0.2, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").glob("drawing.variant-?.png"))) == 5


def test_a_label_map_is_no_photo_and_a_photo_no_label_map(
    restyle: Run, models: Path, drawing: Path, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    drawing.rename(pictures / "labels.png")
    Image.effect_noise((256, 256), 60).convert("RGB").save(pictures / "photo.png")
    result = restyle("invert", pictures, "-m", models / "labels.safetensors", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 1
    images = {Path(image["input"]).name: image for image in json.loads(result.stdout)["images"]}
    assert images["labels.png"]["status"] == "done", "no face is looked for in a label map"
    assert images["photo.png"]["status"] == "failed"
    assert "photo.png" in result.stderr
    assert "the model knows those from 0 to 4" in result.stderr


def test_a_smaller_picture_is_shown_to_the_encoder(restyle: Run, models: Path, tmp_path: Path) -> None:
    Image.effect_noise((256, 256), 60).convert("RGB").save(tmp_path / "photo.png")
    codes = {}
    for factor in (1, 16):
        out = tmp_path / f"out-{factor}"
        result = restyle("invert", tmp_path / "photo.png", "-m", models / "photo.safetensors", "--align", "never",
                         "--keep", "last", "--downscale", factor, "-o", out)  # fmt: skip
        assert result.exit_code == 0, result.output
        codes[factor], made = read_latent(out / "photo.safetensors")
        assert (made["downscale"] or 1) == factor
    assert (codes[1]["w"] - codes[16]["w"]).abs().max() > 0.01


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--downscale", 3), "3 is not one of 1, 2, 4, 8, 16, 32"),
        (("--mix-alpha", 1.5), "1.5 is not between 0 and 1"),
        (("--mix-alpha", "nan"), "nan is not between 0 and 1"),
        (("--variants", 0), "0 is not between 1 and 100"),
    ],
)
def test_wrong_numbers(restyle: Run, drawing: Path, options: tuple[object, ...], sentence: str) -> None:
    result = restyle("invert", drawing, *options)
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.replace("│", " ").split())


def test_what_cannot_be_mixed_or_shrunk_is_said(restyle: Run, tiny_store: Path, drawing: Path, tmp_path: Path) -> None:
    arguments = ("invert", drawing, "--align", "never", "-o", tmp_path / "out")
    result = restyle(*arguments, "-m", "psp-portrait", "--variants", 2)
    assert result.exit_code == 1
    assert "too few to mix" in result.stderr
    result = restyle(*arguments, "-m", "restyle-psp-portrait", "--downscale", 4)
    assert result.exit_code == 2
    assert "--downscale has no effect" in result.stderr


def test_variants_are_of_the_generator_that_drew_what_is_kept(restyle: Run, wide_store: Path, photo: Path) -> None:
    """With no step towards sampled codes, a variant is the picture itself."""
    chain = ("--via", "restyle-psp-portrait:1,restyle-psp-toon:1", "--align", "never")
    result = restyle("invert", photo, *chain, "--variants", 1, "--mix-alpha", 0, "-o", "out")
    assert result.exit_code == 0, result.output
    assert read_latent(Path("out/photo.safetensors"))[1]["generator"] == "toon"
    shown, variant = (np.asarray(Image.open(f"out/photo{end}"), int) for end in (".png", ".variant-1.png"))
    assert np.abs(shown - variant).max() <= 1


def test_variants_leave_a_generator_alone_that_is_tuned_meanwhile(restyle: Run, wide_store: Path, photo: Path) -> None:
    folder = photo.parent / "photos"
    folder.mkdir()
    for seed in range(4):
        Image.effect_noise((256, 256), 30 + 20 * seed).convert("RGB").save(folder / f"{seed}.png")
    command = ("invert", folder, "--via", "psp-portrait,pti:4", "-b", 1, "--align", "never")
    assert restyle(*command, "-o", "alone").exit_code == 0
    assert restyle(*command, "--variants", 3, "-o", "with").exit_code == 0
    for seed in range(4):
        alone, together = (np.asarray(Image.open(f"{where}/{seed}.png")) for where in ("alone", "with"))
        assert np.array_equal(alone, together)


def test_of_more_variants_before_nothing_is_left(restyle: Run, wide_store: Path, photo: Path) -> None:
    for count in (3, 2):
        command = ("invert", photo, "-m", "psp-portrait", "--align", "never", "--variants", count, "-o", "out")
        assert restyle(*command).exit_code == 0
        assert len(list(Path("out").glob("photo.variant-*.png"))) == count
