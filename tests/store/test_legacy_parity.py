"""Files of the published shapes, through the public functions, give the numbers of the original code.

Making a file's numbers takes half a minute, so these run on request (`-m slow`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import parity
import pytest
import torch
from golden import fill
from PIL import Image
from torch import Tensor
from typer.testing import Result

from restyle_cli.images import fit
from restyle_cli.inversion import Method, iterate
from restyle_cli.models import load_method, plan
from restyle_cli.store.files import read_latent

pytestmark = pytest.mark.slow


@pytest.fixture
def method(tmp_path: Path) -> Callable[..., Method]:
    """Write a published file, read it, and delete it: a few of them fill a disk."""

    def read(manifest: str, salt: str = "") -> Method:
        path = parity.write_checkpoint(tmp_path / f"{manifest}{salt}.pt", manifest, salt=salt)
        found = load_method(path)
        path.unlink()
        return found

    return read


def check(case: str, output: str, value: Tensor) -> None:
    value = value.reshape(parity.case(case)["outputs"][output]["shape"])
    assert parity.error(case, output, value) <= parity.limit(case, output), output


def images(case: str) -> Tensor:
    _, name, *_ = parity.case(case)["inputs"]["x"].split("'")
    shape = json.loads(parity.case(case)["inputs"]["x"].partition(",")[2].rstrip(")"))
    return torch.from_numpy(fill.image(name, tuple(shape)))


def check_loop(case: str, schedule: Sequence[Method], resized: bool = False) -> None:
    x = images(case)
    size = (x.shape[-2], x.shape[-1])
    assert schedule[0].size == size
    with torch.no_grad():
        for step, state in enumerate(iterate(x, schedule)):
            if step == 0:
                if "avg_image" in parity.case(case)["outputs"]:
                    check(case, "avg_image", fit(state.image, size)[0])
                continue
            check(case, f"latent{step - 1}", state.w)
            check(case, f"image{step - 1}", fit(state.image, size) if resized else state.image)


@pytest.mark.parametrize("case", ["loop_psp_256", "loop_e4e_256", "loop_e4e_church_256", "loop_psp_1024"])
def test_restyle_step_by_step(case: str, method: Callable[..., Method]) -> None:
    about = parity.case(case)
    check_loop(case, [method(about["manifest"])] * about["options"]["n_iters_per_batch"])


def test_cars_step_by_step(method: Callable[..., Method]) -> None:
    cars = method("restyle_psp_cars_512")
    assert cars.generator.size == (384, 512)
    check_loop("loop_psp_cars_512", [cars] * 2)
    check_loop("loop_psp_cars_512_resized", [cars] * 2, resized=True)


def test_bootstrapping(method: Callable[..., Method]) -> None:
    first, second = (method("restyle_psp_ffhq_256", salt) for salt in ("", "toon"))
    check_loop("bootstrap_256", [first, second, second])


@pytest.mark.parametrize(
    ("case", "manifest"),
    [
        ("e4e_256", "e4e_ffhq_256"),
        ("psp_gradual_256", "psp_gradual_256"),
        ("psp_w_256", "psp_w_256"),
        ("psp_wplus_256", "psp_wplus_256"),
    ],
)
def test_single_pass(case: str, manifest: str, method: Callable[..., Method]) -> None:
    encodes, x = method(manifest), images(case)
    with torch.no_grad():
        if "codes" in parity.case(case)["outputs"]:
            codes = encodes.encoder(x)
            check(case, "codes", codes[:, 0] if case == "psp_w_256" else codes)
        state = encodes.step(x, encodes.start(x))
    check(case, "latent", state.w)
    check(case, "image", state.image)
    if case == "psp_gradual_256":
        inject, mixed = 0.5 * torch.from_numpy(fill.normal("inject", (1, 14, 512))), state.w.clone()
        mixed[:, 8:11] = 0.4 * inject[:, 8:11] + 0.6 * mixed[:, 8:11]
        check(case, "mixed_latent", mixed)


def test_the_command_on_a_published_file(restyle: Callable[..., Result], tmp_path: Path) -> None:
    """The latents of all steps are in the latent file."""
    case = "loop_psp_1024"
    path = parity.write_checkpoint(tmp_path / "restyle_psp_ffhq_encode.pt", "restyle_psp_ffhq_1024", zipped=False)
    Image.fromarray(fill.image_u8("x#0", 256, 256)).save(tmp_path / "face.png")
    result = restyle(
        "invert", tmp_path / "face.png", "-m", path, "--align", "never", "--save", "steps", "-o", tmp_path / "out",
        "--json",
    )  # fmt: skip
    path.unlink()
    assert result.exit_code == 0, result.stderr
    values: dict[str, Any] = json.loads(result.stdout)
    assert values["chain"] == f"{path}:5"
    tensors, made = read_latent(tmp_path / "out" / "face.safetensors")
    assert made["generator"] == "restyle_psp_ffhq_encode.pt:decoder"
    for step in range(5):
        check(case, f"latent{step}", tensors["w_steps"][step + 1])


def test_a_schedule_of_two_files(tmp_path: Path) -> None:
    """The encoders of one generator share it: the chain is allowed, and each generates with its own decoder."""
    names = ["restyle_psp_ffhq_256", "e4e_ffhq_256"]
    paths = [parity.write_checkpoint(tmp_path / f"{name}.pt", name) for name in names]
    schedule = plan("", via=f"{paths[1]},{paths[0]}:1").load()
    x = images("e4e_256")
    with torch.no_grad():
        states = list(iterate(x, schedule))
    check("e4e_256", "latent", states[1].w)
    assert (states[2].w - states[1].w).abs().max() > 0.1
    for path in paths:
        path.unlink()


def test_hyperstyle_after_its_first_encoder(tmp_path: Path) -> None:
    """Two files in one chain: the code of one, then weight changes by the other."""
    hyper = parity.write_checkpoint(tmp_path / "hyperstyle.pt", "hyperstyle_ffhq_256")
    first = parity.write_checkpoint(tmp_path / "w_encoder.pt", "hyperstyle_w_encoder_256")
    schedule = plan("", via=f"{first},{hyper}:2", generator=str(hyper)).load()
    for path in (hyper, first):
        path.unlink()
    with torch.no_grad():
        states = list(iterate(images("hyperstyle_256"), schedule))
    check("hyperstyle_256", "w_codes", states[1].w)
    check("hyperstyle_256", "w_inversion", states[1].image)
    for step, state in enumerate(states[2:]):
        check("hyperstyle_256", f"image{step}", state.image)
        check("hyperstyle_256", f"latent{step}", state.w)
        check("hyperstyle_256", f"delta{step}_layer0", state.patch["convs.0"].expand(-1, -1, -1, 3, 3))
