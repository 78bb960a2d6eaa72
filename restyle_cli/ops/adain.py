"""Operations of StyleGAN (Karras et al. 2019) and of the encoders that mirror it (ALAE): AdaIN, filter, resampling.

Resampling is a 3x3 convolution with nearest-neighbour upsampling before it, or average pooling after it. Both are
linear, so they combine into one convolution of stride 2 with a 4x4 kernel: 16 multiplications per output instead of
36. The two-step forms (`…_plain`) are the reference.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-8
TAPS = (1.0, 2.0, 1.0)


def instance_norm(x: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Each map of x [N, C, H, W] with mean 0 and standard deviation 1."""
    return F.instance_norm(x, eps=epsilon)


def instance_statistics(x: Tensor) -> Tensor:
    """Means, then standard deviations of the maps of x [N, C, H, W]: [N, 2 C]."""
    variance, mean = torch.var_mean(x, dim=(2, 3), unbiased=False)
    return torch.cat([mean, variance.clamp_min(EPSILON**2).sqrt()], dim=1)  # sqrt has no gradient at 0


def stylise(
    x: Tensor,  # [N, C, H, W]
    style: Tensor,  # [N, 2 C]: scale - 1, then shift
) -> Tensor:
    """AdaIN: instance norm, then the scale and shift of the style."""
    scale, shift = style[:, :, None, None].to(x.dtype).chunk(2, dim=1)
    return torch.addcmul(shift, instance_norm(x), scale + 1)


def smooth(x: Tensor) -> Tensor:
    """x [N, C, H, W] filtered by [1, 2, 1] / 4 along both axes, with zero padding."""
    taps = torch.tensor(TAPS, dtype=x.dtype, device=x.device)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    return F.conv2d(x, kernel.expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])


def up_conv(x: Tensor, weight: Tensor) -> Tensor:
    """Upsample x [N, I, H, W] by 2 (nearest), then convolve with weight [O, I, 3, 3]: [N, O, 2 H, 2 W]."""
    kernel = _spread(weight.flip(2, 3)).transpose(0, 1)  # a transposed convolution flips its kernel
    return F.conv_transpose2d(x, kernel, stride=2, padding=1)


def up_conv_plain(x: Tensor, weight: Tensor) -> Tensor:
    """Reference of `up_conv`, in two steps."""
    return F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, padding=1)


def down_conv(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve x [N, I, H, W] with weight [O, I, 3, 3], then average 2x2: [N, O, H / 2, W / 2]; H and W are even."""
    return F.conv2d(x, _spread(weight) / 4, stride=2, padding=1)


def down_conv_plain(x: Tensor, weight: Tensor) -> Tensor:
    """Reference of `down_conv`, in two steps."""
    return F.avg_pool2d(F.conv2d(x, weight, padding=1), 2)


def _spread(weight: Tensor) -> Tensor:
    """[O, I, 3, 3] -> [O, I, 4, 4]: the sum of the kernel and its copies shifted by one pixel down, right and both."""
    return (
        F.pad(weight, (0, 1, 0, 1))
        + F.pad(weight, (1, 0, 0, 1))
        + F.pad(weight, (0, 1, 1, 0))
        + F.pad(weight, (1, 0, 1, 0))
    )
