"""What encoders are given that make faces of something else than photos (pSp: Richardson et al. 2021, section 4).

Pictures come as photos do, [N, 3, H, W] in [-1, 1]; here they become what the encoder was trained with.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.images import to_image, to_tensor


class UnfitPicture(RestyleError):
    """A picture that an encoder cannot be given; others of its batch can."""


LUMA = (19595, 38470, 7471)
"""Red, green and blue in grey, of 65536 parts, as Pillow takes them (ITU-R 601)."""
SHARPNESS = -0.5
"""The parameter of the bicubic kernel (Keys 1981)."""


def as_sketch(x: Tensor) -> Tensor:
    """x -> [N, 1, H, W] from 0, ink, to 1, paper."""
    return _grey(x) / 255


def as_labels(x: Tensor, classes: int) -> Tensor:
    """x, grey values that are numbers of classes -> [N, classes, H, W], 1 where a class is, else 0.

    UnfitPicture for coloured pictures, and for a class that is none of `classes`.
    """
    if (x - x[:, :1]).abs().max() > 1e-3:
        raise UnfitPicture(
            "this label map is coloured", "write the number of each pixel's class as its grey value, 0 for the first"
        )
    labels = _grey(x)[:, 0].long()
    if (most := int(labels.max())) >= classes:
        raise UnfitPicture(
            f"this label map has a class {most}; the model knows those from 0 to {classes - 1}",
            "a photo is no label map: each pixel's grey value is the number of its class",
        )
    return F.one_hot(labels, classes).permute(0, 3, 1, 2).to(x.dtype)


def _grey(x: Tensor) -> Tensor:
    """x as whole numbers from 0 to 255, [N, 1, H, W], as Pillow makes grey of 8-bit pictures."""
    values = ((x + 1) * 127.5).round()
    weights = torch.tensor(LUMA, dtype=values.dtype, device=x.device)
    return ((values * weights[:, None, None]).sum(dim=1, keepdim=True) + 32768).div(65536).floor()


def shrunk(x: Tensor, factor: int) -> Tensor:
    """x as a picture `factor` times smaller and made large again, as super-resolution was trained.

    Shrunk by a bicubic filter to 8 bits, then enlarged bilinearly by Pillow, like any small photo. RestyleError when
    nothing would be left.
    """
    if factor == 1:
        return x
    height, width = x.shape[-2:]
    if height % factor or width % factor or min(height, width) < 4 * factor:
        raise RestyleError(f"a picture of {width}x{height} px cannot be made {factor} times smaller")
    taps = _bicubic(factor).float().to(x)
    before, after = 3 * factor // 2, 3 * factor - 3 * factor // 2
    small = F.pad((x + 1) / 2, (before, after, before, after), mode="reflect")
    for taps_here, stride in ((taps[:, None], (factor, 1)), (taps[None], (1, factor))):
        small = F.conv2d(small, taps_here.expand(x.shape[1], 1, -1, -1), stride=stride, groups=x.shape[1])
    pictures = [to_tensor(to_image(one), (height, width)) for one in small.clamp(0, 1) * 2 - 1]
    return torch.stack(pictures).to(x)


def _bicubic(factor: int) -> Tensor:
    """The kernel's 4 `factor` taps, which sum to 1."""
    x = ((torch.arange(4 * factor, dtype=torch.float64) - 2 * factor + 0.5) / factor).abs()
    a = SHARPNESS
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    taps = torch.where(x <= 1, near, far)
    return taps / taps.sum()
