"""The domain-guided encoder of in-domain inversion (Zhu et al. 2020, section 3.1).

A convolution, residual blocks at half the resolution each, down to 4 px, then one linear layer for all styles.
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

SLOPE = 0.2  # of the leaky ReLUs
LAST_MAP = 4  # side in px of the linear layer's input


@dataclass(frozen=True)
class IDInvertEncoderConfig(EncoderConfig):
    """`widths`: channels at `input_size` px, at half of it, …, at 4 px."""

    input_channels: int = 3
    styles: int = 14
    input_size: int = 256
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 1024, 1024)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.widths or self.input_size != LAST_MAP * 2 ** (len(self.widths) - 1):
            raise RestyleError(
                f"an encoder that halves its maps from {self.input_size} to {LAST_MAP} px needs "
                f"another number of widths than {len(self.widths)}"
            )


class IDInvertEncoder(Encoder):
    """Image -> w_plus."""

    Config = IDInvertEncoderConfig
    config: IDInvertEncoderConfig

    def __init__(self, config: IDInvertEncoderConfig) -> None:
        super().__init__(config)
        widths = config.widths
        self.stem = nn.Conv2d(config.input_channels, widths[0], 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        self.blocks = nn.ModuleList(IDInvertBlock(a, b) for a, b in pairwise(widths))
        inputs = widths[-1] * LAST_MAP**2
        self.last = nn.Linear(inputs, config.styles * config.w_dim, bias=False)
        nn.init.normal_(self.last.weight)
        self.last_norm = nn.BatchNorm1d(config.styles * config.w_dim)
        self.last_scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] in [-1, 1], any size -> w_plus [N, L, w_dim]."""
        config = self.config
        x = fit(x, (config.input_size, config.input_size))
        x = F.leaky_relu(self.stem_norm(self.stem(x)), SLOPE)
        for block in self.blocks:
            x = block(F.avg_pool2d(x, 2))
        w = self.last_norm(self.last(x.flatten(1)) * self.last_scale)
        return w.unflatten(1, (config.styles, config.w_dim))


class IDInvertBlock(nn.Module):
    """Residual block: two convolutions with batch norm; the shortcut has a 1x1 convolution where channels change."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        hidden = min(in_channels, out_channels)
        self.conv1 = nn.Conv2d(in_channels, hidden, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, out_channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.widens = in_channels != out_channels
        if self.widens:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, in_channels, H, W] -> [N, out_channels, H, W]."""
        shortcut = F.leaky_relu(self.shortcut_norm(self.shortcut(x)), SLOPE) if self.widens else x
        x = F.leaky_relu(self.norm1(self.conv1(x)), SLOPE)
        return F.leaky_relu(self.norm2(self.conv2(x)), SLOPE) + shortcut
