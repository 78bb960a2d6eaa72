"""Low-pass filtering for up- and downsampling (Karras et al. 2019, section B; 2020, figure 2).

All StyleGAN2 networks use one separable kernel, [1, 3, 3, 1] / 8 along each axis. It is symmetric, so correlation and
convolution agree. The fast forms are one depthwise convolution; `resample_plain` is the reference (insert zeros, pad,
filter, drop samples).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = (1.0, 3.0, 3.0, 1.0)


def kernel(like: Tensor, gain: float = 1.0) -> Tensor:
    """The filter [4, 4], with sum `gain` and the dtype and device of `like`."""
    taps = torch.tensor(TAPS, dtype=like.dtype, device=like.device)
    square = torch.outer(taps, taps)
    return square * (gain / square.sum())


def _depthwise(like: Tensor, gain: float) -> Tensor:
    return kernel(like, gain).expand(like.shape[1], 1, len(TAPS), len(TAPS))


def blur(x: Tensor, pad: int, gain: float = 1.0, bias: Tensor | None = None) -> Tensor:
    """Filter `x` [N, C, H, W] with `pad` zeros on each side, add `bias` [C]: [N, C, H + 2 pad - 3, W + 2 pad - 3]."""
    return F.conv2d(x, _depthwise(x, gain), bias, padding=pad, groups=x.shape[1])


def upsample2(x: Tensor) -> Tensor:
    """Double the resolution of `x` [N, C, H, W]; a gain of 4 compensates for the inserted zeros."""
    return F.conv_transpose2d(x, _depthwise(x, 4.0), stride=2, padding=1, groups=x.shape[1])


def downsample2(x: Tensor) -> Tensor:
    """Halve the resolution of `x` [N, C, H, W] (H and W even)."""
    return F.conv2d(x, _depthwise(x, 1.0), stride=2, padding=1, groups=x.shape[1])


def resample_plain(x: Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0), gain: float = 1.0) -> Tensor:
    """Reference: insert `up - 1` zeros after each sample, pad (before, after), filter, keep every `down`-th."""
    n, c, h, w = x.shape
    grid = x.new_zeros(n, c, h * up, w * up)
    grid[:, :, ::up, ::up] = x
    grid = F.pad(grid, (*pad, *pad))
    rows = grid.shape[2] - len(TAPS) + 1
    columns = grid.shape[3] - len(TAPS) + 1
    weights = kernel(x, gain)
    out = x.new_zeros(n, c, rows, columns)
    for i in range(len(TAPS)):
        for j in range(len(TAPS)):
            out = out + weights[i, j] * grid[:, :, i : i + rows, j : j + columns]
    return out[:, :, ::down, ::down]
