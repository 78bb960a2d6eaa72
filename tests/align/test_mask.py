"""Masks: cut as the photo is, and put on it; from the command too."""

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


def framed(picture: Image.Image, side: int = 32) -> Aligned:
    return align_image(picture, NEVER, (side, side), Path("x"))[0]


def test_what_is_not_known_becomes_grey(mask: Path) -> None:
    aligned, known = Mask(mask).apply(framed(Image.new("RGB", (64, 64), (200, 10, 10))), (64, 64), NEVER, (32, 32))
    assert known.shape == (1, 32, 32)
    assert torch.equal(known[..., :15], torch.ones(1, 32, 15))
    assert torch.equal(known[..., 17:], torch.zeros(1, 32, 15))
    pixels = np.asarray(aligned.image)
    assert (pixels[:, :15] == (200, 10, 10)).all()
    assert (pixels[:, 17:] == GREY).all()


def test_what_counts_by_a_part_keeps_its_colours(tmp_path: Path) -> None:
    """A feathered edge must not be fitted as a grey one."""
    soft = Image.linear_gradient("L").rotate(90).resize((64, 64))
    soft.save(tmp_path / "soft.png")
    aligned, known = Mask(tmp_path / "soft.png").apply(
        framed(Image.new("RGB", (64, 64), (200, 10, 10))), (64, 64), NEVER, (32, 32)
    )
    pixels, counts = np.asarray(aligned.image), known[0].numpy()
    assert ((counts > 0.2) & (counts < 0.8)).any()
    assert (pixels[counts > 0] == (200, 10, 10)).all()


def test_what_is_erased_is_not_known(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (64, 64), (255, 255, 255, 255))
    clear.paste((255, 255, 255, 0), (32, 0, 64, 64))
    clear.save(tmp_path / "clear.png")
    _, known = Mask(tmp_path / "clear.png").apply(framed(Image.new("RGB", (64, 64))), (64, 64), NEVER, (32, 32))
    assert float(known[..., :15].min()) == 1 and float(known[..., 17:].max()) == 0


def test_it_is_cut_and_turned_as_the_photo(mask: Path) -> None:
    photo = Image.new("RGB", (128, 128))
    quad = ((112.0, 32.0), (16.0, 32.0), (16.0, 96.0), (112.0, 96.0))  # a quarter turn: its top is the photo's right
    aligned = Aligned(Image.new("RGB", (32, 32)), quad, matrix_of(quad, (32, 32)), 1, "aligned")
    _, known = Mask(mask).apply(aligned, photo.size, NEVER, (32, 32))
    assert float(known[0, :14].max()) == 0  # black, the photo's right
    assert float(known[0, 18:].min()) == 1


def test_with_a_second_photo_all_is_known(mask: Path, tmp_path: Path) -> None:
    other = colour(tmp_path / "other.png", (0, 0, 250))
    aligned, known = Mask(mask, other).apply(
        framed(Image.new("RGB", (64, 64), (200, 10, 10))), (64, 64), NEVER, (32, 32)
    )
    assert torch.equal(known, torch.ones(1, 32, 32))
    pixels = np.asarray(aligned.image)
    assert (pixels[:, :12] == (200, 10, 10)).all()
    assert (pixels[:, 20:] == (0, 0, 250)).all()


def test_masks_that_do_not_fit(tmp_path: Path, mask: Path) -> None:
    wide = framed(Image.new("RGB", (128, 64)))
    with pytest.raises(RestyleError, match="is 64x64, the photo 128x64"):
        Mask(mask).apply(wide, (128, 64), NEVER, (32, 32))
    Image.new("L", (64, 64), 0).save(tmp_path / "black.png")
    with pytest.raises(RestyleError, match="covers the whole crop"):
        Mask(tmp_path / "black.png").apply(framed(Image.new("RGB", (64, 64))), (64, 64), NEVER, (32, 32))
    with pytest.raises(RestyleError, match="cannot read"):
        Mask(tmp_path / "nowhere.png").settings()


# --- restyle invert --mask


@pytest.fixture
def face(tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return colour(tmp_path / "face.png", (200, 10, 10))


def made(name: str) -> tuple[torch.Tensor, dict[str, object]]:
    tensors, told = read_latent(Path(name) / "face.safetensors")
    return tensors["w"], told


def test_filling_in(restyle: Run, face: Path, mask: Path, tmp_path: Path) -> None:
    model = ("-m", "image2stylegan++-portrait", "-n", 3)
    assert restyle("invert", face, *model, "--mask", mask, "-o", "one").exit_code == 0
    w, told = made("one")
    assert len(str(told["mask"])) == 64
    spoiled = Image.open(face).convert("RGB")
    spoiled.paste((0, 255, 0), (36, 0, 64, 64))  # at the edge itself, resizing mixes both sides
    save_image(spoiled, face, aligned_mark())
    restyle("invert", face, *model, "--mask", mask, "-o", "two")
    assert torch.equal(made("two")[0], w)  # what is not known has no say
    restyle("invert", face, *model, "-o", "three")
    assert not torch.equal(made("three")[0], w)


@pytest.mark.parametrize("last", ["image2stylegan", "idinvert-portrait", "projector", "pti"])
def test_what_is_not_known_has_no_say_in_any_optimisation(
    last: str, restyle: Run, face: Path, mask: Path, tmp_path: Path
) -> None:
    """The codes before do not see it either."""
    command = ("invert", face, "--via", f"image2stylegan++-portrait:1,{last}:4", "--mask", mask, "--keep", "last")
    assert restyle(*command, "-o", "one").exit_code == 0
    spoiled = Image.open(face).convert("RGB")
    spoiled.paste((0, 255, 0), (36, 0, 64, 64))
    save_image(spoiled, face, aligned_mark())
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
    assert made("both")[1]["crossover"]
    restyle("invert", face, "-m", "psp-portrait", "-o", "alone")
    assert not torch.equal(made("both")[0], made("alone")[0])


def test_masks_that_mean_nothing_are_refused(restyle: Run, face: Path, mask: Path) -> None:
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
