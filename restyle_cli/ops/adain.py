"""Operations of the first StyleGAN (Karras et al. 2019): instance norm and styles, its filter, its changes of size.

They serve the generators of that paper and the encoders that mirror them (ALAE).

A change of resolution is a nearest-neighbour or an averaging one beside a 3×3 convolution. Both are linear, so that
together they are one convolution of stride 2 with a 4×4 kernel, which multiplies 16 times where the two steps do
36 times. The two-step forms (`…_plain`) are the definition.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-8
TAPS = (1.0, 2.0, 1.0)


def instance_norm(x: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Each map of x [N, C, H, W] less its mean, over its standard deviation."""
    return F.instance_norm(x, eps=epsilon)


def instance_statistics(x: Tensor) -> Tensor:
    """Mean, then standard deviation of each map of x [N, C, H, W]: [N, 2 C]."""
    variance, mean = torch.var_mean(x, dim=(2, 3), unbiased=False)
    return torch.cat([mean, variance.clamp_min(EPSILON**2).sqrt()], dim=1)  # a root has no gradient at 0


def stylise(
    x: Tensor,  # [N, C, H, W]
    style: Tensor,  # [N, 2 C]: what is added to a scale of 1, then the shift
) -> Tensor:
    """AdaIN: the normalised map, scaled and shifted as the style says."""
    scale, shift = style[:, :, None, None].to(x.dtype).chunk(2, dim=1)
    return torch.addcmul(shift, instance_norm(x), scale + 1)


def smooth(x: Tensor) -> Tensor:
    """x [N, C, H, W] filtered by [1, 2, 1] / 4 along both axes; what lies beyond the border is zero."""
    taps = torch.tensor(TAPS, dtype=x.dtype, device=x.device)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    return F.conv2d(x, kernel.expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])


def up_conv(x: Tensor, weight: Tensor) -> Tensor:
    """x [N, I, H, W] made twice as large, then a convolution with weight [O, I, 3, 3]: [N, O, 2 H, 2 W]."""
    kernel = _spread(weight.flip(2, 3)).transpose(0, 1)  # a transposed convolution turns its kernel
    return F.conv_transpose2d(x, kernel, stride=2, padding=1)


def up_conv_plain(x: Tensor, weight: Tensor) -> Tensor:
    """What `up_conv` computes, in two steps."""
    return F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, padding=1)


def down_conv(x: Tensor, weight: Tensor) -> Tensor:
    """A convolution with weight [O, I, 3, 3], then the mean of each four: [N, O, H / 2, W / 2] (H and W even)."""
    return F.conv2d(x, _spread(weight) / 4, stride=2, padding=1)


def down_conv_plain(x: Tensor, weight: Tensor) -> Tensor:
    """What `down_conv` computes, in two steps."""
    return F.avg_pool2d(F.conv2d(x, weight, padding=1), 2)


def _spread(weight: Tensor) -> Tensor:
    """[O, I, 3, 3] -> [O, I, 4, 4]: the kernel and its copies moved by one pixel down, right and both, summed."""
    return (
        F.pad(weight, (0, 1, 0, 1))
        + F.pad(weight, (1, 0, 0, 1))
        + F.pad(weight, (0, 1, 1, 0))
        + F.pad(weight, (1, 0, 1, 0))
    )
