"""L2 and MS-SSIM by the protocol of the published tables.

MS-SSIM (Wang et al. 2003): the published script averages each scale's term over the colours and then multiplies the
scales. `pytorch-msssim` multiplies the scales of each colour and then averages, which differs on colour images (0.51
instead of 0.72); on grey images both agree.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restyle_cli import inversion
from restyle_cli.metrics.base import Metric, compared

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The exponent of each scale, the finest first."""
WINDOW, SIGMA = 11, 1.5
RANGE = 2.0
"""Range of the values. The published script guesses it at each scale, and may find 1."""
_C1, _C2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2


class L2(Metric):
    """Mean square difference of the pixels."""

    name = "l2"
    title = "L2"
    protocol = "mean square difference on [-1, 1], four times that on [0, 1]"

    def measure(self, x: Tensor, y: Tensor) -> Tensor:
        """`l2` of each pair, [N]."""
        return l2(x, y)


class MSSSIM(Metric):
    """Structural similarity at five scales."""

    name = "ms_ssim"
    title = "MS-SSIM"
    better = "higher"
    protocol = "on [-1, 1] (data range 2), five scales, each averaged over the colours, as the published script does"

    def measure(self, x: Tensor, y: Tensor) -> Tensor:
        """`ms_ssim` of each pair, [N]."""
        return ms_ssim(x, y)


def l2(
    x: Tensor,  # [N, 3, H, W] in [-1, 1]
    y: Tensor,  # [N, 3, H, W] in [-1, 1]
) -> Tensor:
    """Mean square difference of each pair at 256x256, [N]; four times the value that the range [0, 1] gives."""
    return inversion.l2(compared(x), compared(y))


def ms_ssim(
    x: Tensor,  # [N, 3, H, W] in [-1, 1]
    y: Tensor,  # [N, 3, H, W] in [-1, 1]
) -> Tensor:
    """Multi-scale structural similarity of each pair at 256x256, [N]: 1 for equal images.

    Pairs with a negative term at some scale get 0; the published script has NaN there and leaves them out of its mean.
    """
    x, y = compared(x), compared(y)  # in half precision equal images would have more than 1
    product = x.new_ones(len(x))
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        luminance, structure = _terms(x, y)
        term = structure if scale < len(WEIGHTS) - 1 else luminance * structure
        product = product * term.mean(dim=(1, 2, 3)).clamp(min=0) ** weight
    return product


def _terms(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The luminance term and the contrast-structure term of SSIM at each position."""
    mean_x, mean_y = _smooth(x), _smooth(y)
    variance_x = _smooth(x * x) - mean_x * mean_x
    variance_y = _smooth(y * y) - mean_y * mean_y
    covariance = _smooth(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x * mean_x + mean_y * mean_y + _C1)
    return luminance, (2 * covariance + _C2) / (variance_x + variance_y + _C2)


def _smooth(x: Tensor) -> Tensor:
    """Gaussian means, only where the whole window lies inside the image."""
    offsets = torch.arange(WINDOW, device=x.device, dtype=x.dtype) - WINDOW // 2
    taps = torch.softmax(-(offsets**2) / (2 * SIGMA**2), dim=0)
    channels = x.shape[1]
    x = F.conv2d(x, taps.expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(x, taps[:, None].expand(channels, 1, -1, -1), groups=channels)
