"""StyleGAN2 (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN"), skip architecture.

A mapping network turns z into w; a synthesis network grows a constant 4×4 map to the picture, each convolution
modulated by one style of the code. W+ gives every one of the L = 2 log2(resolution) - 2 styles a vector of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.devices import without_autocast
from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import NOISE_MODES, StyleGenerator
from restyle_cli.generators.patching import generate_one_by_one, split_patch
from restyle_cli.ops import fir
from restyle_cli.ops.layers import GAIN, SLOPE, EqualLinear, pixel_norm
from restyle_cli.ops.modconv import clamped, modulated_conv


def paper_channels(resolution: int, base: int = 32768, most: int = 512) -> dict[int, int]:
    """The published tables: min(base / resolution, most) channels at each resolution from 4 to `resolution`."""
    return {2**k: min(base // 2**k, most) for k in range(2, int(math.log2(resolution)) + 1)}


@dataclass(frozen=True)
class StyleGAN2Config:
    """What rebuilds the network.

    `channels` maps each resolution to its width; `crop` (height, width) keeps the middle of the square picture (cars:
    384×512); `noise` off leaves the noise inputs out altogether.
    """

    resolution: int
    channels: Mapping[int, int] = field(default_factory=dict)
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_lr_mul: float = 0.01
    noise: bool = True
    crop: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        resolution = self.resolution
        if resolution < 8 or resolution > 4096 or resolution & (resolution - 1):
            raise RestyleError(
                f"a StyleGAN2 of {resolution} pixels cannot be built", "powers of two from 8 to 4096 can"
            )
        table = {int(k): int(v) for k, v in (self.channels or paper_channels(resolution)).items()}
        wanted = [2**k for k in range(2, int(math.log2(resolution)) + 1)]
        if sorted(table) != wanted:
            raise RestyleError(
                f"the channel table names the resolutions {sorted(table)}",
                f"a network of {resolution} px needs {wanted}",
            )
        object.__setattr__(self, "channels", table)
        if self.crop is not None:
            object.__setattr__(self, "crop", tuple(self.crop))

    @property
    def layers(self) -> int:
        """The number L of styles in a W+ code."""
        return 2 * int(math.log2(self.resolution)) - 2

    def to_dict(self) -> dict:
        """As JSON can hold it."""
        values = asdict(self)
        return values | {"channels": {str(k): v for k, v in self.channels.items()}}

    @classmethod
    def from_dict(cls, values: dict) -> StyleGAN2Config:
        """The inverse of `to_dict`; an unknown key is refused."""
        if unknown := set(values) - set(cls.__dataclass_fields__):
            raise RestyleError(f"unknown StyleGAN2 settings: {', '.join(sorted(unknown))}")
        return cls(**values)


class StyledConv(nn.Module):
    """Modulated 3×3 convolution, noise, bias, leaky rectifier times sqrt(2); `up` doubles the resolution.

    The rectifier keeps positive factors, so the sqrt(2) stands before it, where it costs nothing.
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
    """Modulated 1×1 convolution to three colours, without demodulation."""

    def __init__(self, inputs: int, w_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.affine = EqualLinear(w_dim, inputs, bias_init=1.0)
        self.scale = 1.0 / math.sqrt(inputs)

    def forward(self, x: Tensor, w: Tensor, delta: Tensor | None = None) -> Tensor:
        """The colours that x adds to the picture, [N, 3, H, W] in the weights' format."""
        x = modulated_conv(x, self.weight, _styles(self, w), demodulate=False, delta=delta, bias=self.bias)
        return clamped(x).to(self.weight.dtype)


def _styles(layer: StyledConv | ToRGB, w: Tensor) -> Tensor:
    """The layer's styles, [N, inputs], in the weights' format in whatever format the layer computes."""
    with without_autocast(w.device):
        return layer.scale * layer.affine(w.to(layer.weight.dtype))


class MappingNetwork(nn.Module):
    """z [N, z_dim] → w [N, w_dim]."""

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
    """The generator. Codes are w [N, L, w_dim]; pictures [N, 3, H, W], nominally in [-1, 1], never clamped."""

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

    def forward(
        self,
        w: Tensor,  # [N, L, w_dim]
        noise: str = "fixed",
        upto: int | None = None,
        features: dict[int, Tensor] | None = None,
        patch: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Draw the codes. `upto` stops at a lower resolution; `features` collects the last map of each resolution.

        `patch` changes the generator for each sample: see `patching`. Changes of noise maps are seen where those are
        ("fixed"). With `upto`, what lies above may be changed in vain.
        """
        if noise not in NOISE_MODES:
            raise ValueError(f"noise is one of {NOISE_MODES}, not {noise!r}")
        changes = split_patch(self, patch, len(w))
        if changes.parameters:
            return generate_one_by_one(self, w, changes, features, noise=noise, upto=upto)
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
                x = self.convs[index](x, w[:, index], own, deltas.get(f"convs.{index}"))
            with without_autocast(image.device):
                image = fir.upsample2(image)
            image = image + self.to_rgbs[block](x, w[:, first + 2], deltas.get(f"to_rgbs.{block}"))
            if features is not None:
                features[resolution] = x
        return self._cropped(image)
