"""StyleGAN2 (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN"), skip architecture.

A mapping network turns z into w; a synthesis network turns a constant 4x4 map into the image, each convolution
modulated by one style. In W+ each of the L = 2 log2(resolution) - 2 styles has a vector of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from restyle_cli.devices import without_autocast
from restyle_cli.generators.base import GeneratorConfig, StyleGenerator
from restyle_cli.generators.patching import SplitPatch
from restyle_cli.ops import fir
from restyle_cli.ops.layers import GAIN, SLOPE, EqualLinear, pixel_norm
from restyle_cli.ops.modconv import clamped, modulated_conv


@dataclass(frozen=True)
class StyleGAN2Config(GeneratorConfig):
    """No further fields."""


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU times sqrt(2); `up` doubles the resolution.

    The gain of sqrt(2) is applied before the ReLU, which is the same for a positive factor and costs nothing there.
    """

    def __init__(self, inputs: int, outputs: int, w_dim: int, up: bool, noise: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.affine = EqualLinear(w_dim, inputs, bias_init=1.0)
        self.noise_strength = nn.Parameter(torch.zeros(())) if noise else None
        self.scale = 1.0 / math.sqrt(inputs * 9)
        self.up = up

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None, delta: Tensor | None = None) -> Tensor:
        x = modulated_conv(x, self.weight, _styles(self, w), up=self.up, delta=delta, bias=self.bias, gain=GAIN)
        if noise is not None and self.noise_strength is not None:
            x.add_((GAIN * self.noise_strength * noise).to(x.dtype))
        return clamped(F.leaky_relu_(x, SLOPE))


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB, without demodulation."""

    def __init__(self, inputs: int, w_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.affine = EqualLinear(w_dim, inputs, bias_init=1.0)
        self.scale = 1.0 / math.sqrt(inputs)

    def forward(self, x: Tensor, w: Tensor, delta: Tensor | None = None) -> Tensor:
        """The RGB contribution of x [N, inputs, H, W]: [N, 3, H, W] in the dtype of the weights."""
        x = modulated_conv(x, self.weight, _styles(self, w), demodulate=False, delta=delta, bias=self.bias)
        return clamped(x).to(self.weight.dtype)


def _styles(layer: StyledConv | ToRGB, w: Tensor) -> Tensor:
    """The layer's styles [N, inputs], always computed in the dtype of the weights."""
    with without_autocast(w.device):
        return layer.scale * layer.affine(w.to(layer.weight.dtype))


class MappingNetwork(nn.Module):
    """z [N, z_dim] -> w [N, w_dim]."""

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        widths = [config.z_dim] + [config.w_dim] * config.mapping_layers
        self.layers = nn.ModuleList(
            EqualLinear(a, b, lr_mul=config.mapping_lr_mul, activate=True) for a, b in pairwise(widths)
        )

    def forward(self, z: Tensor) -> Tensor:
        x = pixel_norm(z)
        for layer in self.layers:
            x = layer(x)
        return x


class StyleGAN2(StyleGenerator):
    """The generator: w_plus [N, L, w_dim] -> images [N, 3, H, W], nominally in [-1, 1]."""

    Config = StyleGAN2Config

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(config)
        resolutions = sorted(config.channels)
        width = config.channels
        self.const = nn.Parameter(torch.randn(1, width[4], 4, 4))
        self.convs = nn.ModuleList([StyledConv(width[4], width[4], config.w_dim, up=False, noise=config.noise)])
        self.to_rgbs = nn.ModuleList([ToRGB(width[4], config.w_dim)])
        for before, resolution in pairwise(resolutions):
            a, b = width[before], width[resolution]
            self.convs.append(StyledConv(a, b, config.w_dim, up=True, noise=config.noise))
            self.convs.append(StyledConv(b, b, config.w_dim, up=False, noise=config.noise))
            self.to_rgbs.append(ToRGB(b, config.w_dim))
        self.register_buffer("w_avg", torch.zeros(config.layers, config.w_dim))
        if config.noise:
            for index in range(len(self.convs)):
                side = 2 ** ((index + 5) // 2)
                self.register_buffer(f"noise_{index}", torch.randn(1, 1, side, side))

    def _render(
        self, w: Tensor, noise: str, upto: int | None, features: dict[int, Tensor] | None, changes: SplitPatch
    ) -> Tensor:
        deltas, noises = changes.factors, changes.noises
        x = self.const.expand(w.shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
        x = self.convs[0](x, w[:, 0], self._noise(0, x, noise, noises), deltas.get("convs.0"))
        image = self.to_rgbs[0](x, w[:, 1], deltas.get("to_rgbs.0"))
        if features is not None:
            features[4] = x
        for block in range(1, len(self.to_rgbs)):
            resolution = 2 ** (block + 2)
            if upto is not None and resolution > upto:
                return image
            first = 2 * block - 1
            for index in (first, first + 1):
                own = self._noise(index, x, noise, noises)
                x = self._layer(self.convs[index], x, w[:, index], own, deltas.get(f"convs.{index}"))
            with without_autocast(image.device):
                image = fir.upsample2(image)
            image = image + self._layer(self.to_rgbs[block], x, w[:, first + 2], deltas.get(f"to_rgbs.{block}"))
            if features is not None:
                features[resolution] = x
        return self._cropped(image)

    def _layer(self, layer: nn.Module, *arguments: Tensor | None) -> Tensor:
        """The output of a layer; with `gradient_checkpointing`, nothing inside it is kept for the way back."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            # Layers draw no random numbers: noise is among the arguments.
            return checkpoint(layer, *arguments, use_reentrant=False, preserve_rng_state=False)
        return layer(*arguments)
