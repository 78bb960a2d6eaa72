"""Names and shapes of the published hypernetworks and one-layer encoders: each tensor finds its place."""

from __future__ import annotations

import gzip
import json
from typing import Any

import parity
import pytest
import torch
from torch import Tensor

from restyle_cli.encoders import ENCODERS
from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.store.legacy.checkpoint_part import Part


def file(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a published file, without values, and its options."""
    content = json.loads(gzip.decompress((parity.GOLDEN / "manifests" / f"{name}.json.gz").read_bytes()))
    return {key: torch.empty(shape, device="meta") for key, (shape, _) in content["keys"].items()}, content.get(
        "opts", {}
    )


def recognised(name: str) -> Part:
    tensors, opts = file(name)
    part = parity.recognised(tensors, opts, "hypernet." if "hyperstyle" in name and "w_" not in name else "encoder.")
    assert part is not None and part.role == "encoder"
    family = ENCODERS.load(part.family)
    with torch.device("meta"):
        network = family(family.Config.from_dict(part.config))
    network.load_state_dict(part.tensors, strict=True, assign=True)
    return part


@pytest.mark.parametrize(
    ("name", "resolution", "count"),
    [
        ("hyperstyle_ffhq_1024", 1024, 17),
        ("hyperstyle_cars_512", 512, 15),
        ("hyperstyle_ffhq_256", 256, 13),
        ("hyperstyle_separable_256", 256, 13),
    ],
)
def test_hypernetworks_fit_the_generator_that_they_are_for(name: str, resolution: int, count: int) -> None:
    part = recognised(name)
    with torch.device("meta"):
        generator = StyleGAN2(StyleGAN2Config(resolution))
    assert part.family == "hyper" and part.extra["method"] == "hyperstyle"
    assert part.config["styles"] == generator.layers
    shapes = generator.conv_shapes()
    assert [target[0] for target in part.config["targets"]] == [f"convs.{index}" for index in range(count)]
    for conv, outputs, inputs in part.config["targets"]:
        assert shapes[conv] == (outputs, inputs)
    assert part.config["sharing"] == [f"convs.{index}" for index in range(9)]
    assert part.config["separable"] == ("separable" in name)
    assert part.config["input_size"] == ([192, 256] if "cars" in name else [256, 256])
    assert part.names["kernels.w1"] == "hypernet.shared_weight_hypernet.w1"


@pytest.mark.parametrize(
    ("name", "method", "single"),
    [
        ("hyperstyle_w_encoder_256", "e4e-w", True),
        ("psp_w_256", "psp", True),
        ("psp_wplus_256", "psp", False),
    ],
)
def test_one_layer_encoders(name: str, method: str, single: bool) -> None:
    part = recognised(name)
    assert (part.family, part.extra["method"]) == ("w", method)
    assert (part.config["single"], part.config["styles"], part.config["input_channels"]) == (single, 14, 3)
    assert part.names["linear.weight"] == "encoder.linear.weight"
    assert set(part.names) == set(part.tensors)


def test_a_hypernetwork_for_colours_is_refused() -> None:
    tensors, opts = file("hyperstyle_ffhq_256")
    moved = {key.replace("blocks.18.", "blocks.19."): value for key, value in tensors.items()}
    with pytest.raises(RestyleError, match=r"layer 19 .* toRGB"):
        parity.recognised(moved, opts, "hypernet.")


def test_factors_for_no_known_channels_are_refused() -> None:
    tensors, opts = file("hyperstyle_ffhq_256")
    without = {key: value for key, value in tensors.items() if "blocks.18." not in key}
    with pytest.raises(RestyleError, match="layer 17 has 32768 factors"):
        parity.recognised(without, opts, "hypernet.")
