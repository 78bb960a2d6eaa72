"""Perceptual distance: LPIPS (Zhang et al. 2018), version 0.1, on AlexNet.

The package `lpips` computes the same; it loads torchvision, and knows AlexNet's weights by download only.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.registry import NetworkConfig

MEAN, STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of each colour on [-1, 1]."""
EPSILON = 1e-10
PLACES = (0, 3, 6, 8, 10)
"""Of the convolutions among AlexNet's layers, by which published files number them."""


@dataclass(frozen=True)
class LPIPSConfig(NetworkConfig):
    """`widths`: channels behind each of AlexNet's five convolutions."""

    widths: tuple[int, ...] = (64, 192, 384, 256, 256)

    def __post_init__(self) -> None:
        if len(self.widths) != len(PLACES):
            raise RestyleError(f"AlexNet has {len(PLACES)} convolutions, not {len(self.widths)}")


class LPIPS(nn.Module):
    """Pairs of pictures -> their distance: 0 for equal ones, some .5 for strangers."""

    Config = LPIPSConfig
    name = "lpips-alex"

    def __init__(self, config: LPIPSConfig) -> None:
        super().__init__()
        self.config = config
        first, *others = pairwise((3, *config.widths))
        self.convs = nn.ModuleList([nn.Conv2d(*first, 11, stride=4, padding=2)])
        self.convs.append(nn.Conv2d(*others[0], 5, padding=2))
        self.convs.extend(nn.Conv2d(*widths, 3, padding=1) for widths in others[1:])
        self.weights = nn.ParameterList(torch.full((width,), 1 / width) for width in config.widths)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x, y [N, 3, H, W] in [-1, 1] -> distances [N]."""
        return self.distances(self.features(x), self.features(y))

    def distances(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        """The `features` of two pictures -> distances [N]."""
        total = x[0].new_zeros(len(x[0]))
        for a, b, weight in zip(x, y, self.weights, strict=True):
            distance = (a - b).square() * weight[:, None, None]
            total = total + distance.sum(dim=1).mean(dim=(1, 2))
        return total

    def features(self, x: Tensor) -> list[Tensor]:
        """The map behind each convolution, the vector at each position scaled to unit length."""
        mean, std = (torch.tensor(values, dtype=x.dtype, device=x.device) for values in (MEAN, STD))
        x = (x - mean[:, None, None]) / std[:, None, None]
        maps = []
        for index, conv in enumerate(self.convs):
            if index in (1, 2):
                x = F.max_pool2d(x, 3, stride=2)
            x = torch.relu(conv(x))
            # vector_norm: where all channels are 0 it has a gradient of 0, the square root of a sum has none
            maps.append(x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + EPSILON))
        return maps
