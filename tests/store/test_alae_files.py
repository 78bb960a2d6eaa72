"""Small files in the layout of latent autoencoders: recognised, renamed, and the numbers of the published code."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan1 import StyleGAN1
from restyle_cli.store import files, legacy
from restyle_cli.store.build import meta_init
from restyle_cli.store.convert import convert

BLOCKS, W_DIM = 6, 6  # 128 px, so that kernels of both kinds are there
START, MOST = 2, 8
BLUR = torch.outer(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 2.0, 1.0])) / 16
Network = dict[str, Tensor]


def width(halvings: int) -> int:
    return min(MOST, START * 2**halvings)


def kernel(*shape: int) -> Tensor:
    return torch.randn(*shape) * math.sqrt(2 / math.prod(shape[1:]))


def published(seed: int = 0) -> dict[str, Any]:
    """A file of the published form with random tensors, stored as they are used."""
    torch.manual_seed(seed)
    decoder: Network = {"const": torch.randn(1, width(BLOCKS - 1), 4, 4)}
    encoder: Network = {}
    for i in range(BLOCKS):
        before, after = width(BLOCKS - max(i, 1)), width(BLOCKS - 1 - i)
        here = f"decode_block.{i}"
        if i:  # kernels of transposed convolutions have inputs first
            shape = (before, after) if 4 * 2**i >= 128 else (after, before)
            decoder[f"{here}.conv_1.weight"] = torch.randn(*shape, 3, 3) * math.sqrt(2 / (9 * before))
        decoder[f"{here}.blur.weight"] = BLUR.expand(after, 1, 3, 3).clone()
        decoder[f"{here}.conv_2.weight"] = kernel(after, after, 3, 3)
        for part in (1, 2):
            decoder[f"{here}.noise_weight_{part}"] = 0.3 * torch.randn(1, after, 1, 1)
            decoder[f"{here}.bias_{part}"] = 0.3 * torch.randn(1, after, 1, 1)
            decoder[f"{here}.style_{part}.weight"] = kernel(2 * after, W_DIM)
            decoder[f"{here}.style_{part}.bias"] = 0.3 * torch.randn(2 * after)
        decoder |= {f"to_rgb.{i}.to_rgb.weight": kernel(3, after, 1, 1), f"to_rgb.{i}.to_rgb.bias": torch.randn(3)}
        inputs, outputs, here = width(i), width(i + 1), f"encode_block.{i}"
        encoder |= {f"from_rgb.{i}.from_rgb.weight": kernel(inputs, 3, 1, 1)}
        encoder |= {f"from_rgb.{i}.from_rgb.bias": torch.randn(inputs)}
        encoder[f"{here}.blur.weight"] = BLUR.expand(inputs, 1, 3, 3).clone()
        for part, (a, b) in enumerate([(inputs, inputs), (inputs, outputs)], start=1):
            encoder[f"{here}.conv_{part}.weight"] = kernel(b, a, 3, 3)
            encoder[f"{here}.bias_{part}"] = 0.3 * torch.randn(1, b, 1, 1)
            encoder[f"{here}.style_{part}.weight"] = kernel(W_DIM, 2 * b)
            encoder[f"{here}.style_{part}.bias"] = 0.3 * torch.randn(W_DIM)
    mapping = {f"map_blocks.{k}.fc.{kind}": torch.randn(W_DIM, W_DIM) if kind == "weight" else torch.randn(W_DIM)
               for k in range(3) for kind in ("weight", "bias")}  # fmt: skip
    head = {}
    for k, outputs in enumerate([W_DIM, W_DIM, 2 * W_DIM]):
        head |= {f"map_blocks.{k}.weight": torch.randn(outputs, W_DIM), f"map_blocks.{k}.bias": torch.randn(outputs)}
    models = {"discriminator_s": encoder, "generator_s": decoder, "mapping_tl_s": head, "mapping_fl_s": mapping}
    models |= {
        name.removesuffix("_s"): {key: value + 1 for key, value in model.items()} for name, model in models.items()
    }
    models["dlatent_avg"] = {"buff": torch.randn(2 * BLOCKS, W_DIM)}
    return {"models": models, "auxiliary": {"scheduler": {"last_epoch": 3}}, "epoch": 5}


def shifted(k: Tensor) -> Tensor:
    k = F.pad(k, (1, 1, 1, 1))
    return k[:, :, 1:, 1:] + k[:, :, :-1, 1:] + k[:, :, 1:, :-1] + k[:, :, :-1, :-1]


def their_image(state: Network, w: Tensor, noises: StyleGAN1) -> Tensor:
    """The image of w [1, 2 BLOCKS, W_DIM] as the published code computes it, with the noise maps of `noises`."""
    x = state["const"]
    for i in range(BLOCKS):
        part = {key.removeprefix(f"decode_block.{i}."): value for key, value in state.items()}
        if i and 4 * 2**i >= 128:
            x = F.conv_transpose2d(x, shifted(part["conv_1.weight"]), stride=2, padding=1)
        elif i:
            x = F.conv2d(F.interpolate(x, scale_factor=2.0), part["conv_1.weight"], padding=1)
        if i:
            x = F.conv2d(x, part["blur.weight"], padding=1, groups=x.shape[1])
        for layer in (1, 2):
            x = F.conv2d(x, part["conv_2.weight"], padding=1) if layer == 2 else x
            noise = getattr(noises, f"noise_{2 * i + layer - 1}")
            x = F.leaky_relu(x + part[f"noise_weight_{layer}"] * noise + part[f"bias_{layer}"], 0.2)
            x = F.instance_norm(x, eps=1e-8)
            style = F.linear(w[:, 2 * i + layer - 1], part[f"style_{layer}.weight"], part[f"style_{layer}.bias"])
            style = style.view(1, 2, -1, 1, 1)
            x = x * (style[:, 0] + 1) + style[:, 1]
    last = f"to_rgb.{BLOCKS - 1}.to_rgb"
    return F.conv2d(x, state[f"{last}.weight"], state[f"{last}.bias"])


def their_latent(state: Network, x: Tensor) -> Tensor:
    """The latent [N, W_DIM] of x [N, 3, 128, 128] as the published code computes it."""
    x = F.conv2d(x, state["from_rgb.0.from_rgb.weight"], state["from_rgb.0.from_rgb.bias"])
    x, w = F.leaky_relu(F.leaky_relu(x, 0.2), 0.2), torch.zeros(len(x), W_DIM)
    for i in range(BLOCKS):
        part = {key.removeprefix(f"encode_block.{i}."): value for key, value in state.items()}
        side = x.shape[2]
        for layer in (1, 2):
            if layer == 1:
                x = F.conv2d(x, part["conv_1.weight"], padding=1)
            else:
                x = F.conv2d(x, part["blur.weight"], padding=1, groups=x.shape[1])
                if side >= 128:
                    x = F.conv2d(x, shifted(part["conv_2.weight"]) * 0.25, stride=2, padding=1)
                else:
                    x = F.avg_pool2d(F.conv2d(x, part["conv_2.weight"], padding=1), 2)
            x = F.leaky_relu(x + part[f"bias_{layer}"], 0.2)
            mean = x.mean(dim=(2, 3), keepdim=True)
            std = (x - mean).square().mean(dim=(2, 3), keepdim=True).sqrt()
            style = torch.cat([mean, std], dim=1)[:, :, 0, 0]
            w = w + F.linear(style, part[f"style_{layer}.weight"], part[f"style_{layer}.bias"])
            x = F.instance_norm(x, eps=1e-5)
    return w


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("alae") / "model_157.pth"
    torch.save(published(), file)
    return file


def test_a_file_holds_an_encoder_a_generator_and_a_head(path: Path) -> None:
    found = {part.family: part for part in legacy.describe(path)}
    assert set(found) == {"alae", "stylegan1", "alae-discriminator"}
    assert found["alae"].extra == {"method": "alae", "absolute": True}
    assert found["stylegan1"].extra["noise"] == "not in the file, drawn"
    assert found["stylegan1"].extra["latent_space"].startswith("mapping-")
    assert found["alae-discriminator"].role == "discriminator"


def test_its_generator_agrees_with_the_published_code(path: Path) -> None:
    network = files.read_module(path, role="generator")
    models = published()["models"]
    w = torch.randn(1, 2 * BLOCKS, W_DIM)
    assert torch.allclose(network(w), their_image(models["generator_s"], w, network), atol=5e-5)
    assert torch.equal(network.w_avg, models["dlatent_avg"]["buff"])
    assert torch.equal(network.noise_5, files.read_module(path, role="generator").noise_5)
    z = torch.randn(2, W_DIM)
    x = z / (z.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    for k in range(3):
        layer = {kind: models["mapping_fl_s"][f"map_blocks.{k}.fc.{kind}"] for kind in ("weight", "bias")}
        x = F.leaky_relu(F.linear(x, **layer), 0.2)
    assert torch.allclose(network.mapping(z), x, atol=1e-5)


def test_its_encoder_agrees_with_the_published_code(path: Path) -> None:
    network = files.read_module(path, role="encoder")
    x = torch.rand(2, 3, 128, 128) * 2 - 1
    codes = network(x)
    assert codes.shape == (2, 2 * BLOCKS, W_DIM)
    expected = their_latent(published()["models"]["discriminator_s"], x)
    assert torch.allclose(codes, expected[:, None].expand_as(codes), atol=2e-5)


def test_its_head_reads_one_number(path: Path) -> None:
    network = files.read_module(path, role="discriminator")
    head, w = published()["models"]["mapping_tl_s"], torch.randn(3, W_DIM)
    x = w
    for k in range(3):
        x = F.linear(x, head[f"map_blocks.{k}.weight"], head[f"map_blocks.{k}.bias"])
    assert torch.allclose(network(w), x[:, W_DIM], atol=1e-5)


def test_each_network_is_written_as_ours(path: Path, tmp_path: Path) -> None:
    written = {done.role: done for done in convert(path, tmp_path / "alae.safetensors")}
    assert set(written) == {"encoder", "generator", "discriminator"}
    assert all(done.difference < 1e-5 for done in written.values())
    assert files.describe(written["encoder"].file)[0].extra["generator"] == "alae-generator"


def test_the_published_sizes() -> None:
    from restyle_cli.encoders.alae import ALAEEncoder, ALAEEncoderConfig

    with meta_init():
        network = ALAEEncoder(ALAEEncoderConfig())
    assert len(network.blocks) == 9
    assert network.blocks[8].style2.weight.shape == (512, 1024)
    assert network.from_rgb.weight.shape == (16, 3, 1, 1)
    with pytest.raises(RestyleError, match="another number of widths"):
        ALAEEncoderConfig(input_size=512)


def test_untrained_codes_have_the_expected_scale() -> None:
    from restyle_cli.encoders.alae import ALAEEncoder, ALAEEncoderConfig

    torch.manual_seed(0)
    network = ALAEEncoder(ALAEEncoderConfig(styles=8, w_dim=16, input_size=32, widths=(8, 8, 8, 8, 8)))
    codes = network(torch.rand(4, 3, 32, 32) * 2 - 1)
    assert codes.shape == (4, 8, 16)
    assert 0.3 < float(codes.detach().std()) < 10


def test_a_file_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    content = published()
    del content["models"]["discriminator_s"]["encode_block.3.conv_2.weight"]
    torch.save(content, tmp_path / "cut.pth")
    with pytest.raises(RestyleError, match="tensors are missing"):
        files.read_module(tmp_path / "cut.pth", role="encoder")


def test_the_file_alone_inverts(path: Path) -> None:
    from restyle_cli.models import load_method

    method, x = load_method(path), torch.rand(1, 3, 128, 128) * 2 - 1
    assert method.size == (128, 128)
    state = method.step(x, method.start(x))
    expected = their_latent(published()["models"]["discriminator_s"], x)
    assert torch.allclose(state.w[:, 3], expected, atol=2e-5)
    assert state.image.shape == (1, 3, 128, 128)
