"""The result of an inversion in Python: its files are those of the command, and it shows itself."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import Result as CommandResult

import restyle_cli
from restyle_cli.images import save_image, to_image
from restyle_cli.inversion import Method
from restyle_cli.models import load_method
from restyle_cli.run.latents import read, render_latent

RESTYLE = "restyle-psp-portrait"


@pytest.fixture
def image() -> Image.Image:
    small = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return to_image(torch.nn.functional.interpolate(small[None], (256, 256), mode="bilinear")[0])


@pytest.fixture
def model(tiny_store: Path) -> Method:
    return load_method(RESTYLE)


def test_a_result_is_saved_as_the_command_saves_it(
    model: Method, image: Image.Image, tmp_path: Path, restyle: Callable[..., CommandResult]
) -> None:
    save_image(image, tmp_path / "a.png")
    command = restyle("invert", tmp_path / "a.png", "-m", RESTYLE, "-n", 2, "--align", "never", "-o", tmp_path / "cli")
    assert command.exit_code == 0, command.stderr
    result = restyle_cli.invert(tmp_path / "a.png", model, 2, keep="best")
    (files,) = result.save(tmp_path / "api")
    assert {kind: file.name for kind, file in files.items()} == {
        "image": "a.png",
        "strip": "a.strip.png",
        "latent": "a.safetensors",
    }
    for name in ("a.png", "a.strip.png"):
        assert (tmp_path / "api" / name).read_bytes() == (tmp_path / "cli" / name).read_bytes()
    ours, theirs = (read(tmp_path / folder / "a.safetensors") for folder in ("api", "cli"))
    assert torch.equal(ours.w, theirs.w)
    differing = {key for key in theirs.metadata if ours.metadata.get(key) != theirs.metadata[key] is not None}
    assert differing == {"face", "steps"}, "no face was chosen; the steps have their own seconds"
    assert set(ours.metadata) <= set(theirs.metadata)
    assert torch.equal(render_latent(tmp_path / "api" / "a.safetensors"), result.images)


def test_results_of_several_images_and_kinds(model: Method, image: Image.Image, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        save_image(image, tmp_path / folder / "a.png")
    images = [tmp_path / "one" / "a.png", np.asarray(image), tmp_path / "two" / "a.png"]
    result = restyle_cli.invert(images, model, 1, keep_w=True)
    written = result.save(tmp_path / "out", {"npy", "steps"})
    assert [files["latent"].name for files in written] == ["a.safetensors", "image-2.safetensors", "a-2.safetensors"]
    assert np.load(tmp_path / "out" / "image-2.npy").shape == tuple(result.w.shape[1:])
    assert len(list((tmp_path / "out").iterdir())) == 6
    with pytest.raises(ValueError, match="unknown kinds"):
        result.save(tmp_path, {"video"})
    with pytest.raises(ValueError, match="keep_w=True"):
        restyle_cli.invert(image, model, 1).save(tmp_path, {"steps"})


def test_weight_changes_are_saved(tiny_store: Path, image: Image.Image, tmp_path: Path) -> None:
    chain = restyle_cli.load(f"{RESTYLE}:1,pti:2")
    (files,) = restyle_cli.invert(image, chain).save(tmp_path)
    latent = read(files["latent"])
    assert latent.patch and latent.metadata["chain"] == f"{RESTYLE}:1,pti:2"
    assert np.array_equal(
        np.asarray(to_image(render_latent(files["latent"])[0])), np.asarray(Image.open(files["image"]))
    )


def test_a_result_shows_itself(model: Method, image: Image.Image) -> None:
    result = restyle_cli.invert([image] * 10, model, 2)
    assert re.fullmatch(rf"Result\(10 images, {RESTYLE}:2, L2 0\.\d{{4}}, w \[10, 8, 16\]\)", repr(result))
    page = result._repr_html_()
    assert page.count('<img src="data:image/png;base64,') == 8 and "and 2 more" in page
    data = base64.b64decode(page.split("base64,")[1].split('"')[0])
    assert Image.open(io.BytesIO(data)).width > 4 * 256
    assert repr(model) == f"ReStyle('{RESTYLE}')"
    assert repr(result.one(3)).startswith("Result(1 image, ")
    assert repr(next(restyle_cli.iterate(image, [model]))) == "State(w [1, 8, 16], image [1, 3, 32, 32])"
