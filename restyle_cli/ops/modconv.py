"""Modulated convolution with demodulation (Karras et al. 2020, section 2.2).

The paper scales the weights for every sample: w'_oi = s_i w_oi, then divides by their norm over (i, k, k). Written so,
each sample has weights of its own and the convolution must run in groups (`modulated_conv_plain`). A convolution is
linear, so scaling the *input* channels by s and the *output* channels by 1 / norm is the same function with one shared
weight (`modulated_conv`): one large convolution instead of N small ones, and nothing of size N·O·I·k·k in memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restyle_cli.ops import fir

EPSILON = 1e-8


def modulated_conv(
    x: Tensor,  # [N, I, H, W]
    weight: Tensor,  # [O, I, k, k], already scaled by its equalised learning rate
    styles: Tensor,  # [N, I]
    demodulate: bool = True,
    up: bool = False,
) -> Tensor:  # [N, O, H, W], or twice the size with `up`
    """The fast form. `up` doubles the resolution: transposed convolution of stride 2, then the low-pass filter."""
    x = x * styles[:, :, None, None].to(x.dtype)
    if up:
        x = F.conv_transpose2d(x, weight.transpose(0, 1).to(x.dtype), stride=2)
        x = fir.blur(x, pad=1, gain=4.0)
    else:
        x = F.conv2d(x, weight.to(x.dtype), padding=weight.shape[2] // 2)
    if demodulate:
        norm = styles.square() @ weight.square().sum(dim=(2, 3)).t()
        x = x * torch.rsqrt(norm + EPSILON)[:, :, None, None].to(x.dtype)
    return x


def modulated_conv_plain(
    x: Tensor, weight: Tensor, styles: Tensor, demodulate: bool = True, up: bool = False
) -> Tensor:
    """The paper's form, sample by sample through grouped convolutions; same arguments, same result."""
    n, _, h, w = x.shape
    outputs, inputs, size, _ = weight.shape
    per_sample = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        per_sample = per_sample * torch.rsqrt(per_sample.square().sum(dim=(2, 3, 4), keepdim=True) + EPSILON)
    x = x.reshape(1, n * inputs, h, w)
    if up:
        grouped = per_sample.transpose(1, 2).reshape(n * inputs, outputs, size, size)
        x = F.conv_transpose2d(x, grouped, stride=2, groups=n)
        x = fir.resample_plain(x, pad=(1, 1), gain=4.0)
    else:
        grouped = per_sample.reshape(n * outputs, inputs, size, size)
        x = F.conv2d(x, grouped, padding=size // 2, groups=n)
    return x.reshape(n, outputs, x.shape[2], x.shape[3])
