"""Discriminators: StyleGAN2's for images (Karras et al. 2020), e4e's for latents (Tov et al. 2021)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import paper_channels
from restyle_cli.ops import fir
from restyle_cli.ops.layers import EqualConv2d, EqualLinear, leaky_relu
from restyle_cli.registry import NetworkConfig

GROUP = 4
"""Images per group of the minibatch standard deviation."""
SLOPE = 0.2


@dataclass(frozen=True)
class StyleGAN2DiscriminatorConfig(NetworkConfig):
    """`channels` at 4 px, 8 px, … up to the resolution of the images; the default is the published table of 256 px."""

    channels: tuple[int, ...] = tuple(paper_channels(256).values())

    def __post_init__(self) -> None:
        if len(self.channels) < 2:
            raise RestyleError("a discriminator needs at least two resolutions", "give two or more `channels`")

    @property
    def resolution(self) -> int:
        """Height and width of the images in px."""
        return 4 * 2 ** (len(self.channels) - 1)


class StyleGAN2Discriminator(nn.Module):
    """The residual architecture. The images of a group influence each other, by their standard deviation."""

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
        """x [N, 3, R, R] in [-1, 1] -> logits [N, 1], above 0 for real; N is at most 4 or a multiple of 4."""
        x = leaky_relu(self.from_rgb(x))
        for block in self.blocks:
            x = block(x)
        x = leaky_relu(self.final_conv(append_stddev(x)))
        return self.output(self.final_linear(x.flatten(1)))


class DownBlock(nn.Module):
    """Residual block at half the resolution."""

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
    """Minibatch standard deviation (Karras et al. 2018): x [N, C, H, W] and a map of it per group, [N, C + 1, H, W].

    RestyleError if the batch cannot be split into groups.
    """
    n, _, height, width = x.shape
    group = min(n, GROUP)
    if n % group:
        raise RestyleError(
            f"a discriminator cannot take a batch of {n}", f"use up to {GROUP} images, or a multiple of {GROUP}"
        )
    members = x.unflatten(0, (group, n // group))
    stddev = torch.sqrt(members.var(dim=0, unbiased=False) + 1e-8).mean(dim=(1, 2, 3))  # [N / group]
    return torch.cat([x, stddev.repeat(group)[:, None, None, None].expand(-1, 1, height, width)], dim=1)


@dataclass(frozen=True)
class LatentDiscriminatorConfig(NetworkConfig):
    """`layers` hidden layers of width w_dim."""

    w_dim: int = 512
    layers: int = 3

    def __post_init__(self) -> None:
        if self.w_dim < 1 or self.layers < 1:
            raise RestyleError("a latent discriminator needs at least one hidden layer and a w_dim of at least 1")


class LatentDiscriminator(nn.Module):
    """Tells w of the mapping network (real) from w of an encoder; keeps the latents of an encoder editable."""

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
