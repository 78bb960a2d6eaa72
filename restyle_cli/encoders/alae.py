"""The encoder of adversarial latent autoencoders (Pidhorskyi et al. 2020, section 5): the generator's mirror.

Where the generator of the first StyleGAN gives each map the mean and deviation that a style says, this encoder takes
them away by instance norm, and adds up what they say of the code: one linear layer for each map. So a picture becomes
one w. A small head on w, which learned to tell drawn pictures from real ones, trained both.
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

EPSILON = 1e-5  # of the encoder's instance norms; the generator's is smaller
LAST_MAP = 4  # side of the map that the last block reads


@dataclass(frozen=True)
class ALAEEncoderConfig(EncoderConfig):
    """`widths`: channels at `input_size` px, at half of it, …, at 4 px, and behind the last block."""

    input_channels: int = 3
    input_size: int = 1024
    widths: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 512, 512, 512, 512)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) < 2 or self.input_size != LAST_MAP * 2 ** (len(self.widths) - 2):
            raise RestyleError(
                f"an encoder of {self.input_size} px that halves its maps down to {LAST_MAP} px has another number of "
                f"widths than {len(self.widths)}"
            )


class ALAEEncoder(Encoder):
    """Picture -> one code in W, repeated for every style."""

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
        """x [N, C, H, W] in [-1, 1], any size -> codes [N, L, w_dim]."""
        config = self.config
        x = self.from_rgb(fit(x, (config.input_size, config.input_size)))
        x = F.leaky_relu(F.leaky_relu(x, SLOPE), SLOPE)  # twice, as the published networks have it
        first, *others = self.blocks
        x, w = first(x)
        for block in others:
            x, part = block(x)
            w = w + part
        return w[:, None].expand(-1, config.styles, -1)


class ALAEBlock(nn.Module):
    """Two convolutions, the second to half the size; what each map's statistics say of w."""

    def __init__(self, before: int, width: int, w_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, before, 3, padding=1)
        self.conv2 = nn.Conv2d(before, width, 3, padding=1)
        self.style1 = nn.Linear(2 * before, w_dim)
        self.style2 = nn.Linear(2 * width, w_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, before, H, W] -> [N, width, H / 2, W / 2], and the part of w [N, w_dim]."""
        x = F.leaky_relu(self.conv1(x), SLOPE)
        w = self.style1(instance_statistics(x))
        x = down_conv(smooth(instance_norm(x, EPSILON)), self.conv2.weight)
        x = F.leaky_relu(x + self.conv2.get_parameter("bias")[:, None, None], SLOPE)
        w = w + self.style2(instance_statistics(x))
        return instance_norm(x, EPSILON), w


@dataclass(frozen=True)
class ALAEDiscriminatorConfig(NetworkConfig):
    """`widths`: numbers of w, then behind each linear layer."""

    widths: tuple[int, ...] = (512, 512, 512, 1024)


class ALAEDiscriminator(nn.Module):
    """w -> how real the picture seems that it was found in.

    Linear layers with nothing between. The last is published twice as wide as w; one of its numbers is used.
    """

    Config = ALAEDiscriminatorConfig

    def __init__(self, config: ALAEDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(config.widths))

    def forward(self, w: Tensor) -> Tensor:
        """w [N, w_dim] -> [N]."""
        for layer in self.layers:
            w = layer(w)
        return w[:, w.shape[1] // 2]
