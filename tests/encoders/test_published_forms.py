"""The published encoders' forms, in miniature: shapes, round trips, progressive stages, refusals."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restyle_cli.encoders import ENCODERS
from restyle_cli.encoders.backbones import IRSE50, ResNet34
from restyle_cli.encoders.base import EncoderConfig, widen_input
from restyle_cli.encoders.psp import PSPEncoder, PSPEncoderConfig
from restyle_cli.encoders.restyle import ReStyleEncoder, ReStyleEncoderConfig
from restyle_cli.errors import RestyleError

TINY: dict[str, Any] = {
    "styles": 9, "w_dim": 8, "widths": (4, 6, 8, 10), "blocks": (1, 2, 1, 1), "input_size": (32, 32)
}  # fmt: skip
CONFIGS: list[EncoderConfig] = [
    ReStyleEncoderConfig(**TINY),
    ReStyleEncoderConfig(**TINY, codes="e4e", backbone="resnet34", input_channels=3),
    ReStyleEncoderConfig(**{**TINY, "input_size": (24, 32), "blocks": None}),
    PSPEncoderConfig(**TINY),
    PSPEncoderConfig(**TINY, codes="e4e", backbone="resnet34", input_channels=6),
]


def network_of(config: EncoderConfig) -> type[nn.Module]:
    return PSPEncoder if isinstance(config, PSPEncoderConfig) else ReStyleEncoder


def build(config: EncoderConfig) -> nn.Module:
    torch.manual_seed(0)
    return network_of(config)(config).eval()


def images(config: EncoderConfig, size: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, config.input_channels, size, size, generator=generator) * 2 - 1


@pytest.mark.parametrize("config", CONFIGS)
def test_round_trip_gives_the_same_codes(config: EncoderConfig) -> None:
    source, x = build(config), images(config)
    with torch.device("meta"):
        copy = network_of(config)(type(config).from_dict(config.to_dict()))
    copy.load_state_dict(source.state_dict(), strict=True, assign=True)
    w_plus = copy.eval()(x)
    assert w_plus.shape == (2, 9, 8)
    assert torch.equal(w_plus, source(x))


@pytest.mark.parametrize("config", CONFIGS)
def test_gradients_reach_every_weight(config: EncoderConfig) -> None:
    network = build(config).train()
    network(images(config)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("config", [c for c in CONFIGS if c.codes == "e4e"])
def test_offsets_open_with_the_stage(config: EncoderConfig) -> None:
    network, x = build(config), images(config)
    full = network(x)
    network.stage = 2
    part = network(x)
    assert torch.equal(part[:, :3], full[:, :3])
    assert torch.equal(part[:, 3:], part[:, :1].expand(-1, 6, -1))
    assert not torch.equal(full[:, 3], full[:, 0])


def test_free_codes_know_no_stage() -> None:
    network, x = build(CONFIGS[0]), images(CONFIGS[0])
    full = network(x)
    network.stage = 0
    assert torch.equal(network(x), full)


@pytest.mark.parametrize("config", [c for c in CONFIGS if c.input_channels == 3])
def test_widened_encoders_give_the_same_codes(config: EncoderConfig) -> None:
    narrow, x = build(config), images(config)
    wide = widen_input(narrow, 6)  # in the mode of the narrow one, which matters to normalisation layers
    torch.testing.assert_close(wide(torch.cat([x, x.flip(0)], dim=1)), narrow(x))


@pytest.mark.parametrize("backbone", [IRSE50, ResNet34])
def test_backbones_give_four_maps_each_half_of_the_last(backbone: type[IRSE50] | type[ResNet34]) -> None:
    with torch.no_grad():
        maps = backbone(3, widths=(4, 6, 8, 10))(torch.zeros(1, 3, 48, 64))
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 24, 32), (6, 12, 16), (8, 6, 8), (10, 3, 4)]


@pytest.mark.parametrize(("backbone", "count"), [(IRSE50, 24), (ResNet34, 16)])
def test_backbones_have_the_published_depth(backbone: type[IRSE50] | type[ResNet34], count: int) -> None:
    with torch.device("meta"):
        assert len(backbone(6).body) == count


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        (ReStyleEncoderConfig, {"backbone": "resnet43"}, "no backbone named 'resnet43'"),
        (ReStyleEncoderConfig, {"input_size": (250, 250)}, "not 250 px"),
        (ReStyleEncoderConfig, {"input_size": (48, 48)}, "not 48 px"),
        (ReStyleEncoderConfig, {"widths": (8, 8)}, "4 stages"),
        (ReStyleEncoderConfig, {"blocks": (1, 1, 1)}, "4 stages"),
        (PSPEncoderConfig, {"styles": 7}, "more than 7 styles"),
    ],
)
def test_impossible_configurations_are_refused(
    kind: type[ReStyleEncoderConfig], change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(RestyleError, match=sentence):
        kind(**change)


def test_unknown_fields_are_refused_and_the_nearest_named() -> None:
    with pytest.raises(RestyleError, match="no field 'backbones'") as caught:
        ReStyleEncoderConfig.from_dict({"backbones": "resnet34"})
    assert caught.value.hint is not None and "'backbone'" in caught.value.hint


@pytest.mark.parametrize("name", ENCODERS.names())
def test_every_entry_of_the_table_is_a_network_with_a_configuration(name: str) -> None:
    network = ENCODERS.load(name)
    config = network.Config()
    assert dataclasses.is_dataclass(config)
    assert network.Config.from_dict(config.to_dict()) == config
    with torch.device("meta"):
        assert isinstance(network(config), nn.Module)
