"""Masks: cropped like the photo and applied to it, also on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import Result

from restyle_cli.align import Aligned, AlignOptions, align_image, aligned_mark, matrix_of
from restyle_cli.align.mask import GREY, Mask
from restyle_cli.errors import RestyleError
from restyle_cli.images import save_image
from restyle_cli.store.files import read_latent

Run = Callable[..., Result]
NEVER = AlignOptions(mode="never")
RED = (200, 10, 10)


def halves(width: int = 64, height: int = 64) -> Image.Image:
    """White on the left, black on the right."""
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, (0, 0, width // 2, height))
    return mask


def colour(path: Path, value: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> Path:
    save_image(Image.new("RGB", size, value), path, aligned_mark())
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    halves().save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def applied(mask: Mask, image: Image.Image | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The pixels [32, 32, 3] of a 64x64 image with the mask, and their weights [32, 32]."""
    image = image or Image.new("RGB", (64, 64), RED)
    aligned = align_image(image, NEVER, (32, 32), Path("x"))[0]
    masked, weights = mask.apply(aligned, image.size, NEVER, (32, 32))
    assert weights.shape == (1, 32, 32)
    return np.asarray(masked.image), weights[0].numpy()


def test_unknown_pixels_are_grey(mask: Path) -> None:
    pixels, weights = applied(Mask(mask))
    assert (weights[:, :15] == 1).all() and (weights[:, 17:] == 0).all()
    assert (pixels[:, :15] == RED).all() and (pixels[:, 17:] == GREY).all()


def test_pixels_that_count_in_part_keep_their_colours(tmp_path: Path) -> None:
    """A feathered edge must not be fitted as a grey one."""
    Image.linear_gradient("L").rotate(90).resize((64, 64)).save(tmp_path / "soft.png")
    pixels, weights = applied(Mask(tmp_path / "soft.png"))
    assert ((weights > 0.2) & (weights < 0.8)).any()
    assert (pixels[weights > 0] == RED).all()


def test_transparent_pixels_are_unknown(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (64, 64), (255, 255, 255, 255))
    clear.paste((255, 255, 255, 0), (32, 0, 64, 64))
    clear.save(tmp_path / "clear.png")
    _, weights = applied(Mask(tmp_path / "clear.png"))
    assert weights[:, :15].min() == 1 and weights[:, 17:].max() == 0


def test_the_mask_is_cropped_and_rotated_like_the_photo(mask: Path) -> None:
    quad = ((112.0, 32.0), (16.0, 32.0), (16.0, 96.0), (112.0, 96.0))  # a quarter turn: its top is the photo's right
    aligned = Aligned(Image.new("RGB", (32, 32)), quad, matrix_of(quad, (32, 32)), 1, "aligned")
    _, weights = Mask(mask).apply(aligned, (128, 128), NEVER, (32, 32))
    assert float(weights[0, :14].max()) == 0  # black, the photo's right
    assert float(weights[0, 18:].min()) == 1


def test_with_a_second_photo_all_pixels_are_known(mask: Path, tmp_path: Path) -> None:
    pixels, weights = applied(Mask(mask, colour(tmp_path / "other.png", (0, 0, 250))))
    assert (weights == 1).all()
    assert (pixels[:, :12] == RED).all() and (pixels[:, 20:] == (0, 0, 250)).all()


def test_masks_that_do_not_fit(tmp_path: Path, mask: Path) -> None:
    with pytest.raises(RestyleError, match="is 64x64, the photo 128x64"):
        applied(Mask(mask), Image.new("RGB", (128, 64)))
    Image.new("L", (64, 64), 0).save(tmp_path / "black.png")
    with pytest.raises(RestyleError, match="covers the whole crop"):
        applied(Mask(tmp_path / "black.png"))
    with pytest.raises(RestyleError, match="cannot read"):
        Mask(tmp_path / "nowhere.png").settings()


# --- restyle invert --mask


@pytest.fixture
def face(tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return colour(tmp_path / "face.png", RED)


def result(name: str) -> tuple[torch.Tensor, dict[str, object]]:
    tensors, metadata = read_latent(Path(name) / "face.safetensors")
    return tensors["w"], metadata


def change_unknown_part(face: Path) -> None:
    image = Image.open(face).convert("RGB")
    image.paste((0, 255, 0), (36, 0, 64, 64))  # not at the edge itself, where resizing mixes both sides
    save_image(image, face, aligned_mark())


def test_unknown_pixels_do_not_change_the_latent(restyle: Run, face: Path, mask: Path, tmp_path: Path) -> None:
    model = ("-m", "image2stylegan++-portrait", "-n", 3)
    assert restyle("invert", face, *model, "--mask", mask, "-o", "one").exit_code == 0
    w, metadata = result("one")
    assert len(str(metadata["mask"])) == 64
    change_unknown_part(face)
    restyle("invert", face, *model, "--mask", mask, "-o", "two")
    assert torch.equal(result("two")[0], w)
    restyle("invert", face, *model, "-o", "three")
    assert not torch.equal(result("three")[0], w)


@pytest.mark.parametrize("last", ["image2stylegan", "idinvert-portrait", "projector", "pti"])
def test_unknown_pixels_change_nothing_in_any_optimisation(
    last: str, restyle: Run, face: Path, mask: Path, tmp_path: Path
) -> None:
    """Nor in the steps before it."""
    command = ("invert", face, "--via", f"image2stylegan++-portrait:1,{last}:4", "--mask", mask, "--keep", "last")
    assert restyle(*command, "-o", "one").exit_code == 0
    change_unknown_part(face)
    assert restyle(*command, "-o", "two").exit_code == 0
    first, second = (read_latent(tmp_path / name / "face.safetensors")[0] for name in ("one", "two"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_another_mask_is_another_result(restyle: Run, face: Path, mask: Path) -> None:
    command = ("invert", face, "-m", "image2stylegan++-portrait", "-n", 2, "--json")
    statuses = []
    for options in ((), ("--mask", mask), ("--mask", mask), (), ("--mask", mask)):
        statuses.append(json.loads(restyle(*command, *options).stdout)["images"][0]["status"])
    halves().rotate(180).save(mask)
    statuses.append(json.loads(restyle(*command, "--mask", mask).stdout)["images"][0]["status"])
    assert statuses == ["done", "done", "skipped", "done", "done", "done"]


def test_crossover_is_for_every_method(restyle: Run, face: Path, mask: Path, tmp_path: Path) -> None:
    other = colour(tmp_path / "other.png", (0, 0, 250))
    done = restyle("invert", face, "-m", "psp-portrait", "--mask", mask, "--crossover", other, "-o", "both")
    assert done.exit_code == 0
    assert result("both")[1]["crossover"]
    restyle("invert", face, "-m", "psp-portrait", "-o", "alone")
    assert not torch.equal(result("both")[0], result("alone")[0])


def test_options_that_have_no_effect_are_refused(restyle: Run, face: Path, mask: Path) -> None:
    for options, said in (
        (("-m", "psp-portrait", "--mask", mask), "psp-portrait does not support --mask"),
        (("--via", "image2stylegan++-portrait:1,restyle-psp-portrait:1", "--mask", mask), "does not support --mask"),
        (("--via", "restyle-psp-portrait:1,toon", "--mask", mask), "does not support --mask"),
        (("-m", "psp-portrait", "--crossover", face), "--crossover needs --mask"),
    ):
        done = restyle("invert", face, *options)
        assert done.exit_code == 2
        assert said in done.stderr
    for options, named in (
        (("--mask", "nowhere.png"), "--mask"),
        (("--mask", mask, "--crossover", "no.png"), "--cross"),
    ):
        missing = restyle("invert", face, "-m", "image2stylegan++-portrait", "-n", 1, *options)
        assert missing.exit_code == 1
        assert str(options[-1]) in missing.stderr and f"check the name after {named}" in missing.stderr
