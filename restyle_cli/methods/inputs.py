"""The encoder's input for image-to-image translation (pSp: Richardson et al. 2021, section 4).

Sketches, label maps and low-resolution images come as images do, [N, 3, H, W] in [-1, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.images import to_image, to_tensor


class UnfitImage(RestyleError):
    """An image that the encoder cannot take; others of its batch may be fine."""


LUMA = (19595, 38470, 7471)
"""Weights of red, green and blue in grey (ITU-R 601), of 65536, as in Pillow."""
SHARPNESS = -0.5
"""The parameter of the bicubic kernel (Keys 1981)."""


def as_sketch(x: Tensor) -> Tensor:
    """x -> [N, 1, H, W] from 0 (ink) to 1 (paper)."""
    return _grey(x) / 255


def as_labels(x: Tensor, classes: int) -> Tensor:
    """x, a label map whose grey values are the numbers of classes -> one-hot [N, classes, H, W].

    UnfitImage for coloured images, and for a number that is not below `classes`.
    """
    if (x - x[:, :1]).abs().max() > 1e-3:
        raise UnfitImage(
            "this label map is coloured", "write the number of each pixel's class as its grey value, 0 for the first"
        )
    labels = _grey(x)[:, 0].long()
    if (most := int(labels.max())) >= classes:
        raise UnfitImage(
            f"this label map has a class {most}; the model knows those from 0 to {classes - 1}",
            "a photo is no label map: each pixel's grey value is the number of its class",
        )
    return F.one_hot(labels, classes).permute(0, 3, 1, 2).to(x.dtype)


def _grey(x: Tensor) -> Tensor:
    """x as integers from 0 to 255, [N, 1, H, W], as Pillow converts 8-bit images to grey."""
    values = ((x + 1) * 127.5).round()
    weights = torch.tensor(LUMA, dtype=values.dtype, device=x.device)
    return ((values * weights[:, None, None]).sum(dim=1, keepdim=True) + 32768).div(65536).floor()


def shrunk(x: Tensor, factor: int) -> Tensor:
    """x downsampled by `factor` and upsampled again, as in the training of super-resolution.

    Downsampled by a bicubic filter to 8 bits, then upsampled bilinearly by Pillow, as any small image is. RestyleError
    if the image is too small, or its size not divisible by `factor`.
    """
    if factor == 1:
        return x
    height, width = x.shape[-2:]
    if height % factor or width % factor or min(height, width) < 4 * factor:
        raise RestyleError(f"an image of {width}x{height} px cannot be made {factor} times smaller")
    taps = _bicubic(factor).float().to(x)
    before, after = 3 * factor // 2, 3 * factor - 3 * factor // 2
    small = F.pad((x + 1) / 2, (before, after, before, after), mode="reflect")
    for taps_here, stride in ((taps[:, None], (factor, 1)), (taps[None], (1, factor))):
        small = F.conv2d(small, taps_here.expand(x.shape[1], 1, -1, -1), stride=stride, groups=x.shape[1])
    images = [to_tensor(to_image(one), (height, width)) for one in small.clamp(0, 1) * 2 - 1]
    return torch.stack(images).to(x)


def _bicubic(factor: int) -> Tensor:
    """The 4 `factor` taps of the kernel, with sum 1."""
    x = ((torch.arange(4 * factor, dtype=torch.float64) - 2 * factor + 0.5) / factor).abs()
    a = SHARPNESS
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    taps = torch.where(x <= 1, near, far)
    return taps / taps.sum()
