"""The domain-guided encoder of in-domain inversion (Zhu et al. 2020, section 3.1): residual blocks, one linear layer.

A convolution, then blocks that halve the map down to 4 px, each convolution with a batch norm and a leaky rectifier;
what is left becomes the codes of all styles at once.
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
LAST_MAP = 4  # side of the map that the linear layer reads


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
                f"an encoder of {self.input_size} px that halves its maps down to {LAST_MAP} px has another number of "
                f"widths than {len(self.widths)}"
            )


class IDInvertEncoder(Encoder):
    """Picture -> codes."""

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
        """x [N, C, H, W] in [-1, 1], any size -> codes [N, L, w_dim]."""
        config = self.config
        x = fit(x, (config.input_size, config.input_size))
        x = F.leaky_relu(self.stem_norm(self.stem(x)), SLOPE)
        for block in self.blocks:
            x = block(F.avg_pool2d(x, 2))
        codes = self.last_norm(self.last(x.flatten(1)) * self.last_scale)
        return codes.unflatten(1, (config.styles, config.w_dim))


class IDInvertBlock(nn.Module):
    """Twice convolution, norm, rectifier; beside it the map itself or, in another width, a 1×1 convolution of it."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        hidden = min(before, width)
        self.conv1 = nn.Conv2d(before, hidden, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, width, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(width)
        self.widens = before != width
        if self.widens:
            self.shortcut = nn.Conv2d(before, width, 1, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, before, H, W] -> [N, width, H, W]."""
        beside = F.leaky_relu(self.shortcut_norm(self.shortcut(x)), SLOPE) if self.widens else x
        x = F.leaky_relu(self.norm1(self.conv1(x)), SLOPE)
        return F.leaky_relu(self.norm2(self.conv2(x)), SLOPE) + beside
