"""The first StyleGAN: against the paper written out step by step; settings, latents and patches."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan1 import StyleGAN1, StyleGAN1Config
from restyle_cli.ops import adain

TABLE = {4: 8, 8: 8, 16: 6, 32: 4}


def tiny(resolution: int = 32, **settings: Any) -> StyleGAN1:
    """A network whose noise, biases and average are not zero."""
    torch.manual_seed(0)
    table = {side: width for side, width in TABLE.items() if side <= resolution}
    options = {"z_dim": 16, "w_dim": 24, "mapping_layers": 2, "mapping_width": 20} | settings
    network = StyleGAN1(StyleGAN1Config(resolution, channels=table, **options))
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.dim() == 1 or name == "const":
                value.normal_(std=0.5)
        network.w_avg.normal_()
    return network.eval().requires_grad_(False)


def written_out(network: StyleGAN1, w: Tensor) -> Tensor:
    """The synthesis network as in the paper, from its tensors alone; one image, equalised weights."""
    x = network.const
    for index, conv in enumerate(network.convs):
        if index:
            kernel = conv.weight * math.sqrt(2 / (9 * conv.weight.shape[1]))
            if index % 2 == 0:
                x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            x = F.conv2d(x, kernel, padding=1)
            if index % 2 == 0:
                taps = torch.tensor([1.0, 2.0, 1.0]) / 4
                rows = sum(t * F.pad(x, (0, 0, 1, 1))[:, :, i : i + x.shape[2]] for i, t in enumerate(taps))
                x = sum(t * F.pad(rows, (1, 1))[..., i : i + x.shape[3]] for i, t in enumerate(taps))
        x = x + conv.noise_strength[:, None, None] * getattr(network, f"noise_{index}") + conv.bias[:, None, None]
        x = torch.where(x > 0, x, 0.2 * x)
        x = x - x.mean(dim=(2, 3), keepdim=True)
        x = x / (x.square().mean(dim=(2, 3), keepdim=True) + 1e-8).sqrt()
        style = conv.affine.weight @ w[0, index] / math.sqrt(w.shape[2]) + conv.affine.bias
        scale, shift = style[: x.shape[1]], style[x.shape[1] :]
        x = x * (1 + scale)[:, None, None] + shift[:, None, None]
    last = network.to_rgbs[-1]
    return F.conv2d(x, last.weight / math.sqrt(x.shape[1]), last.bias)


def test_it_draws_what_the_paper_says() -> None:
    network, w = tiny(), torch.randn(2, 8, 24)
    rendered = network(w)
    for index in range(2):
        assert torch.allclose(rendered[index], written_out(network, w[index : index + 1])[0], atol=2e-5)


def test_the_mapping_is_that_of_the_paper() -> None:
    network, z = tiny(), torch.randn(3, 16)
    x = z / (z.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    for layer in network.mapping.layers:
        x = 0.01 * (math.sqrt(2 / x.shape[1]) * x @ layer.weight.t() + layer.bias)
        x = torch.where(x > 0, x, 0.2 * x)
    assert x.std() > 0.01
    assert torch.allclose(network.mapping(z), x, atol=1e-6)
    assert network.mapping.layers[0].weight.std() > 50  # drawn for a learning rate of a hundredth


def test_a_change_of_size_and_its_convolution_are_one_convolution() -> None:
    x, weight = torch.randn(2, 5, 6, 8, dtype=torch.float64), torch.randn(7, 5, 3, 3, dtype=torch.float64)
    assert torch.allclose(adain.up_conv(x, weight), adain.up_conv_plain(x, weight), atol=1e-12)
    assert torch.allclose(adain.down_conv(x, weight), adain.down_conv_plain(x, weight), atol=1e-12)
    assert adain.up_conv(x, weight).shape == (2, 7, 12, 16)
    assert adain.down_conv(x, weight).shape == (2, 7, 3, 4)


def test_statistics_of_a_flat_map_have_a_gradient() -> None:
    x = torch.ones(1, 2, 4, 4, requires_grad=True)
    adain.instance_statistics(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    wavy = torch.randn(2, 3, 5, 5)
    mean, std = adain.instance_statistics(wavy).chunk(2, dim=1)
    assert torch.allclose(mean, wavy.mean(dim=(2, 3)), atol=1e-6)
    assert torch.allclose(std, wavy.flatten(2).std(dim=2, unbiased=False), atol=1e-6)


@pytest.mark.parametrize("resolution", [8, 16, 32, 64, 128, 256, 512, 1024])
def test_published_sizes(resolution: int) -> None:
    config = StyleGAN1Config(resolution)
    assert config.layers == 2 * int(math.log2(resolution)) - 2
    assert config.channels[resolution] == min(512, 16384 // resolution)
    with torch.device("meta"):
        network = StyleGAN1(config)
    assert network.size == (resolution, resolution)
    assert len(network.convs) == network.layers
    assert getattr(network, f"noise_{network.layers - 1}").shape == (1, 1, resolution, resolution)


def test_settings_survive_their_dictionary_and_wrong_ones_are_refused() -> None:
    config = StyleGAN1Config(64, per_style=True, tanh=True, equalised=False)
    assert StyleGAN1Config.from_dict(config.to_dict()) == config
    with pytest.raises(RestyleError, match="StyleGAN of 2048 pixels"):
        StyleGAN1Config(2048)
    with pytest.raises(RestyleError, match="cannot be built"):
        StyleGAN1Config(48)


def test_every_style_and_every_noise_map_matters() -> None:
    network, latents = tiny(), torch.randn(1, 8, 24)
    image = network(latents)
    for layer in range(network.layers):
        changed = latents.clone()
        changed[:, layer] += 1
        assert (network(changed) - image).abs().max() > 1e-4, f"style {layer} does nothing"
        noise = {f"noise_{layer}": torch.randn_like(getattr(network, f"noise_{layer}"))}
        assert (network(latents, patch=noise) - image).abs().max() > 1e-4, f"noise {layer} does nothing"
    assert torch.equal(network(latents), image)
    assert not torch.allclose(network(latents, noise="random"), image)
    assert not torch.allclose(network(latents, noise="none"), image)
    assert not [name for name in tiny(noise=False).state_dict() if "noise" in name]


def test_a_w_for_each_style() -> None:
    network = tiny(per_style=True)
    w = network.mapping(torch.randn(3, 16))
    assert w.shape == (3, 8, 24)
    assert network.w_plus(w) is w
    assert network.mean_w(1000).shape == (8, 24)
    assert tiny().mean_w(1000).shape == (24,)
    assert not torch.allclose(w[:, 0], w[:, 1])


def test_weights_stored_as_they_are_used() -> None:
    scaled, plain = tiny(), tiny(equalised=False)
    state = scaled.state_dict()
    for name, module in scaled.named_modules():
        if hasattr(module, "scale") and f"{name}.weight" in state:
            state[f"{name}.weight"] = state[f"{name}.weight"] * module.scale
        if name.startswith("mapping.layers."):
            state[f"{name}.bias"] = state[f"{name}.bias"] * 0.01
    plain.load_state_dict(state)
    latents = scaled.w_plus(scaled.mapping(torch.randn(2, 16)))
    assert torch.allclose(plain.mapping(torch.ones(1, 16)), scaled.mapping(torch.ones(1, 16)), atol=1e-6)
    assert torch.allclose(plain(latents), scaled(latents), atol=1e-5)


def test_tanh_bounds_the_image() -> None:
    latents = 5 * torch.randn(1, 8, 24)
    assert torch.allclose(tiny(tanh=True)(latents), torch.tanh(tiny()(latents)))


def test_stopping_early_reads_the_smaller_map() -> None:
    network, latents, maps = tiny(), torch.randn(2, 8, 24), {}
    network(latents, features=maps)
    assert {side: tuple(value.shape) for side, value in maps.items()} == {
        4: (2, 8, 4, 4), 8: (2, 8, 8, 8), 16: (2, 6, 16, 16), 32: (2, 4, 32, 32),
    }  # fmt: skip
    small = network(latents, upto=16)
    assert torch.allclose(small, network.to_rgbs[2](maps[16]))
    assert torch.equal(network(latents, upto=32), network(latents))
    assert tiny(crop=(24, 32))(latents).shape == (2, 3, 24, 32)


@pytest.mark.parametrize("name", ["convs.1", "convs.4", "convs.7", "to_rgbs.3"])
def test_changed_weights_are_those_of_a_changed_network(name: str) -> None:
    network, latents = tiny(), torch.randn(2, 8, 24)
    outputs, inputs = network.conv_shapes()[name]
    delta = 0.5 * torch.randn(2, outputs, inputs, 1, 1)
    rendered = network(latents, patch={name: delta})
    weight = network.get_submodule(name).weight
    assert torch.allclose(rendered, network(latents, patch={f"{name}.weight": weight * delta}), atol=1e-5)
    for index in range(2):
        changed = copy.deepcopy(network)
        changed.get_submodule(name).weight.mul_(1 + delta[index])
        assert torch.allclose(rendered[index : index + 1], changed(latents[index : index + 1]), atol=1e-5)
    assert (rendered - network(latents)).abs().max() > 1e-3


def test_the_constant_map_has_no_convolution_to_change() -> None:
    assert "convs.0" not in tiny().conv_shapes()
    with pytest.raises(RestyleError, match=r"no 'convs\.0' to change"):
        tiny()(torch.randn(1, 8, 24), patch={"convs.0": torch.zeros(1, 8, 8, 1, 1)})


def test_random_inputs_have_the_expected_scale() -> None:
    torch.manual_seed(1)
    network = StyleGAN1(StyleGAN1Config(64, channels={4: 64, 8: 64, 16: 64, 32: 32, 64: 32}))
    image = network(network.w_plus(network.mapping(torch.randn(4, 512))))
    assert 0.3 < float(image.detach().std()) < 3
