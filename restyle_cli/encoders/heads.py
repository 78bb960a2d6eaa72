"""From a backbone's maps to codes: the style heads, computed together, and how codes are put together."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.01  # of the heads' leaky ReLUs
# Up to so many outputs a head (pictures x positions) one batched product beats a convolution for each head:
# what costs time is then reading the weights, which a convolution would first copy into its own order.
FEW_OUTPUTS = 64


class StyleHeads(nn.Module):
    """L style heads on one map: log2(side) convolutions of stride 2, to one position, then a linear layer.

    The weights of all heads lie stacked in one tensor a layer, so the heads are computed together.
    """

    def __init__(self, count: int, channels: int, w_dim: int, side: int) -> None:
        super().__init__()
        inputs = [channels] + [w_dim] * (int(math.log2(side)) - 1)
        self.convs = nn.ModuleList(StackedConv(count, before, w_dim) for before in inputs)
        self.linear = StackedEqualLinear(count, w_dim, w_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, channels, H, W], the longer side as given -> codes [N, L, w_dim]."""
        x = x.unsqueeze(0)
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
        return self.linear(x.flatten(2)).transpose(0, 1)

    def plain(self, x: Tensor) -> Tensor:
        """What `forward` computes, one head after the other."""
        codes = []
        for head in range(self.linear.weight.shape[0]):
            y = x
            for conv in self.convs:
                y = F.leaky_relu(F.conv2d(y, conv.weight[head], conv.bias[head], stride=2, padding=1), SLOPE)
            weight = self.linear.weight[head] * self.linear.scale
            codes.append(F.linear(y.flatten(1), weight, self.linear.bias[head]))
        return torch.stack(codes, dim=1)


class StackedConv(nn.Module):
    """L convolutions, 3x3 of stride 2, side by side."""

    def __init__(self, count: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.empty(count, outputs))
        bound = 1 / math.sqrt(9 * inputs)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """x [L, N, C, H, W], or [1, N, C, H, W] for all -> [L, N, outputs, H / 2, W / 2], rounded up."""
        (_, pictures, _, height, width), count = x.shape, self.weight.shape[0]
        height, width = (height + 1) // 2, (width + 1) // 2
        if pictures * height * width > FEW_OUTPUTS:
            parts = zip(x.expand(count, -1, -1, -1, -1), self.weight.unbind(), self.bias.unbind(), strict=True)
            return torch.stack([F.conv2d(*part, stride=2, padding=1) for part in parts])
        patches = F.unfold(x.flatten(0, 1), 3, padding=1, stride=2).unflatten(0, x.shape[:2])
        patches = patches.transpose(2, 3).flatten(1, 2).expand(count, -1, -1)  # [L, N * H * W, C * 9]
        weight = self.weight.flatten(2)
        if torch.is_grad_enabled() and weight.requires_grad:
            # The weight first: its gradient then has the weight's own layout, not a transposed one to copy.
            y = torch.baddbmm(self.bias[:, :, None], weight, patches.transpose(1, 2)).transpose(1, 2)
        else:
            y = torch.baddbmm(self.bias[:, None], patches, weight.transpose(1, 2))
        return y.unflatten(1, (pictures, height * width)).transpose(2, 3).unflatten(3, (height, width))


class StackedEqualLinear(nn.Module):
    """L linear layers with an equalised learning rate, side by side."""

    def __init__(self, count: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(count, outputs))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """x [L, N, inputs] -> [L, N, outputs]."""
        return torch.baddbmm(self.bias[:, None], x, self.weight.transpose(1, 2), alpha=self.scale)


def base_and_offsets(
    codes: Tensor,  # [N, L, D]: the base code, then L - 1 offsets
    stage: int | None = None,
) -> Tensor:
    """The codes of "e4e": the base code for every style, and for the styles 1 to `stage` their offset added.

    None, or a stage of L - 1 and more, adds them all.
    """
    base, offsets = codes[:, :1], codes[:, 1:]
    if stage is not None and stage < offsets.shape[1]:
        offsets = torch.cat([offsets[:, :stage], torch.zeros_like(offsets[:, stage:])], dim=1)
    return torch.cat([base, base + offsets], dim=1)
