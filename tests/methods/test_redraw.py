"""Another generator renders the latent and the patch, as the last link of a chain."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from typer.testing import Result

from restyle_cli.align import aligned_mark
from restyle_cli.errors import RestyleError, UsageError
from restyle_cli.images import save_image, to_image
from restyle_cli.inversion import invert
from restyle_cli.methods.encoder import HyperStyle, ReStyle
from restyle_cli.methods.redraw import Redraw
from restyle_cli.models import plan
from restyle_cli.run.latents import read, render_latent
from restyle_cli.store.files import read_module, write_module

Run = Callable[..., Result]
CHAIN = "restyle-psp-portrait:2,pti:2,toon"


@pytest.fixture
def face(tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    save_image(Image.fromarray(noise), tmp_path / "face.png", aligned_mark())
    return tmp_path / "face.png"


def test_another_generator_renders_the_latent_and_the_deltas() -> None:
    """Domain adaptation as HyperStyle has it: the hypernetwork sees the first generator's images only."""
    photos, toons = tiny.generator(), tiny.generator()
    toons.to_rgbs[0].bias.add_(0.5)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = [ReStyle("restyle-psp", tiny.encoder(), photos), HyperStyle("hyperstyle", tiny.hypernetwork(), photos)]
    found = invert(x, before, keep="last")
    shown = invert(x, [*before, Redraw("toon", toons)])
    assert int(shown.kept_step[0]) == 3, "the last, however far it is from the photo"
    assert torch.equal(shown.w, found.w)
    assert set(shown.patch) == set(found.patch)
    assert all(torch.equal(change, shown.patch[name]) for name, change in found.patch.items())
    assert torch.equal(shown.images, toons(found.w, patch=found.patch))
    assert not torch.allclose(shown.images, found.images)


def test_the_command_takes_the_name_of_a_generator(restyle: Run, face: Path, tiny_store: Path) -> None:
    result = restyle("invert", face, "--via", CHAIN, "--json", "-q", "-o", "out")
    assert result.exit_code == 0, result.output
    (image,) = json.loads(result.stdout)["images"]
    assert [step["method"] for step in image["steps"]][-2:] == ["pti", "toon"]
    latent = read(Path("out/face.safetensors"))
    assert latent.metadata["generator"] == "toon" and latent.metadata["kept_step"] == 5
    toons = read_module(tiny_store / "toon.safetensors")
    rendered = toons(latent.w, patch={name: change.float() for name, change in latent.patch.items()})
    written = np.asarray(Image.open("out/face.png"), int)
    assert np.abs(np.asarray(to_image(rendered[0]), int) - written).max() <= 1
    assert np.array_equal(np.asarray(to_image(render_latent(Path("out/face.safetensors"))[0]), int), written)


def test_a_generator_file_of_unknown_latent_space(face: Path, tmp_path: Path) -> None:
    write_module(tmp_path / "mine.safetensors", tiny.generator(5), "stylegan2")
    chosen = plan("", via=f"restyle-psp-portrait:1,{tmp_path / 'mine.safetensors'}")
    assert "it is not known whether" in chosen.notices[-1]
    assert [method.name for method in chosen.load()][-1].endswith("mine.safetensors")


def test_errors(face: Path, tmp_path: Path) -> None:
    with pytest.raises(RestyleError, match="what a generator does") as caught:
        plan("", via="redraw")
    assert "--via" in caught.value.hint
    assert plan("", via="toon").models[0].method == "projector", "alone a generator is projected on"
    with pytest.raises(UsageError, match="one step, not 3"):
        plan("", via="restyle-psp-portrait:1,toon:3")
    write_module(tmp_path / "large.safetensors", tiny.generator(resolution=64), "stylegan2")
    schedule = plan("", via=f"restyle-psp-portrait:1,{tmp_path / 'large.safetensors'}").load()
    with pytest.raises(RestyleError, match="the latent is 8x16"):
        invert(torch.zeros(1, 3, 64, 64), schedule)
    with pytest.raises(RestyleError, match="renders the latent of another method"):
        schedule[-1].start(torch.zeros(1, 3, 64, 64))
