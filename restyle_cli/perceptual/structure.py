"""An image distance without a trained network: SSIM structure and edges at several scales.

Methods that optimize use it if LPIPS is not installed. Its values are not comparable with published numbers. Each scale
of an image pyramid adds the contrast-structure term of SSIM (Wang et al. 2004), with box windows, and the mean
difference of image gradients. Both ignore brightness, which counts at the smallest scale only, as in MS-SSIM.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 5
SMALLEST = 8
"""Minimum of the shorter side of the smallest scale, in px."""
STABILITY = (0.03 * 2) ** 2
"""SSIM's C2 for images in [-1, 1]."""
SOFTNESS = 0.01
"""Differences below it count by their squares, so that the gradient vanishes at equal images."""
EDGES = 0.5
"""Weight of the gradient term; the structure term is in [0, 1]."""
COLOURS = 0.5
"""Weight of the colour term, the difference at the smallest scale."""


class Structure:
    """Distance of image pairs: 0 for equal images, 0.3 to 1 for unrelated ones."""

    name = "structure"

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """x, y [N, 3, H, W] in [-1, 1] -> distances [N]."""
        return self.distances(self.features(x), self.features(y))

    def features(self, x: Tensor) -> list[Tensor]:
        """The image pyramid of x [N, 3, H, W], the largest scale first."""
        scales = [x]
        while min(scales[-1].shape[-2:]) >= 2 * SMALLEST:
            scales.append(F.avg_pool2d(scales[-1], 2))
        return scales

    def distances(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        """Distances [N] of two image pyramids (`features`): the mean over all scales, plus the colour term."""
        scales = [_structure(a, b) + EDGES * _edges(a, b) for a, b in zip(x, y, strict=True)]
        return torch.stack(scales).mean(dim=0) + COLOURS * _magnitude(x[-1] - y[-1])


def _structure(x: Tensor, y: Tensor) -> Tensor:
    """(1 - the contrast-structure term of SSIM) / 2, [N]."""
    mean_x, mean_y = _box_filter(x), _box_filter(y)
    variances = _box_filter(x.square() + y.square()) - mean_x.square() - mean_y.square()
    covariance = _box_filter(x * y) - mean_x * mean_y
    similarity = (2 * covariance + STABILITY) / (variances + STABILITY)
    return (1 - similarity.mean(dim=(1, 2, 3))) / 2


def _box_filter(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, WINDOW, stride=1)


def _edges(x: Tensor, y: Tensor) -> Tensor:
    """Mean difference of vertical and horizontal image gradients, [N]."""
    difference = x - y
    return _magnitude(difference.diff(dim=2)) + _magnitude(difference.diff(dim=3))


def _magnitude(difference: Tensor) -> Tensor:
    """Mean absolute value, [N]; quadratic near 0."""
    return ((difference.square() + SOFTNESS**2).sqrt() - SOFTNESS).mean(dim=(1, 2, 3))
