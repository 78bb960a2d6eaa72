"""The small encoders of the bundled models: residual networks without normalization layers.

With normalization layers, ReStyle's error grew at every step, as they hide how small the difference between image and
reconstruction has become. Instead: He initialization, residual branches scaled by 0.5, and a stem that starts as a
difference of both.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.encoders.base import Encoder, EncoderConfig
from restyle_cli.errors import RestyleError
from restyle_cli.images import fit

SLOPE = 0.2  # of the leaky ReLUs
BRANCH_GAIN = 0.5  # of each residual branch; keeps the variance from doubling at every block
LAST_MAP = 4  # side in px of the linear layer's input
INITIAL_STEP = 0.1  # standard deviation of an untrained encoder's output along each direction


@dataclass(frozen=True)
class SmallConfig(EncoderConfig):
    """Base of the small configs. `widths`: channels at input_size / stem_stride, at half of it, …, at 4 px."""

    styles: int = 12
    input_size: int = 64
    stem_stride: int = 2
    widths: tuple[int, ...] = (32, 64, 96, 160)
    blocks: tuple[int, ...] = (1, 2, 2, 2)  # residual blocks at each resolution
    hidden: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) != len(self.blocks):
            raise RestyleError(
                f"a small encoder needs one number of blocks per width, not {len(self.blocks)} for {len(self.widths)}"
            )
        size = LAST_MAP * self.stem_stride * 2 ** (len(self.widths) - 1)
        if self.input_size != size:
            raise RestyleError(
                f"{len(self.widths)} widths and a stem of stride {self.stem_stride} read {size} px, "
                f"not {self.input_size} px"
            )


class SmallNetwork(Encoder):
    """Base of the small networks: image (and reconstruction) -> features [N, hidden]."""

    config: SmallConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        size = 2 * config.stem_stride + 1
        self.stem = nn.Conv2d(
            config.input_channels, config.widths[0], size, stride=config.stem_stride, padding=size // 2
        )
        blocks: list[nn.Module] = []
        in_channels = config.widths[0]
        for level, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for index in range(count):
                blocks.append(SmallBlock(in_channels, width, stride=2 if level > 0 and index == 0 else 1))
                in_channels = width
        self.body = nn.Sequential(*blocks)
        self.hidden = nn.Linear(in_channels * LAST_MAP**2, config.hidden)

    def features(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] in [-1, 1], any size -> [N, hidden]."""
        size = self.config.input_size
        x = fit(x, (size, size))
        x = self.body(self.stem(x.contiguous(memory_format=torch.channels_last)))
        x = F.leaky_relu(x, SLOPE).flatten(1)
        return F.leaky_relu(self.hidden(x), SLOPE)

    def init_weights(self) -> None:
        """He initialization in every layer, and a stem that starts as a difference."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, a=SLOPE, nonlinearity="leaky_relu")
                nn.init.zeros_(module.get_parameter("bias"))
        nn.init.kaiming_normal_(self.stem.weight, nonlinearity="linear")
        if self.config.input_channels == 6:
            init_difference_filters(self.stem.weight)


@dataclass(frozen=True)
class SmallEncoderConfig(SmallConfig):
    """`rank`: number of directions in W that the output may vary along; 0: w_dim."""

    rank: int = 0


class SmallEncoder(SmallNetwork):
    """Image (and reconstruction) -> w_plus (or its residual).

    The w of every style is a linear combination of the `rank` rows of `basis`. Before training, set them to the
    directions in which W varies: off these a generator was not trained, and blurs.
    """

    Config = SmallEncoderConfig
    config: SmallEncoderConfig
    basis: Tensor

    def __init__(self, config: SmallEncoderConfig) -> None:
        super().__init__(config)
        rank = config.rank or config.w_dim
        self.register_buffer("basis", torch.zeros(rank, config.w_dim))
        self.last = nn.Linear(config.hidden, config.styles * rank)
        if not self.basis.is_meta:  # on the meta device, tensors come from a file
            self.basis.diagonal().fill_(1)
            self.init_weights()
            nn.init.normal_(self.last.weight, std=INITIAL_STEP / math.sqrt(config.hidden))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] in [-1, 1], any size -> w_plus [N, L, w_dim]."""
        weights = self.last(self.features(x)).unflatten(1, (self.config.styles, len(self.basis)))
        return self.to_w_plus(weights @ self.basis)


class SmallBlock(nn.Module):
    """Residual block: activation, conv, activation, conv, times BRANCH_GAIN; the shortcut is pooled at stride 2."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x [N, in_channels, H, W] -> [N, out_channels, H / stride, W / stride]."""
        branch = self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x, SLOPE)), SLOPE))
        return self.shortcut(self.pool(x)) + BRANCH_GAIN * branch


@torch.no_grad()
def init_difference_filters(weight: Tensor) -> None:
    """Make 3/4 of a stem's filters functions of x - y, 1/8 of x only and 1/8 of y only, in place.

    `weight` [out, 6, k, k]: channels 0-2 read the image x, 3-5 the reconstruction y.
    """
    single = weight.shape[0] // 8
    differences = weight.shape[0] - 2 * single
    weight[:differences, 3:] = -weight[:differences, :3]
    weight[differences : differences + single, 3:] = 0
    weight[differences + single :, :3] = 0


@torch.no_grad()
def to_offsets(encoder: SmallEncoder) -> SmallEncoder:
    """A copy of a small encoder with `codes="e4e"` and the same output: the first style is the base of the offsets."""
    copy = SmallEncoder(dataclasses.replace(encoder.config, codes="e4e"))
    copy.load_state_dict(encoder.state_dict())
    for tensor in (copy.last.weight, copy.last.bias):  # [L * rank, …]
        by_style = tensor.view(encoder.config.styles, -1)
        by_style[1:] -= by_style[:1].clone()
    return copy.to(next(encoder.parameters()).device).train(encoder.training)
