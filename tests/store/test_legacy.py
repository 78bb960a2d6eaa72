"""Files of other projects, in small: every form that is found in the wild is read, and gives the same network."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign
import parity
import pytest
import torch
from foreign import assert_equal, refused, write
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan2 import StyleGAN2
from restyle_cli.store import files, legacy
from restyle_cli.store.build import build_empty, check_fit, meta_init
from restyle_cli.store.legacy.detect import detect
from restyle_cli.store.legacy.rosinality import not_representable, to_rosinality


@pytest.fixture(scope="module")
def generator() -> StyleGAN2:
    return foreign.generator()


# --- generators


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_a_generator_of_a_training(generator: StyleGAN2, tmp_path: Path, zipped: bool) -> None:
    state = to_rosinality(generator)["g_ema"]
    content = {
        "g": {key: value + 1 for key, value in state.items()},
        "d": {"unknown": torch.zeros(2)},
        "g_ema": state,
        "g_optim": {"state": {0: {"step": 1}}},
        "latent_avg": generator.w_avg[0],
        "args": argparse.Namespace(size=64),
    }
    path = write(tmp_path / "g.pt", content, zipped)
    assert_equal(files.read_module(path), generator)
    (part,) = legacy.describe(path)
    assert (part.role, part.family) == ("generator", "stylegan2")
    assert all(tensor.is_meta for tensor in part.tensors.values())


def test_a_generator_without_noise_maps_gets_some_and_always_the_same(generator: StyleGAN2, tmp_path: Path) -> None:
    content = to_rosinality(generator)
    content["g_ema"] = {key: value for key, value in content["g_ema"].items() if not key.startswith("noises.")}
    path = write(tmp_path / "g.pt", content)
    first, second = files.read_module(path), files.read_module(path)
    assert torch.equal(first.noise_3, second.noise_3)
    assert first.noise_3.std() > 0.5
    assert "noise" in legacy.describe(path)[0].extra


def test_a_generator_without_an_average_gets_the_mean_of_its_mapping(generator: StyleGAN2, tmp_path: Path) -> None:
    path = write(tmp_path / "g.pt", {"g_ema": to_rosinality(generator)["g_ema"]})
    read = files.read_module(path)
    expected = generator.mean_w(legacy.MEAN_SAMPLES)
    assert torch.equal(read.w_avg, expected.expand(foreign.STYLES, -1))
    assert expected.abs().max() > 0.01


def test_the_rosinality_layout_has_the_published_names_and_shapes() -> None:
    with meta_init():
        network = StyleGAN2(StyleGAN2.Config(256))
    network.to_empty(device="cpu")
    content = to_rosinality(network)
    expected = {key: shape for key, (shape, _) in parity.describe("stylegan2_g_256")["keys"].items()}
    assert {key: list(value.shape) for key, value in content["g_ema"].items()} == expected
    assert not_representable(network) == []


def test_the_rosinality_layout_of_a_network_that_departs(tmp_path: Path) -> None:
    own = foreign.generator(mapping_lr_mul=0.5, z_dim=8)
    assert len(not_representable(own)) == 2
    read = files.read_module(write(tmp_path / "g.pt", to_rosinality(own)))
    z = torch.randn(3, 8)
    torch.testing.assert_close(read.mapping(z), own.mapping(z))


# --- NVIDIA's


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_network_pickles(generator: StyleGAN2, tmp_path: Path, protocol: int) -> None:
    init = {"c_dim": 0, "synthesis_kwargs": {"conv_clamp": 256, "num_fp16_res": 4}}
    path = foreign.write_nvidia(tmp_path / "net.pkl", foreign.nvidia_state(generator), protocol, init=init)
    assert_equal(files.read_module(path), generator)
    (part,) = legacy.describe(path)
    assert part.extra["conv_clamp"] == 256


def test_a_shallow_mapping_and_any_channels(tmp_path: Path) -> None:
    own = foreign.generator(mapping_layers=2, channels={4: 3, 8: 5, 16: 7, 32: 2, 64: 9})
    path = foreign.write_nvidia(tmp_path / "net.pkl", foreign.nvidia_state(own))
    assert_equal(files.read_module(path), own)


@pytest.mark.parametrize(
    ("change", "init", "message"),
    [
        ({"mapping.embed.weight": torch.zeros(16, 3)}, {}, "trained with labels"),
        ({}, {"synthesis_kwargs": {"architecture": "resnet"}}, "architecture 'resnet'"),
        ({"synthesis.b8.skip.weight": torch.zeros(10, 12, 1, 1)}, {}, "'synthesis.b8.skip.weight' is unexpected"),
        (
            {"synthesis.b4.conv1.resample_filter": torch.ones(4, 4)},
            {},
            "conv1.resample_filter' is not that of",
        ),
        ({"synthesis.b8.conv0.bias": torch.zeros(7)}, {}, r"'synthesis.b8.conv0.bias' has shape \[7\]"),
    ],
)
def test_network_pickles_that_cannot_be_used(
    generator: StyleGAN2, tmp_path: Path, change: dict[str, Tensor], init: dict[str, Any], message: str
) -> None:
    path = foreign.write_nvidia(tmp_path / "net.pkl", foreign.nvidia_state(generator) | change, init=init)
    refused(path, message)


def test_a_stylegan3_is_recognised_and_refused(tmp_path: Path) -> None:
    state = {"synthesis.input.weight": torch.zeros(4, 4), "mapping.fc0.weight": torch.zeros(4, 4)}
    refused(foreign.write_nvidia(tmp_path / "net.pkl", state), "a StyleGAN3")


# --- encoders

ENCODERS = [
    ({"encoder_type": "BackboneEncoder"}, {}, "restyle-psp"),
    ({"encoder_type": "ProgressiveBackboneEncoder"}, {"codes": "e4e"}, "restyle-e4e"),
    ({"encoder_type": "ResNetBackboneEncoder"}, {"backbone": "resnet34"}, "restyle-psp"),
    ({"encoder_type": "GradualStyleEncoder"}, {"pyramid": True}, "psp"),
    ({"encoder_type": "Encoder4Editing"}, {"pyramid": True, "codes": "e4e"}, "e4e"),
    ({"encoder_type": "GradualStyleEncoder"}, {"pyramid": True, "input_channels": 6}, "restyle-psp"),
]


@pytest.mark.parametrize(("opts", "options", "method"), ENCODERS, ids=[str(i) for i in range(len(ENCODERS))])
def test_encoders_with_their_decoder(
    generator: StyleGAN2, tmp_path: Path, opts: dict[str, Any], options: dict[str, Any], method: str
) -> None:
    encoder = foreign.encoder(**options)
    path = write(tmp_path / "e.pt", foreign.checkpoint(generator, encoder, start_from_latent_avg=True, **opts))
    found, generator_part = legacy.open_parts(path)
    assert found.extra["method"] == method
    assert "absolute" not in found.extra
    x = torch.randn(2, encoder.config.input_channels, 64, 64)
    torch.testing.assert_close(legacy.build(found)(x), encoder(x))
    assert_equal(legacy.build(generator_part), generator)
    for role, expected in (("encoder", encoder), ("generator", generator)):
        alone = files.read_module(path, role=role).state_dict()
        assert all(torch.equal(alone[name], tensor) for name, tensor in expected.state_dict().items())
    refused(path, "several models: encoder, generator")


def test_options_may_be_a_namespace_and_their_device_does_not_matter(generator: StyleGAN2, tmp_path: Path) -> None:
    content = foreign.checkpoint(generator, foreign.encoder(), encoder_type="BackboneEncoder")
    content["opts"] = argparse.Namespace(**content["opts"])
    path = write(tmp_path / "e.pt", content)
    assert content["opts"].device == "cuda:3"
    assert next(files.read_module(path, role="encoder").parameters()).device.type == "cpu"


@pytest.mark.parametrize(
    ("opts", "average", "absolute"),
    [
        ({"start_from_latent_avg": True}, True, False),
        ({"start_from_latent_avg": False}, True, True),
        ({}, True, False),  # saved only by those that start from it
        ({}, False, True),
    ],
)
def test_single_pass_codes_may_be_absolute(
    generator: StyleGAN2, tmp_path: Path, opts: dict[str, Any], average: bool, absolute: bool
) -> None:
    encoder = foreign.encoder(pyramid=True)
    content = foreign.checkpoint(generator, encoder, encoder_type="GradualStyleEncoder", **opts)
    if not average:
        del content["latent_avg"]
    assert legacy.describe(write(tmp_path / "e.pt", content))[0].extra.get("absolute", False) is absolute


def test_cars_are_cropped(tmp_path: Path) -> None:
    channels = {2**k: 4 for k in range(2, 10)}
    generator = foreign.generator(resolution=512, channels=channels)
    encoder = foreign.encoder(styles=18, input_size=(48, 64))  # two styles more than the generator takes
    opts = {"encoder_type": "BackboneEncoder", "dataset_type": "cars_encode"}
    found, generator_part = legacy.open_parts(write(tmp_path / "e.pt", foreign.checkpoint(generator, encoder, **opts)))
    assert legacy.build(generator_part).size == (384, 512)
    network = legacy.build(found)
    assert network.config.input_size == (48, 64)
    x = torch.randn(1, 6, 48, 64)
    torch.testing.assert_close(network(x), encoder(x)[:, :16])


def test_encoders_of_one_mapping_share_their_latent_space(generator: StyleGAN2, tmp_path: Path) -> None:
    opts = {"encoder_type": "BackboneEncoder"}
    tuned, other = foreign.generator(), foreign.generator(seed=5)
    tuned.convs[3].weight.add_(1)
    spaces = [
        legacy.describe(write(tmp_path / "e.pt", foreign.checkpoint(each, foreign.encoder(), **opts)))[1].extra
        for each in (generator, tuned, other)
    ]
    assert spaces[0]["latent_space"] == spaces[1]["latent_space"] != spaces[2]["latent_space"]


# --- what does not fit


def spoiled(generator: StyleGAN2, change: Callable[[dict[str, Tensor]], Any]) -> dict[str, Any]:
    content = foreign.checkpoint(generator, foreign.encoder(), encoder_type="BackboneEncoder")
    change(content["state_dict"])
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("encoder.styles.3.linear.bias"), "'encoder.styles.3.linear.bias' is missing"),
        (lambda s: s.pop("encoder.body.2.res_layer.3.weight"), "body.2.res_layer.3.weight' is missing"),
        (
            lambda s: s.update({"encoder.styles.3.linear.bias": torch.zeros(5)}),
            r"'encoder.styles.3.linear.bias' has shape \[5\]",
        ),
        (lambda s: s.update({"encoder.body.2.res_layer.3.weight": torch.zeros(4, 5, 3, 3)}), r"shape \[4, 5, 3, 3\]"),
        (lambda s: s.update({"encoder.more.weight": torch.zeros(1)}), "'encoder.more.weight' is unexpected"),
        (lambda s: s.update({"decoder.more": torch.zeros(1)}), "'decoder.more' is unexpected"),
        (lambda s: s.pop("decoder.convs.2.activate.bias"), "'convs.3.bias' is missing"),
        (
            lambda s: s.update({"decoder.input.input": torch.zeros(())}),
            "tensors are missing",
        ),
        (lambda s: s.update({"encoder.styles.0.convs.0.weight": torch.zeros(())}), "has shape"),
        (lambda s: s.update({"encoder.input_layer.0.weight": torch.zeros(4)}), "shapes that no such network has"),
        (lambda s: s.update({"decoder.to_rgb1.bias": torch.ones(1, 3, 1, 1).int()}), "has dtype torch.int32"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    generator: StyleGAN2, tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], message: str
) -> None:
    path = write(tmp_path / "e.pt", spoiled(generator, change))
    with pytest.raises(RestyleError, match=message) as caught:
        for part in legacy.open_parts(path):
            legacy.build(part, path=path)
    assert "e.pt" in caught.value.message


def test_an_encoder_that_does_not_say_its_type_is_refused(generator: StyleGAN2, tmp_path: Path) -> None:
    for opts, message in (({}, "does not say of which type"), ({"encoder_type": "Mine"}, "of the type 'Mine'")):
        refused(write(tmp_path / "e.pt", foreign.checkpoint(generator, foreign.encoder(), **opts)), message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"a.weight": torch.zeros(2)}}, r"1 tensors \('a.weight', …\) are of no model"),
        (torch.zeros(3), "only a single value"),
        ({"epoch": 3}, "no tensors that restyle looks for"),
        ({"g_ema": {"a": torch.zeros(1).expand(10**12)}}, "'a' claims to be larger than its data"),
        ({"g_ema": {"a": torch.eye(3).to_sparse()}}, "asks for 'torch._utils._rebuild_sparse_tensor'"),
    ],
)
def test_content_that_is_no_network(tmp_path: Path, content: Any, message: str) -> None:
    refused(write(tmp_path / "x.pt", content), message)


# --- the published files

PUBLISHED = {
    "curricularface_ir101": ["perceptual curricularface"],
    "e4e_cars_512": ["encoder psp e4e", "generator stylegan2"],
    "e4e_ffhq_1024": ["encoder psp e4e", "generator stylegan2"],
    "hyperstyle_cars_512": ["encoder hyper hyperstyle", "generator stylegan2"],
    "hyperstyle_ffhq_1024": ["encoder hyper hyperstyle", "generator stylegan2"],
    "hyperstyle_separable_256": ["encoder hyper hyperstyle", "generator stylegan2"],
    "hyperstyle_w_encoder_256": ["encoder w e4e-w"],
    "ir_se50": ["perceptual arcface"],
    "latent_discriminator": ["discriminator latent-discriminator"],
    "moco_v2_resnet50": ["perceptual moco"],
    "psp_ffhq_1024": ["encoder psp psp", "generator stylegan2"],
    "psp_w_256": ["encoder w psp", "generator stylegan2"],
    "psp_wplus_256": ["encoder w psp", "generator stylegan2"],
    "resnet34_imagenet": ["perceptual resnet34"],
    "restyle_e4e_cars_512": ["encoder restyle restyle-e4e", "generator stylegan2"],
    "restyle_e4e_ffhq_1024": ["encoder restyle restyle-e4e", "generator stylegan2"],
    "restyle_psp_afhq_wild_512": ["encoder restyle restyle-psp", "generator stylegan2"],
    "restyle_psp_church_256": ["encoder restyle restyle-psp", "generator stylegan2"],
    "restyle_psp_ffhq_1024": ["encoder restyle restyle-psp", "generator stylegan2"],
    "stylegan2_d_256": ["discriminator stylegan2-discriminator"],
    "stylegan2_g_1024": ["generator stylegan2"],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_file_is_recognised_and_fits(name: str) -> None:
    """By names and shapes; memory that nobody touches stands for the numbers."""
    keys = {
        key: torch.empty(shape, dtype=getattr(torch, dtype))
        for key, (shape, dtype) in parity.describe(name)["keys"].items()
    }
    parts = detect(parity.contents(name, keys), shapes_only=True)
    assert [" ".join((p.role, p.family, *filter(None, [p.extra.get("method")]))) for p in parts] == PUBLISHED[name]
    for part in parts:
        check_fit(build_empty(part.family, part.config), part.tensors, part.names)
    if "cars" in name:
        assert parts[0].config["input_size"] == [192, 256]
        assert parts[1].config["crop"] == [384, 512]
