"""StyleGAN2: shapes, latents and settings. The numbers of the original are in test_parity.py."""

import copy

import pytest
import torch

from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import paper_channels
from restyle_cli.generators.stylegan2 import StyledConv, StyleGAN2, StyleGAN2Config
from restyle_cli.ops import modconv
from restyle_cli.ops.layers import leaky_relu


def tiny(**settings) -> StyleGAN2:
    torch.manual_seed(0)
    table = {4: 8, 8: 8, 16: 6, 32: 4}
    network = StyleGAN2(StyleGAN2Config(32, channels=table, z_dim=16, w_dim=24, mapping_layers=2, **settings))
    for conv in network.convs:
        if conv.noise_strength is not None:
            conv.noise_strength.data.fill_(0.3)
    return network.eval().requires_grad_(False)


def test_channel_table_of_the_paper():
    assert paper_channels(1024) == {
        4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32,
    }  # fmt: skip
    assert StyleGAN2Config(1024).layers == 18
    assert StyleGAN2Config(256).layers == 14


def test_config_survives_its_dictionary():
    config = StyleGAN2Config(64, crop=(48, 64), noise=False)
    assert StyleGAN2Config.from_dict(config.to_dict()) == config
    with pytest.raises(RestyleError, match="has no field 'depth'"):
        StyleGAN2Config.from_dict(config.to_dict() | {"depth": 3})


@pytest.mark.parametrize("resolution", [0, 4, 48, 8192])
def test_impossible_resolutions_are_refused(resolution):
    with pytest.raises(RestyleError, match="cannot be built"):
        StyleGAN2Config(resolution)


def test_a_wrong_channel_table_is_refused():
    with pytest.raises(RestyleError, match="channel table"):
        StyleGAN2Config(32, channels={4: 8, 8: 8})


def test_w_and_w_plus_agree_and_every_style_matters():
    network = tiny()
    w = network.mapping(torch.randn(2, 16))
    latents = network.w_plus(w)
    image = network(latents)
    assert image.shape == (2, 3, 32, 32)
    for layer in range(network.layers):
        changed = latents.clone()
        changed[:, layer] += 1
        assert (network(changed) - image).abs().max() > 1e-4, f"style {layer} does nothing"


def test_the_fast_and_the_plain_form_draw_the_same(monkeypatch):
    network = tiny()
    latents = network.w_plus(network.mapping(torch.randn(2, 16)))
    fast = network(latents)
    monkeypatch.setattr("restyle_cli.generators.stylegan2.modulated_conv", modconv.modulated_conv_plain)
    assert torch.allclose(network(latents), fast, atol=2e-5)


@pytest.mark.parametrize("up", [True, False])
def test_a_layer_is_convolution_noise_bias_and_rectifier(up):
    torch.manual_seed(2)
    layer = StyledConv(5, 7, 24, up=up, noise=True).double()
    with torch.no_grad():
        layer.noise_strength.fill_(0.3)
        layer.bias.normal_()
    side = 12 if up else 6
    x, w, noise = (torch.randn(s, dtype=torch.float64) for s in ((2, 5, 6, 6), (2, 24), (1, 1, side, side)))
    weights = list(layer.parameters())
    fast = layer(x, w, noise)
    first = torch.autograd.grad(fast.square().sum(), weights)
    plain = modconv.modulated_conv_plain(x, layer.weight * layer.scale, layer.affine(w), up=up)
    plain = leaky_relu(plain + layer.noise_strength * noise + layer.bias[:, None, None])
    assert torch.allclose(fast, plain, atol=1e-10)
    for a, b in zip(first, torch.autograd.grad(plain.square().sum(), weights), strict=True):
        assert torch.allclose(a, b, atol=1e-9)


def test_noise_modes():
    network = tiny()
    latents = torch.randn(2, network.layers, 24)
    assert torch.equal(network(latents), network(latents))
    assert not torch.allclose(network(latents, noise="random"), network(latents, noise="random"))
    assert not torch.allclose(network(latents, noise="none"), network(latents))
    silent = tiny(noise=False)
    assert not [name for name in silent.state_dict() if "noise" in name]
    with pytest.raises(ValueError, match="noise is one of"):
        network(latents, noise="loud")


def test_truncation_and_the_average_latent():
    network = tiny()
    network.w_avg.copy_(network.mean_w(2000).expand_as(network.w_avg))
    latents = network.w_plus(network.mapping(torch.randn(3, 16)))
    assert torch.allclose(network.truncate(latents, 0.0), network.start(3), atol=1e-6)
    assert torch.allclose(network.truncate(latents, 1.0), latents, atol=1e-5)
    assert torch.allclose(network.truncate(latents, 0.5), (latents + network.start(3)) / 2, atol=1e-5)


def test_crop_keeps_the_middle():
    latents = torch.randn(1, 8, 24)
    whole, cut = tiny()(latents), tiny(crop=(24, 32))(latents)
    assert tiny(crop=(24, 32)).size == (24, 32)
    assert torch.equal(cut, whole[:, :, 4:28])


def test_stopping_early_and_feature_maps():
    network, maps = tiny(), {}
    latents = torch.randn(2, network.layers, 24)
    network(latents, features=maps)
    assert {k: tuple(v.shape) for k, v in maps.items()} == {
        4: (2, 8, 4, 4), 8: (2, 8, 8, 8), 16: (2, 6, 16, 16), 32: (2, 4, 32, 32),
    }  # fmt: skip
    assert network(latents, upto=16).shape == (2, 3, 16, 16)
    latents[:, 6:] = 0  # styles above 16 px
    assert torch.equal(network(latents, upto=16), network(latents, upto=16))


def test_random_inputs_have_the_expected_scale():
    torch.manual_seed(1)
    network = StyleGAN2(StyleGAN2Config(64, channels={4: 64, 8: 64, 16: 64, 32: 32, 64: 32}))
    maps = {}
    network(network.w_plus(network.mapping(torch.randn(4, 512))), features=maps)
    for resolution, values in maps.items():
        assert 0.3 < float(values.detach().std()) < 3, f"signal fades or explodes at {resolution} px"


@pytest.mark.parametrize("name", ["convs.0", "convs.3", "convs.6", "to_rgbs.0", "to_rgbs.3"])
def test_changed_weights_are_those_of_a_changed_network(name):
    network, latents = tiny(), torch.randn(2, 8, 24)
    outputs, inputs = network.conv_shapes()[name]
    delta = 0.5 * torch.randn(2, outputs, inputs, 1, 1)
    rendered = network(latents, patch={name: delta})
    for index in range(2):
        changed = copy.deepcopy(network)
        with torch.no_grad():
            changed.get_submodule(name).weight.mul_(1 + delta[index])
        assert torch.allclose(rendered[index : index + 1], changed(latents[index : index + 1]), atol=1e-4)
    assert (rendered - network(latents)).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("convs.7", (2, 4, 4, 1, 1), "no 'convs.7' to change"),
        ("convs.0", (1, 8, 8, 1, 1), "for 2 latents"),
        ("convs.0", (2, 8, 4, 3, 3), "'convs.0' has shape"),
        ("convs.0", (2, 8, 8), "'convs.0' has shape"),
    ],
)
def test_changes_that_do_not_fit_are_refused(name, shape, sentence):
    with pytest.raises(RestyleError) as caught:
        tiny()(torch.randn(2, 8, 24), patch={name: torch.zeros(shape)})
    assert sentence in f"{caught.value.message} {caught.value.hint}"
