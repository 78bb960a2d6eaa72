"""Telling real from made: StyleGAN2 for pictures (Karras et al. 2020), e4e for codes (Tov et al. 2021)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan2 import paper_channels
from restyle_cli.ops import fir
from restyle_cli.ops.layers import EqualConv2d, EqualLinear, leaky_relu
from restyle_cli.registry import NetworkConfig

GROUP = 4
"""So many pictures of a batch are compared with each other."""
SLOPE = 0.2


@dataclass(frozen=True)
class StyleGAN2DiscriminatorConfig(NetworkConfig):
    """`channels`: the widths at 4 px, 8 px, … up to the pictures' side. None: the published ones of 256 px."""

    channels: tuple[int, ...] = tuple(paper_channels(256).values())

    def __post_init__(self) -> None:
        if len(self.channels) < 2:
            raise RestyleError("a discriminator halves its pictures at least once", "name two widths or more")

    @property
    def resolution(self) -> int:
        """The side of the pictures."""
        return 4 * 2 ** (len(self.channels) - 1)


class StyleGAN2Discriminator(nn.Module):
    """The residual form. A batch's pictures are judged together: how alike they are tells, too."""

    Config = StyleGAN2DiscriminatorConfig

    def __init__(self, config: StyleGAN2DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        last, *_, first = config.channels
        self.from_rgb = EqualConv2d(3, first, 1)
        self.blocks = nn.ModuleList(DownBlock(a, b) for a, b in pairwise(reversed(config.channels)))
        self.final_conv = EqualConv2d(last + 1, last, 3)
        self.final_linear = EqualLinear(last * 4 * 4, last, activate=True)
        self.output = EqualLinear(last, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, 3, R, R] in [-1, 1] -> logits [N, 1], above 0 for real. N: up to 4, or a multiple of 4."""
        x = leaky_relu(self.from_rgb(x))
        for block in self.blocks:
            x = block(x)
        x = leaky_relu(self.final_conv(append_stddev(x)))
        return self.output(self.final_linear(x.flatten(1)))


class DownBlock(nn.Module):
    """Two convolutions beside a shortcut, to half the side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = EqualConv2d(inputs, inputs, 3)
        self.conv2 = EqualConv2d(inputs, outputs, 3, stride=2, padding=0)
        self.skip = EqualConv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = leaky_relu(self.conv1(x))
        y = leaky_relu(self.conv2(fir.blur(y, pad=2)))
        return (y + self.skip(fir.downsample2(x))) / math.sqrt(2)


def append_stddev(x: Tensor) -> Tensor:
    """Append to x [N, C, H, W] a map of how much the pictures of each group differ: [N, C + 1, H, W]."""
    n, _, height, width = x.shape
    group = min(n, GROUP)
    if n % group:
        raise RestyleError(f"a discriminator cannot judge {n} pictures at once", f"take up to {GROUP}, or a multiple")
    members = x.unflatten(0, (group, n // group))
    deviation = torch.sqrt(members.var(dim=0, unbiased=False) + 1e-8).mean(dim=(1, 2, 3))  # [N / group]
    return torch.cat([x, deviation.repeat(group)[:, None, None, None].expand(-1, 1, height, width)], dim=1)


@dataclass(frozen=True)
class LatentDiscriminatorConfig(NetworkConfig):
    """`layers` hidden layers, each as wide as a code."""

    w_dim: int = 512
    layers: int = 3

    def __post_init__(self) -> None:
        if self.w_dim < 1 or self.layers < 1:
            raise RestyleError("a latent discriminator has one hidden layer or more, of one unit or more")


class LatentDiscriminator(nn.Module):
    """Codes of a mapping network, or found by an encoder? Keeps an encoder's codes editable."""

    Config = LatentDiscriminatorConfig

    def __init__(self, config: LatentDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        for _ in range(config.layers):
            layers += [nn.Linear(config.w_dim, config.w_dim), nn.LeakyReLU(SLOPE)]
        self.mlp = nn.Sequential(*layers, nn.Linear(config.w_dim, 1))

    def forward(self, w: Tensor) -> Tensor:
        """w [N, w_dim] -> logits [N, 1], above 0 for real."""
        return self.mlp(w)
