"""MS-SSIM (Wang et al. 2003) by the protocol of the published tables.

The published script averages each scale's term over the colours and then multiplies the scales; `pytorch-msssim`
multiplies them for each colour and then averages, which on coloured pictures is another number (.51 for .72). On grey
ones they agree.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restyle_cli.metrics.metric import Column, Metric
from restyle_cli.metrics.pixel import compared

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The share of each scale, the finest first."""
WINDOW, SIGMA = 11, 1.5
RANGE = 2.0
"""From the lowest to the highest value of a picture. The script guesses it, at each scale anew, and may find 1."""
_C1, _C2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2


def ms_ssim(
    x: Tensor,  # [N, 3, H, W] in [-1, 1]
    y: Tensor,  # [N, 3, H, W] in [-1, 1]
) -> Tensor:
    """Multi-scale structural similarity of each pair at 256x256, [N]: 1 for equal pictures.

    Pairs that contradict each other at some scale get 0. The script has NaN there, and leaves them out of its mean.
    """
    x, y = (compared(picture) for picture in (x, y))  # half precision gives equal pictures more than 1
    product = x.new_ones(len(x))
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        luminance, structure = _terms(x, y)
        term = structure if scale < len(WEIGHTS) - 1 else luminance * structure
        product = product * term.mean(dim=(1, 2, 3)).clamp(min=0) ** weight
    return product


def _terms(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """How alike the means are, and how alike contrast and structure, in the window around each value."""
    mean_x, mean_y = _smooth(x), _smooth(y)
    variance_x = _smooth(x * x) - mean_x * mean_x
    variance_y = _smooth(y * y) - mean_y * mean_y
    covariance = _smooth(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x * mean_x + mean_y * mean_y + _C1)
    return luminance, (2 * covariance + _C2) / (variance_x + variance_y + _C2)


def _smooth(x: Tensor) -> Tensor:
    """Gaussian means, only where the whole window lies inside."""
    offsets = torch.arange(WINDOW, device=x.device, dtype=x.dtype) - WINDOW // 2
    taps = torch.softmax(-(offsets**2) / (2 * SIGMA**2), dim=0)
    channels = x.shape[1]
    x = F.conv2d(x, taps.expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(x, taps[:, None].expand(channels, 1, -1, -1), groups=channels)


class MSSSIM(Metric):
    """Likeness of structure at five scales."""

    name = "ms_ssim"
    columns = (Column("ms_ssim", "MS-SSIM", higher=True, equal=1.0),)
    protocol = "on [-1, 1] (data range 2), five scales, each averaged over the colours, as the published script does"

    def look(self, pictures: Tensor) -> Tensor:
        """The pictures at 256x256."""
        return compared(pictures)

    def compare(self, targets: Tensor, results: Tensor) -> Tensor:
        """`ms_ssim` of each pair, [N, 1]."""
        return ms_ssim(targets, results)[:, None]
