"""Encoder and discriminator of adversarial latent autoencoders (Pidhorskyi et al. 2020, section 5).

The encoder mirrors the generator of StyleGAN. The generator sets the mean and standard deviation of each feature map
from a style; the encoder removes them by instance norm and maps them to w with one linear layer per feature map. The
sum over all layers is the w of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.encoders.base import Encoder, EncoderConfig
from restyle_cli.errors import RestyleError
from restyle_cli.images import fit
from restyle_cli.ops.adain import down_conv, instance_norm, instance_statistics, smooth
from restyle_cli.ops.layers import GAIN, SLOPE
from restyle_cli.registry import NetworkConfig

EPSILON = 1e-5  # of the instance norms; the generator uses 1e-8
LAST_MAP = 4  # side in px of the last block's input


@dataclass(frozen=True)
class ALAEEncoderConfig(EncoderConfig):
    """`widths`: channels at `input_size` px, at half of it, …, at 4 px, and after the last block."""

    input_channels: int = 3
    input_size: int = 1024
    widths: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 512, 512, 512, 512)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) < 2 or self.input_size != LAST_MAP * 2 ** (len(self.widths) - 2):
            raise RestyleError(
                f"an encoder that halves its maps from {self.input_size} to {LAST_MAP} px needs "
                f"another number of widths than {len(self.widths)}"
            )


class ALAEEncoder(Encoder):
    """Image -> one w, repeated for every style."""

    Config = ALAEEncoderConfig
    config: ALAEEncoderConfig

    def __init__(self, config: ALAEEncoderConfig) -> None:
        super().__init__(config)
        self.from_rgb = nn.Conv2d(config.input_channels, config.widths[0], 1)
        self.blocks = nn.ModuleList(ALAEBlock(a, b, config.w_dim) for a, b in pairwise(config.widths))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=GAIN / math.sqrt(module.weight[0].numel()))
                nn.init.zeros_(module.get_parameter("bias"))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] in [-1, 1], any size -> w_plus [N, L, w_dim]."""
        config = self.config
        x = self.from_rgb(fit(x, (config.input_size, config.input_size)))
        x = F.leaky_relu(F.leaky_relu(x, SLOPE), SLOPE)  # twice, as in the published networks
        first, *others = self.blocks
        x, w = first(x)
        for block in others:
            x, part = block(x)
            w = w + part
        return w[:, None].expand(-1, config.styles, -1)


class ALAEBlock(nn.Module):
    """Two convolutions, the second with stride 2, and the contribution of their statistics to w."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.style1 = nn.Linear(2 * in_channels, w_dim)
        self.style2 = nn.Linear(2 * out_channels, w_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, in_channels, H, W] -> x [N, out_channels, H / 2, W / 2], contribution to w [N, w_dim]."""
        x = F.leaky_relu(self.conv1(x), SLOPE)
        w = self.style1(instance_statistics(x))
        x = down_conv(smooth(instance_norm(x, EPSILON)), self.conv2.weight)
        x = F.leaky_relu(x + self.conv2.get_parameter("bias")[:, None, None], SLOPE)
        w = w + self.style2(instance_statistics(x))
        return instance_norm(x, EPSILON), w


@dataclass(frozen=True)
class ALAEDiscriminatorConfig(NetworkConfig):
    """`widths`: w_dim, then the output size of each linear layer."""

    widths: tuple[int, ...] = (512, 512, 512, 1024)


class ALAEDiscriminator(nn.Module):
    """w of an image -> logit, higher for a real image. ALAE trains generator and encoder against it.

    Linear layers without activations. The published last layer has 1024 outputs, of which one is used.
    """

    Config = ALAEDiscriminatorConfig

    def __init__(self, config: ALAEDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(config.widths))

    def forward(self, w: Tensor) -> Tensor:
        """w [N, w_dim] -> logits [N]."""
        for layer in self.layers:
            w = layer(w)
        return w[:, w.shape[1] // 2]
