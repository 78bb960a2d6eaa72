"""Latent files draw again what was shown, and chains of several methods write such files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor
from typer.testing import Result

from restyle_cli.errors import RestyleError
from restyle_cli.images import to_image
from restyle_cli.run import pipeline
from restyle_cli.run.latents import load_generator, read, render_latent
from restyle_cli.store.files import read_latent, write_latent, write_module

Run = Callable[..., Result]
CHAINS = [
    "psp-portrait,pti:3",
    "e4e-w,hyperstyle:3",
    "psp-portrait,restyle-psp-portrait:2,pti-portrait:2",
    "e4e-w,hyperstyle:2,pti:2",
    "psp-portrait,pti:2,restyle-psp-portrait:1,pti:1",
]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures of different colours."""
    made = tmp_path / "photos"
    made.mkdir()
    for index, colour in enumerate(("teal", "salmon", "khaki")):
        picture = Image.new("RGB", (64, 64), colour)
        picture.paste("black", (10 + 12 * index, 20, 30 + 8 * index, 44))
        picture.save(made / f"{index}.png")
    return made


@pytest.fixture
def chain(request: pytest.FixtureRequest, tiny_store: Path, tmp_path: Path) -> str:
    """A chain in which the names of the W encoder and the hypernetwork are those of files."""
    of = {"generator": "portrait"}
    write_module(tmp_path / "w.safetensors", tiny.encoder(channels=3), "small", {"method": "e4e-w", **of})
    write_module(tmp_path / "h.safetensors", tiny.hypernetwork(), "small-hyper", {"method": "hyperstyle", **of})
    files = {"e4e-w": "w", "hyperstyle": "h"}
    text = request.param
    for name, file in files.items():
        text = text.replace(name, str(tmp_path / f"{file}.safetensors"))
    return text


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The pictures drawn with rounded patches, in the order in which they are made."""
    drawn: list[Tensor] = []
    original = pipeline.render

    def render(*arguments: object) -> Tensor:
        drawn.append(original(*arguments))
        return drawn[-1]

    monkeypatch.setattr(pipeline, "render", render)
    return drawn


@pytest.mark.parametrize("chain", CHAINS, indirect=True)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_reload_draws_bit_for_bit_what_was_shown(
    restyle: Run, photos: Path, tmp_path: Path, chain: str, batch: int, shown: list[Tensor]
) -> None:
    out = tmp_path / "out"
    result = restyle("invert", photos, "--via", chain, "-o", out, "-b", batch, "--align", "never", "--keep", "last")
    assert result.exit_code == 0, result.output
    assert len(shown) == 3
    for index in range(3):
        again = render_latent(out / f"{index}.safetensors")
        assert torch.equal(again, shown[index])
        assert to_image(again[0]).tobytes() == Image.open(out / f"{index}.png").convert("RGB").tobytes()
        latent = read(out / f"{index}.safetensors")
        assert latent.patch and all(change.dtype == torch.float16 for change in latent.patch.values())
    without = load_generator(latent)(latent.w)
    assert (without - again).abs().max() > 1e-3  # the patch is seen


def test_so_does_a_code_that_was_optimised(
    restyle: Run, photos: Path, tmp_path: Path, shown: list[Tensor], tiny_store: Path
) -> None:
    out, chain = tmp_path / "out", "psp-portrait,image2stylegan:3"
    result = restyle("invert", photos, "--via", chain, "-o", out, "--align", "never", "--keep", "last")
    assert result.exit_code == 0, result.output
    assert len(shown) == 3
    for index in range(3):
        again = render_latent(out / f"{index}.safetensors")
        assert torch.equal(again, shown[index])
        assert to_image(again[0]).tobytes() == Image.open(out / f"{index}.png").convert("RGB").tobytes()
        assert not read(out / f"{index}.safetensors").patch


@pytest.mark.parametrize("chain", CHAINS[-2:], indirect=True)
def test_a_second_run_does_only_what_is_missing(restyle: Run, photos: Path, tmp_path: Path, chain: str) -> None:
    out = tmp_path / "out"

    def run() -> dict[str, int]:
        result = restyle("invert", photos, "--via", chain, "-o", out, "--align", "never", "--json", "-q")
        return json.loads(result.stdout)["summary"]

    assert run()["done"] == 3
    before = (out / "1.safetensors").read_bytes()
    (out / "1.safetensors").unlink()
    again = run()
    assert (again["done"], again["skipped"]) == (1, 2)
    old, new = read_latent_bytes(before, tmp_path), read(out / "1.safetensors")
    torch.testing.assert_close(render_latent(new.path), render_latent(old), rtol=1e-2, atol=1e-2)  # another batch size


def read_latent_bytes(data: bytes, folder: Path) -> Path:
    path = folder / "before.safetensors"
    path.write_bytes(data)
    return path


def test_pti_alone_starts_with_the_domains_encoder(
    restyle: Run, photos: Path, tmp_path: Path, tiny_store: Path
) -> None:
    out = tmp_path / "out"
    result = restyle("invert", photos / "0.png", "-m", "pti", "-n", "4", "-o", out, "--align", "never", "--json", "-q")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values["chain"] == "restyle-psp-portrait:5,pti-portrait:4"
    errors = [step["l2"] for step in values["images"][0]["steps"]]
    assert errors[-1] < errors[5]
    refused = restyle("invert", photos / "0.png", "--via", "pti:4", "-o", out, "--align", "never")
    assert refused.exit_code == 2
    assert "restyle-psp:5,pti" in refused.output


def test_a_code_without_changes_is_drawn_too(restyle: Run, photos: Path, tmp_path: Path, tiny_store: Path) -> None:
    restyle("invert", photos / "0.png", "-m", "psp-portrait", "-o", tmp_path, "--align", "never")
    again = to_image(render_latent(tmp_path / "0.safetensors")[0])
    assert again.tobytes() == Image.open(tmp_path / "0.png").convert("RGB").tobytes()


def test_the_generator_is_that_of_the_kept_step(restyle: Run, photos: Path, tmp_path: Path, tiny_store: Path) -> None:
    chain = "restyle-psp-portrait:2,restyle-psp-toon:1"
    restyle("invert", photos / "0.png", "--via", chain, "-o", tmp_path, "--align", "never", "--keep", "last")
    assert read(tmp_path / "0.safetensors").metadata["generator"] == "toon"
    restyle("invert", photos / "0.png", "--via", chain, "-o", tmp_path / "best", "--align", "never")
    made = read(tmp_path / "best" / "0.safetensors").metadata
    assert made["generator"] == ("toon" if made["kept_step"] == 3 else "portrait")
    for path in (tmp_path / "0.safetensors", tmp_path / "best" / "0.safetensors"):
        again = to_image(render_latent(path)[0])
        assert again.tobytes() == Image.open(path.with_suffix(".png")).convert("RGB").tobytes()


def test_another_generator_of_the_same_name_is_refused(
    restyle: Run, photos: Path, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from restyle_cli.store import fetch

    monkeypatch.setattr(fetch, "embedded_folder", lambda: tiny_weights)
    restyle("invert", photos / "0.png", "-m", "psp-portrait", "-o", tmp_path, "--align", "never")
    other = tmp_path / "other"
    other.mkdir()
    write_module(other / "portrait.safetensors", tiny.generator(seed=9), "stylegan2")
    monkeypatch.setattr(fetch, "embedded_folder", lambda: other)
    with pytest.raises(RestyleError, match="another 'portrait' than the installed one"):
        render_latent(tmp_path / "0.safetensors")
    assert render_latent(tmp_path / "0.safetensors", generator=tiny.generator(seed=9)).shape == (1, 3, 32, 32)


def test_a_generator_beside_the_models_file_is_found(
    restyle: Run, photos: Path, tmp_path: Path, tiny_store: Path
) -> None:
    nets = tmp_path / "nets"
    nets.mkdir()
    write_module(nets / "mine.safetensors", tiny.generator(seed=4), "stylegan2")
    tiny.write_encoder(nets / "enc.safetensors", "psp", of="mine")
    model = nets / "enc.safetensors"
    result = restyle("invert", photos / "0.png", "-m", model, "-o", tmp_path, "--align", "never")
    assert result.exit_code == 0, result.output
    again = to_image(render_latent(tmp_path / "0.safetensors")[0])
    assert again.tobytes() == Image.open(tmp_path / "0.png").convert("RGB").tobytes()
    (nets / "mine.safetensors").unlink()
    with pytest.raises(RestyleError, match=r"the generator 'mine'.*is not installed"):
        render_latent(tmp_path / "0.safetensors")


def test_what_is_no_latent_of_one_picture_is_refused(tmp_path: Path, tiny_store: Path) -> None:
    write_latent(tmp_path / "many.safetensors", {"w": torch.zeros(2, 8, 16)}, {})
    with pytest.raises(RestyleError, match="does not hold the latent of one image"):
        read(tmp_path / "many.safetensors")
    write_latent(tmp_path / "bare.safetensors", {"w": torch.zeros(8, 16)}, {})
    with pytest.raises(RestyleError, match="does not say which generator"):
        render_latent(tmp_path / "bare.safetensors")
    with pytest.raises(RestyleError, match="not a latent"):
        read_latent(tiny_store / "portrait.safetensors")


def test_pictures_are_cut_as_the_photo_was(tmp_path: Path, tiny_store: Path) -> None:
    made = {"generator": "portrait", "alignment": {"size": [192, 256]}}
    write_latent(tmp_path / "car.safetensors", {"w": torch.zeros(8, 16)}, made)
    assert render_latent(tmp_path / "car.safetensors").shape == (1, 3, 24, 32)
