"""Small files in the layout of in-domain inversion: recognised, renamed, and the numbers of the published code."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from foreign import write
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.store import files, legacy
from restyle_cli.store.build import meta_init
from restyle_cli.store.convert import convert

SIDE, W_DIM, WIDTH = 128, 6, 4
LAYERS = 2 * int(math.log2(SIDE)) - 2
BLUR = torch.outer(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 2.0, 1.0])) / 16
Network = dict[str, Tensor]


def published_generator(per_style: bool = True, seed: int = 0) -> Network:
    """Random tensors under the published names; kernels from 128 px on are made for transposed convolutions."""
    torch.manual_seed(seed)
    last = LAYERS * W_DIM if per_style else W_DIM
    state = {"synthesis.lod": torch.zeros(()), "synthesis.layer0.const": torch.randn(1, WIDTH, 4, 4)}
    for index, (inputs, outputs) in enumerate([(5, 8), (8, last)]):
        state[f"mapping.dense{index}.fc.weight"] = 100 * torch.randn(outputs, inputs)
        state[f"mapping.dense{index}.wscale.bias"] = 10 * torch.randn(outputs)
    state["truncation.w_avg"] = torch.randn(W_DIM)
    state["truncation.truncation"] = torch.ones(1, LAYERS, 1)
    for layer in range(LAYERS):
        here, side = f"synthesis.layer{layer}", 4 * 2 ** (layer // 2)
        state[f"{here}.epilogue.apply_noise.noise"] = torch.randn(1, 1, side, side)
        state[f"{here}.epilogue.apply_noise.weight"] = 0.3 * torch.randn(WIDTH)
        state[f"{here}.epilogue.bias"] = 0.3 * torch.randn(WIDTH)
        state[f"{here}.epilogue.style_mod.dense.fc.weight"] = torch.randn(2 * WIDTH, W_DIM)
        state[f"{here}.epilogue.style_mod.dense.wscale.bias"] = 0.3 * torch.randn(2 * WIDTH)
        if layer and layer % 2 == 0:
            state[f"{here}.blur.kernel"] = BLUR.expand(WIDTH, 1, 3, 3).clone()
        if layer and layer % 2 == 0 and side >= 128:
            state[f"{here}.weight"] = torch.randn(3, 3, WIDTH, WIDTH)
        elif layer:
            state[f"{here}.conv.weight"] = torch.randn(WIDTH, WIDTH, 3, 3)
        if layer % 2:
            state[f"synthesis.output{layer // 2}.conv.weight"] = torch.randn(3, WIDTH, 1, 1)
            state[f"synthesis.output{layer // 2}.bias"] = 0.3 * torch.randn(3)
    return state


def their_image(state: Network, w: Tensor, tanh: bool = True) -> Tensor:
    """The image of w [1, L, W_DIM] as the published code computes it."""
    x = state["synthesis.layer0.const"]
    for layer in range(LAYERS):
        part = {key.removeprefix(f"synthesis.layer{layer}."): value for key, value in state.items()}
        gain = math.sqrt(2 / (9 * WIDTH))
        if "weight" in part:
            k = F.pad(gain * part["weight"], (0, 0, 0, 0, 1, 1, 1, 1))
            k = k[1:, 1:] + k[1:, :-1] + k[:-1, 1:] + k[:-1, :-1]
            x = F.conv_transpose2d(x, k.permute(2, 3, 0, 1), stride=2, padding=1)
        elif "conv.weight" in part:
            x = F.interpolate(x, scale_factor=2.0) if layer % 2 == 0 else x
            x = gain * F.conv2d(x, part["conv.weight"], padding=1)
        if "blur.kernel" in part:
            x = F.conv2d(x, part["blur.kernel"], padding=1, groups=WIDTH)
        x = x + part["epilogue.apply_noise.noise"] * part["epilogue.apply_noise.weight"].view(1, -1, 1, 1)
        x = F.leaky_relu(x + part["epilogue.bias"].view(1, -1, 1, 1), 0.2)
        x = x - x.mean(dim=(2, 3), keepdim=True)
        x = x / torch.sqrt(x.pow(2).mean(dim=(2, 3), keepdim=True) + 1e-8)
        style = w[:, layer] @ part["epilogue.style_mod.dense.fc.weight"].t() / math.sqrt(W_DIM)
        style = (style + part["epilogue.style_mod.dense.wscale.bias"]).view(-1, 2, WIDTH, 1, 1)
        x = x * (style[:, 0] + 1) + style[:, 1]
    last = f"synthesis.output{LAYERS // 2 - 1}"
    x = F.conv2d(x, state[f"{last}.conv.weight"]) / math.sqrt(WIDTH) + state[f"{last}.bias"].view(1, 3, 1, 1)
    return torch.tanh(x) if tanh else x


def published_encoder(side: int = 32, seed: int = 1, bn: bool = True) -> Network:
    """Random tensors under the published names; widths 3, 5, 7, 7, … down to 4 px."""
    torch.manual_seed(seed)
    widths = [3, 5, 7, 7, 7, 7][: int(math.log2(side)) - 1]
    codes = W_DIM * (2 * int(math.log2(side)) - 2)
    state: Network = {"block0.conv.weight": torch.randn(widths[0], 3, 3, 3)}
    norms = {"block0.bn": widths[0], f"block{len(widths)}.bn": codes}
    for index in range(1, len(widths)):
        before, width = widths[index - 1], widths[index]
        hidden, here = min(before, width), f"block{index}"
        if before != width:
            state[f"{here}.conv.weight"] = torch.randn(width, before, 1, 1)
            norms[f"{here}.bn"] = width
        state |= {
            f"{here}.conv1.weight": torch.randn(hidden, before, 3, 3),
            f"{here}.wscale1.bias": torch.randn(hidden),
        }
        state |= {f"{here}.conv2.weight": torch.randn(width, hidden, 3, 3), f"{here}.wscale2.bias": torch.randn(width)}
        norms |= {f"{here}.bn1": hidden, f"{here}.bn2": width}
    state[f"block{len(widths)}.fc.weight"] = torch.randn(codes, widths[-1] * 16)
    state = {key: value / math.sqrt(value[0].numel()) if value.dim() > 1 else value for key, value in state.items()}
    state[f"block{len(widths)}.fc.weight"] *= math.sqrt(widths[-1] * 16)  # which the network scales itself
    for name, width in norms.items() if bn else ():
        values = {"weight": torch.rand(width) + 0.5, "bias": torch.randn(width), "running_mean": torch.randn(width)}
        values |= {"running_var": torch.rand(width) + 1, "num_batches_tracked": torch.tensor(7)}
        state |= {f"{name}.bn.{kind}": value for kind, value in values.items()}
    return state


def their_latents(state: Network, x: Tensor) -> Tensor:
    """The latents [N, L * W_DIM] of x [N, 3, side, side] as the published code computes them."""

    def norm(name: str, y: Tensor) -> Tensor:
        got = [
            state[f"{name}.bn.{kind}"].view(1, -1, 1, 1) for kind in ("running_mean", "running_var", "weight", "bias")
        ]
        return (y - got[0]) / torch.sqrt(got[1] + 1e-5) * got[2] + got[3]

    x = F.leaky_relu(norm("block0.bn", F.conv2d(x, state["block0.conv.weight"], padding=1)), 0.2)
    index = 1
    while f"block{index}.conv1.weight" in state:
        here = f"block{index}"
        x = F.avg_pool2d(x, 2)
        widens = f"{here}.conv.weight" in state
        beside = F.leaky_relu(norm(f"{here}.bn", F.conv2d(x, state[f"{here}.conv.weight"])), 0.2) if widens else x
        for part in (1, 2):
            x = F.conv2d(x, state[f"{here}.conv{part}.weight"], padding=1)
            x = x + state[f"{here}.wscale{part}.bias"].view(1, -1, 1, 1)
            x = F.leaky_relu(norm(f"{here}.bn{part}", x), 0.2)
        x, index = x + beside, index + 1
    weight = state[f"block{index}.fc.weight"]
    x = x.flatten(1) @ weight.t() / math.sqrt(weight.shape[1])
    return norm(f"block{index}.bn", x[:, :, None, None])[:, :, 0, 0]


def test_a_generator_agrees_with_the_published_code(tmp_path: Path) -> None:
    state = published_generator()
    network = files.read_module(write(tmp_path / "styleganinv_generator.pth", state))
    w = torch.randn(1, LAYERS, W_DIM)
    assert network.config.per_style
    assert network.config.tanh
    assert torch.allclose(network(w), their_image(state, w), atol=2e-5)
    assert torch.equal(network.w_avg, state["truncation.w_avg"].expand(LAYERS, -1))


def test_an_official_one_has_one_w_and_no_bound(tmp_path: Path) -> None:
    state = published_generator(per_style=False)
    network = files.read_module(write(tmp_path / "g.pth", state))
    w = 3 * torch.randn(1, LAYERS, W_DIM)
    assert torch.allclose(network(w), their_image(state, w, tanh=False), atol=5e-5)
    assert network.mapping(torch.randn(2, 5)).shape == (2, W_DIM)


def test_an_average_of_zeros_is_none_and_is_computed(tmp_path: Path) -> None:
    state = published_generator() | {"truncation.w_avg": torch.zeros(W_DIM)}
    network = files.read_module(write(tmp_path / "g.pth", state))
    assert torch.allclose(network.w_avg, network.mean_w(10_000), atol=1e-6)
    assert network.w_avg.abs().max() > 0.01


def test_an_encoder_agrees_with_the_published_code(tmp_path: Path) -> None:
    state = published_encoder()
    path = write(tmp_path / "styleganinv_encoder.pth", state)
    network = files.read_module(path)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    codes = network(x)
    assert codes.shape == (2, 8, W_DIM)
    assert torch.allclose(codes.flatten(1), their_latents(state, x), atol=2e-5)
    (part,) = legacy.describe(path)
    assert (part.role, part.family, part.extra) == ("encoder", "idinvert", {"method": "idinvert", "absolute": True})


def test_the_published_sizes() -> None:
    from restyle_cli.encoders.idinvert import IDInvertEncoder, IDInvertEncoderConfig

    with meta_init():
        network = IDInvertEncoder(IDInvertEncoderConfig())
    assert network.last.weight.shape == (2 * (8 - 1) * 512, 1024 * 4 * 4)
    assert [block.conv2.weight.shape[0] for block in network.blocks] == [128, 256, 512, 1024, 1024, 1024]
    assert [block.widens for block in network.blocks] == [True, True, True, True, False, False]
    with pytest.raises(RestyleError, match="another number of widths"):
        IDInvertEncoderConfig(input_size=128)


@pytest.mark.parametrize("make", [published_generator, published_encoder])
def test_they_are_written_as_ours_and_read_again(make: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "theirs.pth", make())
    (done,) = convert(path, tmp_path / "ours.safetensors")
    assert done.difference < 1e-5
    assert files.describe(done.file)[0].extra.get("absolute") is (True if make is published_encoder else None)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mapping.label_weight": torch.zeros(2, 5)}, "trained with labels"),
        ({"synthesis.lod": torch.tensor(2.0)}, "not grown to its full size"),
        ({"synthesis.layer2.blur.kernel": torch.ones(WIDTH, 1, 3, 3)}, "is not that of StyleGAN"),
        ({"synthesis.layer3.extra": torch.zeros(1)}, "is unexpected"),
        ({"synthesis.layer3.conv.weight": torch.zeros(WIDTH, 9, 3, 3)}, "synthesis.layer3.conv.weight"),
    ],
)
def test_generators_that_cannot_be_used_are_refused(change: Network, sentence: str, tmp_path: Path) -> None:
    path = write(tmp_path / "g.pth", published_generator() | change)
    with pytest.raises(RestyleError, match="cannot be used") as caught:
        files.read_module(path)
    assert sentence in caught.value.message


def test_encoders_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RestyleError, match="without batch norms"):
        files.read_module(write(tmp_path / "e.pth", published_encoder(bn=False)))
    state = published_encoder()
    del state["block2.conv2.weight"]
    with pytest.raises(RestyleError, match="tensors are missing"):
        files.read_module(write(tmp_path / "f.pth", state))


def test_only_a_stylegan2_is_written_for_rosinality(tmp_path: Path) -> None:
    path = write(tmp_path / "g.pth", published_generator())
    with pytest.raises(RestyleError, match="contains a stylegan1"):
        convert(path, tmp_path / "out.pt", layout="rosinality")


def test_both_files_invert_under_the_catalogs_name(tmp_path: Path) -> None:
    from restyle_cli.models import plan
    from restyle_cli.store import adding

    generator, encoder = published_generator(), published_encoder(side=SIDE)
    for name, state in (("generator", generator), ("encoder", encoder)):
        entry, _ = adding.add(write(tmp_path / f"styleganinv_ffhq256_{name}.pth", state))
        assert entry.name == ("stylegan1-ffhq" if name == "generator" else "idinvert-ffhq")
    found = plan("idinvert")
    assert (found.chain, found.models[0].generator_name) == ("idinvert-ffhq:100", "stylegan1-ffhq")
    (method,) = plan("idinvert-ffhq", 1).load()
    x = torch.rand(1, 3, *method.size) * 2 - 1
    start = method.start(x)
    expected = their_latents(encoder, F.adaptive_avg_pool2d(x, SIDE))
    assert torch.allclose(start.w.flatten(1), expected, atol=1e-4)
    assert torch.allclose(start.image, their_image(generator, start.w), atol=1e-4)
    assert (method.step(x, start).w - start.w).abs().max() == pytest.approx(0.01, rel=0.01)
