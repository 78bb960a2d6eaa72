"""Modulated convolution with demodulation (Karras et al. 2020, section 2.2).

The paper scales the weights for every sample: w'_oi = s_i w_oi, then divides by their norm over (i, k, k). Written so,
each sample has weights of its own and the convolution must run in groups (`modulated_conv_plain`). A convolution is
linear, so scaling the *input* channels by s and the *output* channels by 1 / norm is the same function with one shared
weight (`modulated_conv`): one large convolution instead of N small ones, and nothing of size N·O·I·k·k in memory.

HyperStyle (Alaluf et al. 2022, section 3.2) changes the weights themselves, by a factor for each sample:
w_n = w (1 + delta_n), before the styles. Only then has each sample weights of its own.
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
    delta: Tensor | None = None,  # [N, O, I, k, k], or [N, O, I, 1, 1] for all of a kernel
) -> Tensor:  # [N, O, H, W], or twice the size with `up`
    """The fast form. `up` doubles the resolution: transposed convolution of stride 2, then the low-pass filter.

    With `delta` the samples are computed one by one, each with its weight * (1 + delta): of the changed weights
    those of one sample are in memory, and a grouped convolution is no faster.
    """
    if delta is not None:
        samples = zip(x.split(1), styles.split(1), delta.unbind(), strict=True)
        return torch.cat([modulated_conv(y, weight * (1 + d), s, demodulate, up) for y, s, d in samples])
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
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    demodulate: bool = True,
    up: bool = False,
    delta: Tensor | None = None,
) -> Tensor:
    """The papers' form, sample by sample through grouped convolutions; same arguments, same result."""
    n, _, h, w = x.shape
    outputs, inputs, size, _ = weight.shape
    per_sample = weight[None] if delta is None else weight[None] * (1 + delta)
    per_sample = per_sample * styles[:, None, :, None, None]
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
