"""Generators read from files of the published shape give the original code's numbers."""

from __future__ import annotations

from pathlib import Path

import foreign
import parity
import pytest
import torch
from golden import fill
from torch import Tensor

from restyle_cli.generators.stylegan2 import StyleGAN2
from restyle_cli.store.files import read_module

OTHERS = [("stylegan2_g_512", 16), ("stylegan2_g_1024", 18)]


def normal(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(fill.normal(name, shape))


def check(case: str, output: str, value: Tensor) -> None:
    assert parity.error(case, output, value) <= parity.limit(case, output), output


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> StyleGAN2:
    path = tmp_path_factory.mktemp("files") / "g.pt"
    return read_module(parity.write_checkpoint(path, "stylegan2_g_256"))


def test_picture_of_a_w_plus_code(network: StyleGAN2) -> None:
    check("stylegan2_g_256", "image", network(0.5 * normal("w", 1, 14, 512)))


def test_mapping_truncation_and_mixing(network: StyleGAN2) -> None:
    case = "stylegan2_g_256"
    w, other = (network.mapping(normal(name, 2, 512)) for name in ("z", "z2"))
    check(case, "z_to_w", w)
    codes = network.w_plus(w)
    truncated = network.truncate(codes, 0.7)
    check(case, "trunc_latent", truncated)
    check(case, "trunc_image", network(truncated))
    mixed = torch.cat([codes[:, :5], network.w_plus(other)[:, 5:]], dim=1)
    check(case, "mix_latent", mixed)
    check(case, "mix_image", network(mixed))


@pytest.mark.slow
def test_picture_of_z(network: StyleGAN2) -> None:
    check("stylegan2_g_256", "z_image", network(network.w_plus(network.mapping(normal("z", 2, 512)))))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layers"), OTHERS)
def test_larger_ones(tmp_path: Path, name: str, layers: int) -> None:
    larger = read_module(parity.write_checkpoint(tmp_path / "g.pt", name))
    w = 0.5 * normal("w", 1, layers, 512)
    check(name, "latent", w)
    check(name, "image", larger(w))


@pytest.mark.parametrize("name", ["nvidia_g_256_16384", pytest.param("nvidia_g_256_32768", marks=pytest.mark.slow)])
def test_network_pickles(tmp_path: Path, name: str) -> None:
    init = {"synthesis_kwargs": {"conv_clamp": 256, "num_fp16_res": 4, "channel_base": int(name[13:])}}
    read = read_module(foreign.write_nvidia(tmp_path / "g.pkl", parity.weights(name), init=init))
    check(name, "image", read(0.5 * normal("w", 1, 14, 512)))
    mapped = read.w_plus(read.mapping(normal("z", 1, 512)))
    check(name, "mapped", mapped)
    truncated = read.truncate(mapped, 0.7)
    check(name, "mapped_trunc", truncated)
    check(name, "image_z_trunc", read(truncated))
