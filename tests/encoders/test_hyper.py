"""The hypernetwork and the encoders with one linear layer, in miniature: shapes, sharing, round trips, refusals."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restyle_cli.encoders.hyper import HyperConfig, HyperNetwork
from restyle_cli.encoders.restyle import WEncoder, WEncoderConfig
from restyle_cli.errors import RestyleError

SIZES: dict[str, Any] = {"widths": (4, 6, 8, 10), "blocks": (1, 1, 1, 1), "input_size": (64, 64), "styles": 6}
TARGETS = (("convs.0", 5, 3), ("convs.1", 5, 3), ("convs.2", 4, 2))
HYPER = HyperConfig(**SIZES, targets=TARGETS, sharing=("convs.0", "convs.1"), hidden=6, shared_hidden=7, code=8)
CONFIGS = [HYPER, dataclasses.replace(HYPER, separable=True), dataclasses.replace(HYPER, sharing=())]


def build(config: HyperConfig | WEncoderConfig) -> nn.Module:
    torch.manual_seed(0)
    return (HyperNetwork if isinstance(config, HyperConfig) else WEncoder)(config).eval()


def images(channels: int, count: int = 2) -> Tensor:
    return torch.rand(count, channels, 48, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("config", CONFIGS)
def test_a_delta_for_each_target(config: HyperConfig) -> None:
    deltas = build(config)(images(6))
    assert list(deltas) == [name for name, _, _ in TARGETS]
    for name, outputs, inputs in TARGETS:
        whole = name in config.sharing or config.separable
        assert deltas[name].shape == (2, outputs, inputs, *((3, 3) if whole else (1, 1))), name


@pytest.mark.parametrize("config", CONFIGS)
def test_images_of_a_batch_have_nothing_to_do_with_each_other(config: HyperConfig) -> None:
    network, x = build(config), images(6, 3)
    together, alone = network(x), network(x[1:2])
    for name in together:
        torch.testing.assert_close(together[name][1:2], alone[name], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(together[name][0], together[name][1])


def test_targets_that_share_have_heads_of_their_own() -> None:
    network, x = build(HYPER), images(6)
    before = network(x)
    with torch.no_grad():
        network.heads[0].linear.bias.add_(1)
    after = network(x)
    assert not torch.equal(before["convs.0"], after["convs.0"])
    assert torch.equal(before["convs.1"], after["convs.1"])


@pytest.mark.parametrize("config", [*CONFIGS, WEncoderConfig(**SIZES), WEncoderConfig(**SIZES, single=False)])
def test_round_trip_gives_the_same(config: HyperConfig | WEncoderConfig) -> None:
    source, x = build(config), images(config.input_channels)
    with torch.device("meta"):
        copy = type(source)(type(config).from_dict(config.to_dict()))
    copy.load_state_dict(source.state_dict(), strict=True, assign=True)
    expected, found = source(x), copy.eval()(x)
    pairs = zip(expected.values(), found.values(), strict=True) if isinstance(expected, dict) else [(expected, found)]
    for a, b in pairs:
        assert torch.equal(a, b)


@pytest.mark.parametrize("config", [*CONFIGS, WEncoderConfig(**SIZES), WEncoderConfig(**SIZES, single=False)])
def test_gradients_reach_every_weight(config: HyperConfig | WEncoderConfig) -> None:
    network = build(config).train()
    found = network(images(config.input_channels))
    sum(value.square().sum() for value in (found.values() if isinstance(found, dict) else [found])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("backbone", ["ir-se50", "resnet34"])
def test_one_code_for_all_styles(backbone: str) -> None:
    w_plus = build(WEncoderConfig(**SIZES, w_dim=12, backbone=backbone))(images(3))
    assert w_plus.shape == (2, 6, 12)
    assert torch.equal(w_plus, w_plus[:, :1].expand(-1, 6, -1))


def test_a_code_for_each_style() -> None:
    w_plus = build(WEncoderConfig(**SIZES, w_dim=12, single=False))(images(3))
    assert w_plus.shape == (2, 6, 12)
    assert not torch.allclose(w_plus[:, 0], w_plus[:, 1])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"targets": ()}, "at least one convolution"),
        ({"targets": (*TARGETS, TARGETS[0])}, "each once"),
        ({"sharing": ("convs.9",)}, "shares among those"),
        ({"sharing": ("convs.0", "convs.2")}, "same number of channels"),
        ({"input_size": (32, 32)}, "at least 64 px"),
    ],
)
def test_impossible_hypernetworks_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RestyleError, match=sentence):
        dataclasses.replace(HYPER, **change)
