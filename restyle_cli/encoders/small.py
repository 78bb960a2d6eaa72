"""The small encoders of the embedded networks: residual networks without any normalisation.

With normalisation layers ReStyle's error grew with every step: they hide how small the difference between
picture and reconstruction has become. So: He initialisation, residual branches scaled by a half, and a
stem that looks at that difference from the start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.encoders.base import Encoder, EncoderConfig
from restyle_cli.errors import RestyleError
from restyle_cli.images import fit

SLOPE = 0.2  # of the leaky ReLUs
BRANCH_GAIN = 0.5  # of each residual branch: keeps the variance from doubling with every block
LAST_MAP = 4  # side of the map that the linear layers read
INITIAL_STEP = 0.1  # size of an untrained encoder's steps along each direction


@dataclass(frozen=True)
class SmallConfig(EncoderConfig):
    """Base of the small networks: widths by resolution, the first at input_size / stem_stride, the last at 4 px."""

    styles: int = 12
    input_size: int = 64
    stem_stride: int = 2
    widths: tuple[int, ...] = (32, 64, 96, 160)
    blocks: tuple[int, ...] = (1, 2, 2, 2)  # residual blocks at each of these resolutions
    hidden: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) != len(self.blocks):
            raise RestyleError(
                f"the small encoder needs one number of blocks for each width, "
                f"not {len(self.blocks)} for {len(self.widths)}"
            )
        size = LAST_MAP * self.stem_stride * 2 ** (len(self.widths) - 1)
        if self.input_size != size:
            raise RestyleError(
                f"{len(self.widths)} widths and a stem of stride {self.stem_stride} read {size} px, "
                f"not {self.input_size} px"
            )


class SmallNetwork(Encoder):
    """Base of the small networks: picture (and reconstruction) -> `hidden` numbers."""

    config: SmallConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        size = 2 * config.stem_stride + 1
        self.stem = nn.Conv2d(
            config.input_channels, config.widths[0], size, stride=config.stem_stride, padding=size // 2
        )
        blocks: list[nn.Module] = []
        before = config.widths[0]
        for level, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for index in range(count):
                blocks.append(SmallBlock(before, width, stride=2 if level > 0 and index == 0 else 1))
                before = width
        self.body = nn.Sequential(*blocks)
        self.hidden = nn.Linear(before * LAST_MAP**2, config.hidden)

    def features(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] in [-1, 1], any size -> [N, hidden]."""
        size = self.config.input_size
        x = fit(x, (size, size))
        x = self.body(self.stem(x.contiguous(memory_format=torch.channels_last)))
        x = F.leaky_relu(x, SLOPE).flatten(1)
        return F.leaky_relu(self.hidden(x), SLOPE)

    def init_weights(self) -> None:
        """He's random weights in every layer, and a stem that sees differences."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, a=SLOPE, nonlinearity="leaky_relu")
                nn.init.zeros_(module.get_parameter("bias"))
        nn.init.kaiming_normal_(self.stem.weight, nonlinearity="linear")
        if self.config.input_channels == 6:
            init_difference_filters(self.stem.weight)


@dataclass(frozen=True)
class SmallEncoderConfig(SmallConfig):
    """`rank` directions of W that codes may move along; 0: all w_dim."""

    rank: int = 0


class SmallEncoder(SmallNetwork):
    """Picture (and reconstruction) -> codes.

    Every style's code is a sum of `rank` directions, the rows of `basis`. Set them before training to where W
    varies: off these directions a generator has learned nothing, and blurs.
    """

    Config = SmallEncoderConfig
    config: SmallEncoderConfig
    basis: Tensor

    def __init__(self, config: SmallEncoderConfig) -> None:
        super().__init__(config)
        rank = config.rank or config.w_dim
        self.register_buffer("basis", torch.zeros(rank, config.w_dim))
        self.last = nn.Linear(config.hidden, config.styles * rank)
        if not self.basis.is_meta:  # then the tensors come from a file
            self.basis.diagonal().fill_(1)
            self.init_weights()
            nn.init.normal_(self.last.weight, std=INITIAL_STEP / math.sqrt(config.hidden))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] in [-1, 1], any size -> codes [N, L, w_dim]."""
        config = self.config
        codes = self.last(self.features(x)).unflatten(1, (config.styles, len(self.basis))) @ self.basis
        return self.to_w_plus(codes)


class SmallBlock(nn.Module):
    """x + half of (activation, conv, activation, conv); with stride 2, x is pooled."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(before, width, 1) if before != width else nn.Identity()
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x [N, before, H, W] -> [N, width, H / stride, W / stride]."""
        branch = self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x, SLOPE)), SLOPE))
        return self.shortcut(self.pool(x)) + BRANCH_GAIN * branch


@torch.no_grad()
def init_difference_filters(weight: Tensor) -> None:
    """Make three quarters of a stem's filters functions of x - y, an eighth of x alone, an eighth of y alone.

    weight [out, 6, k, k]; channels 0-2 see the picture x, 3-5 the reconstruction y.
    """
    of_one = weight.shape[0] // 8
    differences = weight.shape[0] - 2 * of_one
    weight[:differences, 3:] = -weight[:differences, :3]
    weight[differences : differences + of_one, 3:] = 0
    weight[differences + of_one :, :3] = 0
