"""Layers with an equalized learning rate (Karras et al. 2018): weights start as N(0, 1) and are scaled at run time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
GAIN = math.sqrt(2.0)  # keeps the variance after the leaky ReLU, as in StyleGAN2


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2, times sqrt(2)."""
    return F.leaky_relu(x, SLOPE) * GAIN


def pixel_norm(z: Tensor) -> Tensor:
    """Scale each vector of `z` [N, C] to a mean square of 1."""
    return z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)


class EqualLinear(nn.Module):
    """x [..., inputs] -> [..., outputs]. `lr_mul` scales weight and bias at run time, and so their learning rate."""

    def __init__(
        self, inputs: int, outputs: int, bias_init: float = 0.0, lr_mul: float = 1.0, activate: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        nn.init.normal_(self.weight, std=1 / lr_mul)
        self.bias = nn.Parameter(torch.full((outputs,), bias_init / lr_mul))
        self.scale = lr_mul / math.sqrt(inputs)
        self.lr_mul = lr_mul
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.weight * self.scale, self.bias * self.lr_mul)
        return leaky_relu(x) if self.activate else x


class EqualConv2d(nn.Module):
    """Convolution with an equalized learning rate; `padding` None keeps the size at stride 1."""

    def __init__(
        self, inputs: int, outputs: int, size: int, bias: bool = True, stride: int = 1, padding: int | None = None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = 1.0 / math.sqrt(inputs * size * size)
        self.stride = stride
        self.padding = size // 2 if padding is None else padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, stride=self.stride, padding=self.padding)
