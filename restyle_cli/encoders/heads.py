"""Style heads: feature map -> one vector per style. All heads of a map are computed together."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.01  # of the leaky ReLUs
FEW_OUTPUTS = 64
"""Up to this many outputs per head (images x positions) a batched product is faster than one convolution per head.

Reading the weights is then what takes time, and a convolution would first copy them to another layout.
"""


class StyleHeads(nn.Module):
    """L style heads on one feature map: log2(side) convolutions of stride 2 down to 1x1, then a linear layer.

    The weights of all heads are stacked, one tensor per layer. `forward` is the fast form, `plain` the reference.
    """

    def __init__(self, count: int, channels: int, w_dim: int, side: int) -> None:
        super().__init__()
        inputs = [channels] + [w_dim] * (int(math.log2(side)) - 1)
        self.convs = nn.ModuleList(StackedConv(count, channels, w_dim) for channels in inputs)
        self.linear = StackedEqualLinear(count, w_dim, w_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, channels, H, W] with max(H, W) == side -> [N, L, w_dim]."""
        split = self._count_large(x)
        y = torch.stack(_each_head(self.convs[:split], x)) if split else x.unsqueeze(0)
        for conv in self.convs[split:]:
            y = F.leaky_relu(conv(y), SLOPE)
        return self.linear(y.flatten(2)).transpose(0, 1)

    def plain(self, x: Tensor) -> Tensor:
        """Same as `forward`, one head after the other."""
        maps = _each_head(self.convs, x)
        weights = (self.linear.weight * self.linear.scale).unbind()
        layers = zip(maps, weights, self.linear.bias.unbind(), strict=True)
        return torch.stack([F.linear(y.flatten(1), weight, bias) for y, weight, bias in layers], dim=1)

    def _count_large(self, x: Tensor) -> int:
        """Number of leading convolutions with more than FEW_OUTPUTS outputs."""
        n, (height, width) = x.shape[0], x.shape[2:]
        for index in range(len(self.convs)):
            height, width = _halved(height), _halved(width)
            if n * height * width <= FEW_OUTPUTS:
                return index
        return len(self.convs)


class StackedConv(nn.Module):
    """L convolutions 3x3 of stride 2, computed as one batched product."""

    def __init__(self, count: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.empty(count, outputs))
        bound = 1 / math.sqrt(9 * inputs)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """x [L, N, C, H, W], or [1, N, C, H, W] shared by all -> [L, N, outputs, ceil(H / 2), ceil(W / 2)]."""
        (_, n, _, height, width), count = x.shape, self.weight.shape[0]
        height, width = _halved(height), _halved(width)
        patches = F.unfold(x.flatten(0, 1), 3, padding=1, stride=2).unflatten(0, x.shape[:2])
        patches = patches.transpose(2, 3).flatten(1, 2).expand(count, -1, -1)  # [L, N * H * W, C * 9]
        weight = self.weight.flatten(2)
        if torch.is_grad_enabled() and weight.requires_grad:
            # Weight first: its gradient then has the layout of the weight and need not be copied.
            y = torch.baddbmm(self.bias[:, :, None], weight, patches.transpose(1, 2)).transpose(1, 2)
        else:
            y = torch.baddbmm(self.bias[:, None], patches, weight.transpose(1, 2))
        return y.unflatten(1, (n, height * width)).transpose(2, 3).unflatten(3, (height, width))


def _each_head(convs: nn.ModuleList, x: Tensor) -> list[Tensor]:
    """The output of the convolutions for each head, computed one head at a time; x [N, C, H, W] is shared."""
    # unbind instead of indexing: the gradient of an indexed weight has the size of the whole stack.
    layers = [zip(*(conv.get_parameter(name).unbind() for name in ("weight", "bias")), strict=True) for conv in convs]
    maps = []
    for head in zip(*layers, strict=True):
        y = x
        for weight, bias in head:
            y = F.leaky_relu(F.conv2d(y, weight, bias, stride=2, padding=1), SLOPE)
        maps.append(y)
    return maps


def _halved(side: int) -> int:
    return (side + 1) // 2


class StackedEqualLinear(nn.Module):
    """L linear layers with an equalized learning rate, computed as one batched product."""

    def __init__(self, count: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(count, outputs))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """x [L, N, inputs] -> [L, N, outputs]."""
        return torch.baddbmm(self.bias[:, None], x, self.weight.transpose(1, 2), alpha=self.scale)


def base_and_offsets(
    styles: Tensor,  # [N, L, w_dim]: the base vector, then L - 1 offsets
    stage: int | None = None,
) -> Tensor:
    """w_plus of e4e (Tov et al. 2021): the base vector for every style, plus the offsets of styles 1 to `stage`.

    With `stage` None all offsets are added.
    """
    base, offsets = styles[:, :1], styles[:, 1:]
    if stage is not None and stage < offsets.shape[1]:
        offsets = torch.cat([offsets[:, :stage], torch.zeros_like(offsets[:, stage:])], dim=1)
    return torch.cat([base, base + offsets], dim=1)
