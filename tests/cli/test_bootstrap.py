"""`restyle bootstrap` from the outside, on tiny random networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Run, files, put
from PIL import Image

from restyle_cli.images import displayed, fit, open_image, to_image, to_tensor
from restyle_cli.inversion import iterate
from restyle_cli.methods.encoder import ReStyle
from restyle_cli.models import load_method
from restyle_cli.store.files import read_latent

FIRST, TARGET = "restyle-psp-portrait", "restyle-psp-toon"


@pytest.fixture
def face(tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The picture a.png in an empty working folder; networks of portraits and toons are installed."""
    monkeypatch.chdir(tmp_path)
    return put(Path("a.png"))


def cells(row: int = 0, height: int = 12 + 256 + 8 + 2 * 24) -> list[np.ndarray]:
    """The pictures of a row of the strip."""
    sheet = np.asarray(Image.open("restyle-out/bootstrap/a.strip.png").convert("RGB"))
    top = 12 + row * height
    return [sheet[top : top + 256, left : left + 256] for left in range(12, sheet.shape[1] - 256, 264)]


def test_it_is_the_chain_of_the_two(restyle: Run, face: Path) -> None:
    result = restyle("bootstrap", face, "--to", "toonify", "--json")
    assert result.exit_code == 0
    values = json.loads(result.stdout)
    assert [values[key] for key in ("command", "from", "to", "model")] == ["bootstrap", "portrait", "toon", TARGET]
    assert values["chain"] == f"{FIRST}:1,{TARGET}:2"
    (image,) = values["images"]
    assert [step["method"] for step in image["steps"]] == ["start", FIRST, TARGET, TARGET]
    assert files("restyle-out/bootstrap") == ["a.png", "a.safetensors", "a.strip.png"]

    x = to_tensor(open_image(face), (256, 256))[None]
    first, target = load_method(FIRST), load_method(TARGET)
    with torch.no_grad():
        states = list(iterate(x, [first, target, target]))
    tensors, made = read_latent(Path("restyle-out/bootstrap/a.safetensors"))
    torch.testing.assert_close(tensors["w"], states[-1].w[0])
    assert (made["kept_step"], made["generator"], made["keep"]) == (3, "toon", "last")
    drawn = to_image(target.generator(tensors["w"][None])[0])
    assert np.array_equal(np.asarray(drawn), np.asarray(Image.open("restyle-out/bootstrap/a.png")))


def test_what_stands_in_is_said_once_on_stderr(restyle: Run, face: Path) -> None:
    (line,) = restyle("bootstrap", face, "--to", "toonify").stderr.splitlines()
    assert all(name in line for name in (FIRST, TARGET, "restyle weights get restyle-psp-ffhq restyle-psp-toonify"))
    assert restyle("bootstrap", face, "--to", "toonify", "-q").stderr == ""
    assert restyle("bootstrap", face, "--from", "portrait", "--to", "toon", "--overwrite").stderr == ""


def test_the_strip_goes_from_the_photo_through_the_first_domain(restyle: Run, face: Path) -> None:
    restyle("bootstrap", face, "--to", "toonify", "-n", 2)
    shown = cells()
    assert len(shown) == 4
    x = to_tensor(open_image(face), (256, 256))[None]
    first, target = load_method(FIRST), load_method(TARGET)
    with torch.no_grad():
        states = list(iterate(x, [first, target, target]))
    assert np.array_equal(shown[0], np.asarray(to_image(x[0])))
    for cell, state in zip(shown[1:], states[1:], strict=True):
        wanted = to_image(state.image[0]).resize((256, 256), Image.Resampling.BICUBIC)
        assert np.array_equal(cell, np.asarray(wanted))


def test_comparing_with_the_average(restyle: Run, face: Path) -> None:
    plain = json.loads(restyle("bootstrap", face, "--to", "toonify", "--json").stdout)
    result = restyle("bootstrap", face, "--to", "toonify", "--compare", "--json")
    (image,) = json.loads(result.stdout)["images"]
    assert image["status"] == "done"  # without the comparison it is another result
    assert [step["l2"] for step in image["steps"]] == [step["l2"] for step in plain["images"][0]["steps"]]
    assert [step["method"] for step in image["against"]] == ["start", TARGET, TARGET]
    x, target = to_tensor(open_image(face), (256, 256))[None], load_method(TARGET)
    with torch.no_grad():
        states = list(iterate(x, [target, target]))
    for step, state in zip(image["against"], states, strict=True):
        assert float((x - fit(displayed(state.image), (256, 256))).square().mean()) == pytest.approx(
            step["l2"], rel=1e-4
        )
    for cell, state in zip(cells(row=1)[1:], states, strict=True):
        wanted = to_image(state.image[0]).resize((256, 256), Image.Resampling.BICUBIC)
        assert np.array_equal(cell, np.asarray(wanted))
    tables = restyle("bootstrap", face, "--to", "toonify", "--compare").stdout
    assert tables.count("start") == 2
    assert "average latent" in tables


def test_a_second_run_skips_what_is_done(restyle: Run, face: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ("bootstrap", face, "--to", "toonify", "--compare", "--json")
    first = json.loads(restyle(*run).stdout)["images"][0]
    monkeypatch.setattr(ReStyle, "step", None)
    assert json.loads(restyle(*run).stdout)["images"][0] == {**first, "status": "skipped"}


def test_long_chains(restyle: Run, face: Path) -> None:
    restyle("bootstrap", face, "--to", "toonify", "-n", 40, "--compare")
    assert 5 < len(cells()) <= 12


def test_the_comparison_must_have_numbers_too(restyle: Run, face: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = ReStyle.start

    def started(self: ReStyle, x: torch.Tensor) -> object:
        state = start(self, x)
        return state if self.name == FIRST else type(state)(state.w * float("nan"), state.image)

    monkeypatch.setattr(ReStyle, "start", started)
    result = restyle("bootstrap", face, "--to", "toonify", "--compare")
    assert result.exit_code == 1
    assert "--precision fp32" in result.stderr


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        ((), 2, "--to"),
        (("--to", "tonify"), 1, "did you mean 'toonify'"),
        (("--to", "toonify", "--from", "fhq"), 1, "did you mean 'ffhq'"),
        (("--to", "cars"), 2, "do not share a latent space"),
        (("--to", "toonify", "--method", "psp"), 2, "restyle-e4e"),
        (("--to", "toonify", "-n", 0), 2, "between 1"),
        (("--to", "toonify", "--save", "strips"), 2, "did you mean"),
    ],
)
def test_wrong_usage(restyle: Run, face: Path, options: tuple[object, ...], status: int, told: str) -> None:
    result = restyle("bootstrap", face, *options)
    assert (result.exit_code, result.stdout) == (status, "")
    assert told in result.stderr
    assert len(result.stderr.splitlines()) <= 2
    assert not Path("restyle-out/bootstrap").exists()


def test_bad_pictures(restyle: Run, face: Path) -> None:
    Path("b.png").write_bytes(b"rubbish")
    result = restyle("bootstrap", face, "b.png", "--to", "toonify", "--json")
    assert result.exit_code == 1
    assert "'b.png'" in result.stderr
    assert [image["status"] for image in json.loads(result.stdout)["images"]] == ["done", "failed"]
