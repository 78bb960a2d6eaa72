"""Networks built for a file's tensors: no memory, no random numbers, no compiler."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from restyle_cli.store.build import meta_init

# Any random fill or arithmetic in a constructor would import torch's compiler here, which takes a second.
BUILD_ALL = """
import sys
from restyle_cli.store.build import meta_init
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.encoders.small import SmallEncoder, SmallEncoderConfig
from restyle_cli.encoders.restyle import ReStyleEncoder, ReStyleEncoderConfig
from restyle_cli.encoders.psp import PSPEncoder, PSPEncoderConfig
with meta_init():
    built = [
        StyleGAN2(StyleGAN2Config(32)),
        SmallEncoder(SmallEncoderConfig()),
        ReStyleEncoder(ReStyleEncoderConfig()),
        ReStyleEncoder(ReStyleEncoderConfig(backbone="resnet34")),
        PSPEncoder(PSPEncoderConfig()),
    ]
assert all(value.is_meta for network in built for value in network.parameters())
assert "torch._dynamo" not in sys.modules, "the compiler was imported"
"""


def test_networks_are_built_without_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", BUILD_ALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_random_numbers_are_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with meta_init():
        layer = nn.Linear(4, 4)
        assert torch.randn(2, 2).is_meta
    assert layer.weight.is_meta
    assert torch.equal(torch.rand(3), expected)


def test_it_ends_with_its_block() -> None:
    with meta_init():
        pass
    assert nn.Linear(2, 2).weight.device.type == "cpu"
    assert torch.randn(1000).std() > 0.5
