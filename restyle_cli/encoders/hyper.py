"""HyperStyle's hypernetwork (Alaluf et al. 2022, section 3.3): image and reconstruction -> weight deltas.

A ResNet-34 backbone reads both. One head per convolution of the generator maps the last feature map to the delta of
that convolution, one factor per pair of output and input channel. For the largest convolutions (512 channels) the head
only predicts a code, and one shared network maps the code to a full kernel (Ha et al. 2016, section 4.1).

`SmallHyperNetwork` is the one for small generators: the body of the small encoders and linear heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.encoders.base import Encoder
from restyle_cli.encoders.heads import SLOPE
from restyle_cli.encoders.restyle import ReStyleEncoderConfig
from restyle_cli.encoders.small import SmallConfig, SmallNetwork
from restyle_cli.errors import RestyleError
from restyle_cli.images import fit
from restyle_cli.ops.layers import EqualLinear

KERNEL = 3
SHARING = tuple(f"convs.{index}" for index in range(9))
"""The 3x3 convolutions that have 512 channels in every published generator, at 4 to 64 px."""


@dataclass(frozen=True)
class HyperConfig(ReStyleEncoderConfig):
    """`targets`: the convolutions of the generator that get a delta; `sharing`: those that use the shared network.

    `styles` and `w_dim` are those of the generator. `separable` is the ablation of the paper: a delta per position of
    the kernel, as the outer product of two vectors, instead of one factor for the whole kernel.
    """

    backbone: str = "resnet34"
    targets: tuple[tuple[str, int, int], ...] = tuple((name, 512, 512) for name in SHARING)  # name, outputs, inputs
    sharing: tuple[str, ...] = SHARING
    separable: bool = False
    hidden: int = 256  # channels in a head that predicts a delta
    shared_hidden: int = 128  # channels in a head that predicts a code
    code: int = 512  # output size of the last convolution of each head

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side < 4:
            raise RestyleError(f"the input of a hypernetwork must be at least 64 px, not {max(self.input_size)}")
        check_targets(self.targets, self.sharing)


def check_targets(targets: Sequence[tuple[str, int, int]], sharing: Sequence[str]) -> None:
    """RestyleError unless a hypernetwork can have these `targets` (name, output channels, input channels)."""
    widths = {(outputs, inputs) for name, outputs, inputs in targets if name in sharing}
    names = [name for name, _, _ in targets]
    if not names or len(set(names)) < len(names) or not set(sharing) <= set(names):
        raise RestyleError("a hypernetwork changes at least one convolution, each once, and shares among those")
    if len(widths) > 1:
        raise RestyleError("convolutions that share a network have the same number of channels")


class HyperNetwork(Encoder):
    """Image and reconstruction -> {name of a convolution: delta [N, O, I, 3, 3] or [N, O, I, 1, 1]}."""

    Config = HyperConfig
    config: HyperConfig

    def __init__(self, config: HyperConfig) -> None:
        super().__init__(config)
        self.backbone = config.make_backbone()
        self.heads = nn.ModuleList(self._head(*target) for target in config.targets)
        if config.sharing:
            outputs, inputs = next(t[1:] for t in config.targets if t[0] in config.sharing)
            self.kernels = SharedKernels(config.code, outputs, inputs)

    def _head(self, name: str, outputs: int, inputs: int) -> nn.Module:
        config = self.config
        if name in config.sharing:
            return CodeHead(config.widths[-1], config.shared_hidden, config.code, config.side)
        head = SeparableHead if config.separable else FactorHead
        return head(config.widths[-1], config.hidden, config.code, config.side, outputs, inputs)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x [N, C, H, W] in [-1, 1], any size -> deltas by name, in the order of `targets`."""
        last = self.backbone(fit(x, self.config.input_size))[-1]
        deltas = {target[0]: head(last) for target, head in zip(self.config.targets, self.heads, strict=True)}
        if self.config.sharing:  # one call: the shared weights, half a gigabyte, are read once
            kernels = self.kernels(torch.cat([deltas[name] for name in self.config.sharing]))
            deltas |= zip(self.config.sharing, kernels.split(len(x)), strict=True)
        return deltas


class Descent(nn.Module):
    """Convolutions with the given strides, each followed by a leaky ReLU."""

    def __init__(self, inputs: int, hidden: int, outputs: int, strides: Sequence[int]) -> None:
        super().__init__()
        widths = [inputs] + [hidden] * (len(strides) - 1) + [outputs]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, KERNEL, stride, padding=1) for (a, b), stride in zip(pairwise(widths), strides, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x [N, inputs, H, W] -> [N, outputs, H', W'], the size divided by the product of the strides, rounded up."""
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
        return x


class CodeHead(nn.Module):
    """Feature map -> code for the shared network."""

    def __init__(self, channels: int, hidden: int, code: int, side: int) -> None:
        super().__init__()
        self.descent = Descent(channels, hidden, code, [1] + [2] * int(math.log2(side)))
        self.linear = EqualLinear(code, code)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, channels, H, W] with max(H, W) == side -> codes [N, code]."""
        return self.linear(self.descent(x).flatten(1))


class SharedKernels(nn.Module):
    """Code -> kernel, by two linear layers: the first predicts a code per input channel, the second that channel."""

    def __init__(self, code: int, outputs: int, inputs: int) -> None:
        super().__init__()
        self.shape = (outputs, inputs, KERNEL, KERNEL)
        rows, row = inputs, outputs * KERNEL**2
        self.w1 = nn.Parameter(torch.randn(code, row) / math.sqrt(code))
        self.b1 = nn.Parameter(torch.zeros(row))
        self.w2 = nn.Parameter(torch.randn(code, rows * code) / math.sqrt(code))
        self.b2 = nn.Parameter(torch.zeros(rows * code))

    def forward(self, codes: Tensor) -> Tensor:
        """codes [N, code] -> kernels [N, O, I, 3, 3]."""
        rows = torch.addmm(self.b2, codes, self.w2).unflatten(1, (-1, self.w1.shape[0]))
        return (rows @ self.w1 + self.b1).view(-1, *self.shape)


class FactorHead(nn.Module):
    """Feature map -> one factor per pair of output and input channel."""

    def __init__(self, channels: int, hidden: int, code: int, side: int, outputs: int, inputs: int) -> None:
        super().__init__()
        self.shape = (outputs, inputs, 1, 1)
        self.descent = Descent(channels, hidden, code, [2] * (int(math.log2(side)) - 1))
        self.linear = nn.Linear(code, outputs * inputs)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, channels, H, W] -> deltas [N, O, I, 1, 1]."""
        return self.linear(self.descent(x).mean(dim=(2, 3))).view(-1, *self.shape)


class SeparableHead(nn.Module):
    """Feature map -> for each position of the kernel the outer product of two vectors, then a linear layer per axis."""

    def __init__(self, channels: int, hidden: int, code: int, side: int, outputs: int, inputs: int) -> None:
        super().__init__()
        self.descent = Descent(channels, hidden, code, [2] * int(math.log2(side)))
        self.make_in = nn.Linear(code, KERNEL**2 * inputs)
        self.make_out = nn.Linear(code, KERNEL**2 * outputs)
        self.mix_in = nn.Linear(inputs, inputs)
        self.mix_out = nn.Linear(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, channels, H, W] -> deltas [N, O, I, 3, 3]."""
        code = self.descent(x).mean(dim=(2, 3))
        left = self.make_out(code).unflatten(1, (KERNEL, KERNEL, -1, 1))
        right = self.make_in(code).unflatten(1, (KERNEL, KERNEL, 1, -1))
        kernel = self.mix_in(left * right)  # [N, 3, 3, O, I]
        return self.mix_out(kernel.transpose(3, 4)).permute(0, 4, 3, 1, 2)


@dataclass(frozen=True)
class SmallHyperConfig(SmallConfig):
    """`targets`: the convolutions of the generator that get a delta; `sharing`: those that use the shared network.

    `code`: input size of each head; a delta is a linear combination of this many learned patterns.
    """

    targets: tuple[tuple[str, int, int], ...] = (("convs.0", 192, 192), ("convs.1", 192, 192))  # name, outputs, inputs
    sharing: tuple[str, ...] = ()
    code: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check_targets(self.targets, self.sharing)
        if not isinstance(self.code, int) or self.code < 1:
            raise RestyleError(f"`code` of a hypernetwork must be a positive integer, not {self.code!r}")


def choose_targets(
    shapes: Mapping[str, tuple[int, int]],  # the generator's `conv_shapes()`
) -> dict[str, tuple]:
    """`targets` and `sharing` for a generator: all convolutions except ToRGB; the widest share, if several."""
    targets = tuple((name, *shape) for name, shape in shapes.items() if name.startswith("convs."))
    widest = max((shape for _, *shape in targets), key=math.prod)
    sharing = tuple(name for name, *shape in targets if shape == widest)
    return {"targets": targets, "sharing": sharing if len(sharing) > 1 else ()}


class SmallHyperNetwork(SmallNetwork):
    """As `HyperNetwork`. Untrained, all deltas are zero, as the last layers are."""

    Config = SmallHyperConfig
    config: SmallHyperConfig

    def __init__(self, config: SmallHyperConfig) -> None:
        super().__init__(config)
        self.codes = nn.Linear(config.hidden, len(config.targets) * config.code)
        self.factors = nn.ModuleDict(
            {
                name.replace(".", "_"): nn.Linear(config.code, outputs * inputs)
                for name, outputs, inputs in config.targets
                if name not in config.sharing
            }
        )
        if config.sharing:
            outputs, inputs = next(t[1:] for t in config.targets if t[0] in config.sharing)
            self.kernels = SharedKernels(config.code, outputs, inputs)
        if not self.codes.weight.is_meta:  # on the meta device, tensors come from a file
            self.init_weights()
            for factor in self.factors.values():
                nn.init.zeros_(factor.get_parameter("weight"))
            if config.sharing:
                nn.init.zeros_(self.kernels.w1)  # its bias starts at zero

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x [N, C, H, W] in [-1, 1], any size -> deltas by name, in the order of `targets`."""
        config = self.config
        codes = self.codes(self.features(x)).unflatten(1, (len(config.targets), config.code))
        deltas: dict[str, Tensor] = {}
        for index, (name, outputs, inputs) in enumerate(config.targets):
            if name in config.sharing:
                deltas[name] = self.kernels(codes[:, index])
            else:
                factor = self.factors[name.replace(".", "_")]
                deltas[name] = factor(codes[:, index]).view(-1, outputs, inputs, 1, 1)
        return deltas
