"""In-domain inversion: against a loop written by hand, the domain term, VGG-16, files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor
from typer.testing import Result

from restyle_cli.errors import RestyleError
from restyle_cli.images import fit, save_image, to_image
from restyle_cli.inversion import State, Target, invert, iterate
from restyle_cli.methods import idinvert
from restyle_cli.methods.idinvert import IDInvert
from restyle_cli.models import plan
from restyle_cli.perceptual.structure import Structure
from restyle_cli.perceptual.vgg16 import VGG16, VGG16Config


@pytest.fixture
def x() -> Tensor:
    return tiny.images()


def method(absolute: bool = False) -> IDInvert:
    return IDInvert("idinvert", tiny.encoder(channels=3), tiny.generator(), Structure(), absolute)


def test_it_starts_from_the_prediction_of_the_encoder(x: Tensor) -> None:
    generator, encoder = tiny.generator(), tiny.encoder(channels=3)
    state = method().start(x)
    assert torch.equal(state.w, generator.w_avg + encoder(x))
    assert torch.equal(state.image, generator(state.w))
    assert torch.equal(method(absolute=True).start(x).w, encoder(x))


@pytest.mark.parametrize("absolute", [False, True])
def test_it_equals_a_loop_written_by_hand(x: Tensor, absolute: bool) -> None:
    generator, encoder, perceptual = tiny.generator(), tiny.encoder(channels=3), Structure()
    origin = 0 if absolute else generator.w_avg
    w = (origin + encoder(x)).requires_grad_(True)
    adam = torch.optim.Adam([w], lr=0.01)
    target = F.adaptive_avg_pool2d(x, 32)
    for _ in range(4):
        image = generator(w)
        pixels = (image - target).square().mean(dim=(1, 2, 3))
        domain = (w - origin - encoder(image)).square().mean(dim=(1, 2))
        loss = pixels + 0.8 * perceptual(image, target) + 2 * domain
        adam.zero_grad()
        loss.sum().backward()
        adam.step()
    *_, state = iterate(x, [method(absolute)] * 4)
    torch.testing.assert_close(state.w, w.detach(), rtol=1e-3, atol=1e-3)


def test_with_a_mask_the_domain_term_is_left_out() -> None:
    """As in the published diffusion: the loss is that of the known pixels, and the encoder is not asked."""
    generator, perceptual = tiny.generator(), Structure()
    x = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., :128] = 1
    w = method().start(x).w.requires_grad_(True)
    adam, target, known = torch.optim.Adam([w], lr=0.01), fit(x, (32, 32)), fit(mask, (32, 32))
    for _ in range(3):
        image = generator(w)
        pixels = ((image - target).square() * known).sum() / (3 * known.sum())
        adam.zero_grad()
        (pixels + 0.8 * perceptual(known * image, known * target).sum()).backward()
        adam.step()
    *_, state = iterate(x, [method()] * 3, Target(mask=mask))
    torch.testing.assert_close(state.w, w.detach(), rtol=1e-3, atol=1e-3)


def test_the_domain_term_keeps_w_near_the_prediction_for_its_image(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def distance(state: State) -> Tensor:
        return (state.w - method().predict(state.image)).square().mean()

    *_, held = iterate(x, [method()] * 30)
    monkeypatch.setattr(idinvert, "DOMAIN_WEIGHT", 0.0)
    *_, free = iterate(x, [method()] * 30)
    assert distance(held) < 0.8 * distance(free)


def test_it_is_more_accurate_than_its_encoder(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idinvert, "DOMAIN_WEIGHT", 0.01)  # the tiny encoder knows nothing of the domain
    result = invert(x, method(), 60)
    assert (result.steps[60].l2 < 0.9 * result.steps[0].l2).all()


def test_in_a_chain_it_continues_from_the_previous_latent(x: Tensor) -> None:
    before = State(tiny.generator().start(2) + 0.3, tiny.generator()(tiny.generator().start(2) + 0.3))
    state = method().step(x, before)
    assert 0 < (state.w - before.w).abs().max() < 0.02  # one step of Adam at a rate of 0.01


def test_the_weight_of_vgg16_is_the_published_one() -> None:
    torch.manual_seed(0)
    network = VGG16(VGG16Config((4,) * 10))
    assert IDInvert("i", tiny.encoder(channels=3), tiny.generator(), network).weight == 5e-5
    assert method().weight == 0.8


def test_vgg16_has_the_preprocessing_of_caffe(tmp_path: Path) -> None:
    """From the published names, counted with rectifiers and poolings, to the same features step by step."""
    from restyle_cli.store import files

    torch.manual_seed(0)
    widths = (3, 4, 4, 5, 5, 6, 6, 6, 7, 7, 7, 7, 7, 7)
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    state = {}
    for place, a, b in zip(places, widths[:-1], widths[1:], strict=True):
        state |= {f"layer{place}.weight": 0.3 * torch.randn(b, a, 3, 3), f"layer{place}.bias": torch.randn(b)}
    torch.save(state, tmp_path / "vgg16.pth")
    network = files.read_module(tmp_path / "vgg16.pth")
    x, y = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    wanted = []
    for images in (x, y):
        z = (images[:, [2, 1, 0]] + 1) * 255 / 2 - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
        for layer in range(23):
            if f"layer{layer}.weight" in state:
                z = F.conv2d(z, state[f"layer{layer}.weight"], state[f"layer{layer}.bias"], padding=1)
            else:
                z = F.max_pool2d(z, 2) if layer in (4, 9, 16) else F.relu(z)
        wanted.append(z)
    assert torch.allclose(network.features(x)[0], wanted[0], rtol=1e-4, atol=1e-3)
    assert torch.allclose(network(x, y), (wanted[0] - wanted[1]).square().mean(dim=(1, 2, 3)), rtol=1e-4)
    assert network(x, x).abs().max() == 0


# --- names and files


def test_a_published_file_runs_with_a_named_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from restyle_cli.encoders.idinvert import IDInvertEncoder, IDInvertEncoderConfig
    from restyle_cli.generators.stylegan1 import StyleGAN1, StyleGAN1Config
    from restyle_cli.store.files import write_module

    torch.manual_seed(0)
    table = {4: 4, 8: 4, 16: 4, 32: 4}
    generator = StyleGAN1(StyleGAN1Config(32, table, z_dim=8, w_dim=8, mapping_layers=2, mapping_width=8))
    encoder = IDInvertEncoder(IDInvertEncoderConfig(styles=8, w_dim=8, input_size=32, widths=(4, 4, 4, 4)))
    write_module(tmp_path / "g.safetensors", generator, "stylegan1")
    write_module(tmp_path / "e.safetensors", encoder, "idinvert", {"method": "idinvert", "absolute": True})
    with pytest.raises(RestyleError, match="does not record its generator") as caught:
        plan(str(tmp_path / "e.safetensors"))
    assert "--generator" in (caught.value.hint or "")
    (loaded,) = plan(str(tmp_path / "e.safetensors"), 1, generator=str(tmp_path / "g.safetensors")).load()
    images = torch.rand(2, 3, *loaded.size) * 2 - 1
    assert torch.allclose(loaded.start(images).w, encoder.eval()(images), atol=1e-5)
    *_, state = iterate(images, [loaded])
    assert state.image.shape == (2, 3, 32, 32)


def test_the_command(restyle: Callable[..., Result], tiny_store: Path, tmp_path: Path) -> None:
    save_image(to_image(tiny.generator()(tiny.generator().start(1) + 1)[0]), tmp_path / "a.png")
    result = restyle("invert", tmp_path / "a.png", "-m", "idinvert-portrait", "-n", 3, "--align", "never", "--json",
                     "-o", tmp_path / "out")  # fmt: skip
    assert result.exit_code == 0, result.output
    steps = json.loads(result.stdout)["images"][0]["steps"]
    assert [step["method"] for step in steps] == ["start"] + ["idinvert-portrait"] * 3
