"""StyleGAN (Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks").

A mapping network maps z to w; a synthesis network turns a constant 4x4 map into the image. Each convolution is followed
by noise, bias, leaky ReLU and AdaIN: every map is normalized, then scaled and shifted by one style. The image is the
ToRGB of the last map only. Progressive growing left a ToRGB at each smaller resolution, which `upto` uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import GeneratorConfig, StyleGenerator, paper_channels
from restyle_cli.generators.patching import SplitPatch
from restyle_cli.ops.adain import smooth, stylise, up_conv
from restyle_cli.ops.layers import GAIN, SLOPE, pixel_norm

CHANNEL_BASE = 16384
"""Published table: min(16384 / resolution, 512) channels at each resolution."""
LARGEST = 1024


@dataclass(frozen=True)
class StyleGAN1Config(GeneratorConfig):
    """Four more fields.

    `mapping_width`: size of the hidden layers of the mapping network. `per_style`: the mapping network returns a w for
    each style, and `tanh` bounds the image (both IDInvert's generators). `equalised` False: weights are stored without
    the run-time scale of an equalized learning rate (ALAE).
    """

    mapping_width: int = 512
    per_style: bool = False
    tanh: bool = False
    equalised: bool = True

    def __post_init__(self) -> None:
        if self.resolution > LARGEST:
            raise RestyleError(
                f"a StyleGAN of {self.resolution} pixels cannot be built", f"powers of two from 8 to {LARGEST} can"
            )
        if not self.channels and self.resolution >= 4:
            object.__setattr__(self, "channels", paper_channels(self.resolution, CHANNEL_BASE))
        super().__post_init__()


class Dense(nn.Module):
    """x [..., inputs] -> [..., outputs], with or without an equalized learning rate."""

    def __init__(self, inputs: int, outputs: int, gain: float, lr_mul: float, equalised: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        scale = gain / math.sqrt(inputs)
        nn.init.normal_(self.weight, std=1 / lr_mul if equalised else scale)
        self.scale = scale * lr_mul if equalised else 1.0
        self.bias_scale = lr_mul if equalised else 1.0

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.bias_scale)


class MappingNetwork(nn.Module):
    """z [N, z_dim] -> w [N, w_dim], or w_plus [N, L, w_dim] if the config says `per_style`."""

    def __init__(self, config: StyleGAN1Config) -> None:
        super().__init__()
        self.styles = config.layers if config.per_style else 0
        last = config.w_dim * max(self.styles, 1)
        widths = [config.z_dim] + [config.mapping_width] * (config.mapping_layers - 1) + [last]
        self.layers = nn.ModuleList(
            Dense(a, b, GAIN, config.mapping_lr_mul, config.equalised) for a, b in pairwise(widths)
        )

    def forward(self, z: Tensor) -> Tensor:
        x = pixel_norm(z)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
        return x.unflatten(1, (self.styles, -1)) if self.styles else x


class StyledConv(nn.Module):
    """3x3 convolution, noise, bias, leaky ReLU, AdaIN.

    `up` upsamples before the convolution and filters after it. `inputs` None: no convolution, for the constant map.
    """

    def __init__(self, inputs: int | None, outputs: int, config: StyleGAN1Config, up: bool = False) -> None:
        super().__init__()
        self.weight = None if inputs is None else nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(outputs)) if config.noise else None
        self.affine = Dense(config.w_dim, 2 * outputs, 1.0, 1.0, config.equalised)
        self.up = up
        self.scale = 1.0
        if self.weight is not None:
            scale = GAIN / math.sqrt(9 * self.weight.shape[1])
            nn.init.normal_(self.weight, std=1.0 if config.equalised else scale)
            self.scale = scale if config.equalised else 1.0

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None, delta: Tensor | None = None) -> Tensor:
        """x [N, inputs, H, W], w [N, w_dim], noise [N or 1, 1, H', W'], delta [N, O, I, k, k] -> [N, O, H', W']."""
        if self.weight is not None:
            x = _per_sample(self._convolve, x, self.weight, delta)
        if noise is not None and self.noise_strength is not None:
            x = x + (self.noise_strength[:, None, None] * noise).to(x.dtype)
        x = F.leaky_relu(x + self.bias[:, None, None].to(x.dtype), SLOPE)
        return stylise(x, self.affine(w))

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        weight = (weight * self.scale).to(x.dtype)
        return smooth(up_conv(x, weight)) if self.up else F.conv2d(x, weight, padding=1)


class ToRGB(nn.Module):
    """1x1 convolution to RGB."""

    def __init__(self, inputs: int, config: StyleGAN1Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        scale = 1 / math.sqrt(inputs)
        nn.init.normal_(self.weight, std=1.0 if config.equalised else scale)
        self.scale = scale if config.equalised else 1.0

    def forward(self, x: Tensor, delta: Tensor | None = None) -> Tensor:
        """x [N, inputs, H, W] -> [N, 3, H, W]."""
        return _per_sample(self._convolve, x, self.weight, delta)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, (weight * self.scale).to(x.dtype), self.bias.to(x.dtype))


def _per_sample(
    convolve: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, delta: Tensor | None
) -> Tensor:
    """`convolve(x, weight)`, with weight (1 + delta) for each sample if there is a delta [N, O, I, k, k]."""
    if delta is None:
        return convolve(x, weight)
    return torch.cat([convolve(one, weight * (1 + own)) for one, own in zip(x.split(1), delta, strict=True)])


class StyleGAN1(StyleGenerator):
    """The generator: w_plus [N, L, w_dim] -> images [N, 3, H, W], nominally in [-1, 1]."""

    Config = StyleGAN1Config
    config: StyleGAN1Config

    def __init__(self, config: StyleGAN1Config) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(config)
        width = config.channels
        self.const = nn.Parameter(torch.ones(1, width[4], 4, 4))
        self.convs = nn.ModuleList([StyledConv(None, width[4], config), StyledConv(width[4], width[4], config)])
        self.to_rgbs = nn.ModuleList([ToRGB(width[4], config)])
        for before, resolution in pairwise(sorted(width)):
            a, b = width[before], width[resolution]
            self.convs.append(StyledConv(a, b, config, up=True))
            self.convs.append(StyledConv(b, b, config))
            self.to_rgbs.append(ToRGB(b, config))
        self.register_buffer("w_avg", torch.zeros(config.layers, config.w_dim))
        if config.noise:
            for index in range(len(self.convs)):
                side = 4 * 2 ** (index // 2)
                self.register_buffer(f"noise_{index}", torch.randn(1, 1, side, side))

    def _render(
        self, w: Tensor, noise: str, upto: int | None, features: dict[int, Tensor] | None, changes: SplitPatch
    ) -> Tensor:
        deltas, block = changes.factors, 0
        x = self.const.expand(len(w), -1, -1, -1)
        for index, conv in enumerate(self.convs):
            block, resolution = index // 2, 4 * 2 ** (index // 2)
            if upto is not None and resolution > upto:
                block -= 1
                break
            x = conv(x, w[:, index], self._noise(index, x, noise, changes.noises), deltas.get(f"convs.{index}"))
            if features is not None:
                features[resolution] = x
        image = self.to_rgbs[block](x, deltas.get(f"to_rgbs.{block}"))
        image = torch.tanh(image) if self.config.tanh else image
        return self._cropped(image) if block + 1 == len(self.to_rgbs) else image
