"""Modulated convolution with demodulation (Karras et al. 2020, section 2.2).

The paper scales the weights for every sample: w'_oi = s_i w_oi, then divides by their norm over (i, k, k). In this
form each sample has its own weights and the convolution needs groups (`modulated_conv_plain`). A convolution is linear,
so the factors can be applied to its input channels (s) and output channels (1 / norm) instead, and all samples share
one weight. Which is cheaper depends on the size: where maps are small and weights large, the maps are scaled; where
maps are large, the weights of each sample are scaled, and bias and gain become part of the convolution. With gradients
the maps are always scaled: otherwise the weights of each sample would need gradients, even in a frozen generator.

HyperStyle (Alaluf et al. 2022, section 3.2) changes the weights themselves, by a factor for each sample:
w_n = w (1 + delta_n), before the styles. Then each sample has weights of its own in any case.

Half precision ends at 65504. So, as StyleGAN2-ADA does (Karras et al. 2020, "Training Generative Adversarial Networks
with Limited Data"), weights and styles are scaled to a largest value of 1 before they are multiplied, which
demodulation undoes, and maps are cut to ±256 behind each layer (`clamped`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from restyle_cli.devices import without_autocast
from restyle_cli.ops import fir

EPSILON = 1e-8
CLAMP = 256.0
"""The largest value of a map in half precision."""


def modulated_conv(
    x: Tensor,  # [N, I, H, W]
    weight: Tensor,  # [O, I, k, k]
    styles: Tensor,  # [N, I], including the equalized learning rate's scale of the weight
    demodulate: bool = True,
    up: bool = False,
    delta: Tensor | None = None,  # [N, O, I, k, k], or [N, O, I, 1, 1] for a whole kernel
    bias: Tensor | None = None,  # [O]
    gain: float = 1.0,
) -> Tensor:  # [N, O, H, W], or twice the size with `up`
    """gain * (convolution + bias). `up` doubles the resolution: transposed convolution of stride 2, then the filter.

    In half precision what is not demodulated comes in fp32: there its size is known only afterwards.
    """
    if not in_half(x):
        return _modulated(x, weight, styles, demodulate, up, delta, bias, gain)
    largest = _largest(styles, (1,))
    if demodulate:
        weight = weight / (_largest(weight, (1, 2, 3)) * math.sqrt(weight[0].numel()))
        return _modulated(x, weight, styles / largest, True, up, delta, bias, gain)
    scale = largest * math.sqrt(weight[0].numel())
    y = gain * scale[:, :, None, None] * _modulated(x, weight, styles / scale, False, up, delta, None, 1.0).float()
    return y if bias is None else y + gain * bias[:, None, None]


def in_half(x: Tensor) -> bool:
    """Whether a convolution of x is computed in half precision (fp16)."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device) == torch.float16
    return x.dtype == torch.float16


def clamped(x: Tensor) -> Tensor:
    """x, in half precision cut to ±256."""
    return x.clamp(-CLAMP, CLAMP) if in_half(x) else x


def _largest(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    return values.abs().amax(dims, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)


def _modulated(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    demodulate: bool,
    up: bool,
    delta: Tensor | None,
    bias: Tensor | None,
    gain: float,
) -> Tensor:
    bias = None if bias is None else gain * bias
    if delta is None and (_needs_gradients(x, weight, styles) or not _maps_outweigh(weight, x, up)):
        return _scaled_maps(x, weight, styles, demodulate, up, bias, gain)
    changes = [None] * len(x) if delta is None else delta.unbind()
    samples = zip(x.split(1), styles, changes, strict=True)
    outputs = [_scaled_weights(y, weight, style, demodulate, up, change, bias, gain) for y, style, change in samples]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _needs_gradients(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _maps_outweigh(weight: Tensor, x: Tensor, up: bool) -> bool:
    """Whether the input and output maps of a sample have more elements than the weight."""
    pixels = x.shape[2] * x.shape[3]
    return pixels * (x.shape[1] + weight.shape[0] * (4 if up else 1)) > weight.numel()


def _scaled_maps(
    x: Tensor, weight: Tensor, styles: Tensor, demodulate: bool, up: bool, bias: Tensor | None, gain: float
) -> Tensor:
    x = _convolve(x * styles[:, :, None, None].to(x.dtype), weight, up)
    if demodulate:
        with without_autocast(x.device):
            norm = styles.square() @ weight.square().sum(dim=(2, 3)).t()
        x = x * (gain * torch.rsqrt(norm + EPSILON))[:, :, None, None].to(x.dtype)
    elif gain != 1.0:
        x = x * gain
    return x if bias is None else x + bias[:, None, None].to(x.dtype)


def _scaled_weights(
    x: Tensor,  # [1, I, H, W]
    weight: Tensor,
    style: Tensor,  # [I]
    demodulate: bool,
    up: bool,
    delta: Tensor | None,  # [O, I, k, k] or [O, I, 1, 1]
    bias: Tensor | None,
    gain: float,
) -> Tensor:
    weight = weight * (style[:, None, None] if delta is None else style[:, None, None] * (1 + delta))
    if demodulate:
        norm = weight.square().sum(dim=(1, 2, 3), keepdim=True)
        weight = weight * (gain * torch.rsqrt(norm + EPSILON))
    elif gain != 1.0:
        weight = weight * gain
    return _convolve(x, weight, up, bias)


def _convolve(x: Tensor, weight: Tensor, up: bool, bias: Tensor | None = None) -> Tensor:
    weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
    if up:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        return fir.blur(x, pad=1, gain=4.0, bias=bias)
    return F.conv2d(x, weight, bias, padding=weight.shape[2] // 2)


def modulated_conv_plain(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    demodulate: bool = True,
    up: bool = False,
    delta: Tensor | None = None,
    bias: Tensor | None = None,
    gain: float = 1.0,
) -> Tensor:
    """Reference, as in the papers: grouped convolutions with the weights of each sample."""
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
    x = x.reshape(n, outputs, x.shape[2], x.shape[3])
    return gain * (x if bias is None else x + bias[:, None, None])
