"""How differently two pictures look, without a trained network: their structure and their edges at several scales.

It stands in for LPIPS where that is not installed, as what an optimisation minimises; it measures nothing that could
be compared with published numbers. At each scale of a pyramid of halved pictures it takes the contrast and structure
term of SSIM (Wang et al. 2004), by box windows, and the mean difference of the steps from pixel to pixel. Both forgive
a difference of brightness, which counts at the smallest scale only, as in MS-SSIM.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 5
SMALLEST = 8
"""Pixels that the shorter side of the smallest scale has at least."""
STABILITY = (0.03 * 2) ** 2
"""SSIM's C2 for pictures from -1 to 1: contrasts far below it count little."""
SOFTNESS = 0.01
"""Differences below it count by their squares, so that their gradient ends at equal pictures."""
EDGES = 0.5
"""The weight of the steps' differences beside the structure's, which is from 0 to 1."""
COLOURS = 0.5
"""The weight of the smallest scale's differences."""


class Structure:
    """Pairs of pictures -> their distance: 0 for equal ones, .3 to 1 for strangers. It has no weights."""

    name = "structure"

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """x, y [N, 3, H, W] in [-1, 1] -> distances [N]."""
        return self.distances(self.features(x), self.features(y))

    def features(self, x: Tensor) -> list[Tensor]:
        """x [N, 3, H, W] and its halvings, the largest first."""
        scales = [x]
        while min(scales[-1].shape[-2:]) >= 2 * SMALLEST:
            scales.append(F.avg_pool2d(scales[-1], 2))
        return scales

    def distances(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        """The `features` of two pictures -> distances [N]: the mean of all scales', and the smallest one's colours."""
        found = [_structure(a, b) + EDGES * _edges(a, b) for a, b in zip(x, y, strict=True)]
        return torch.stack(found).mean(dim=0) + COLOURS * _size(x[-1] - y[-1])


def _structure(x: Tensor, y: Tensor) -> Tensor:
    """Half of 1 - SSIM's contrast and structure term, [N]."""
    mean_x, mean_y = _smooth(x), _smooth(y)
    variances = _smooth(x.square() + y.square()) - mean_x.square() - mean_y.square()
    covariance = _smooth(x * y) - mean_x * mean_y
    alike = (2 * covariance + STABILITY) / (variances + STABILITY)
    return (1 - alike.mean(dim=(1, 2, 3))) / 2


def _smooth(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, WINDOW, stride=1)


def _edges(x: Tensor, y: Tensor) -> Tensor:
    """Mean size of the difference between steps from pixel to pixel, down and across, [N]."""
    difference = x - y
    return _size(difference.diff(dim=2)) + _size(difference.diff(dim=3))


def _size(difference: Tensor) -> Tensor:
    """Its mean size, [N]; near 0 its square."""
    return ((difference.square() + SOFTNESS**2).sqrt() - SOFTNESS).mean(dim=(1, 2, 3))
