"""Perceptual distance: LPIPS (Zhang et al. 2018), version 0.1, on AlexNet or VGG-16.

The package `lpips` computes the same; it loads torchvision, and knows the networks' weights by download only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise

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
VGG_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""As `PLACES`, of VGG-16's."""
VGG_STAGES = (2, 2, 3, 3, 3)
"""VGG-16's convolutions between the poolings; the last of each is compared."""


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
        return _weighted(x, y, self.weights)

    def features(self, x: Tensor) -> list[Tensor]:
        """The map behind each convolution, the vector at each position scaled to unit length."""
        x, maps = _standardised(x), []
        for index, conv in enumerate(self.convs):
            if index in (1, 2):
                x = F.max_pool2d(x, 3, stride=2)
            x = torch.relu(conv(x))
            maps.append(_unit(x))
        return maps


@dataclass(frozen=True)
class LPIPSVGGConfig(NetworkConfig):
    """`widths`: channels behind each of VGG-16's thirteen convolutions."""

    widths: tuple[int, ...] = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)

    def __post_init__(self) -> None:
        if len(self.widths) != len(VGG_PLACES):
            raise RestyleError(f"VGG-16 has {len(VGG_PLACES)} convolutions, not {len(self.widths)}")


class LPIPSVGG(nn.Module):
    """LPIPS on VGG-16, by which StyleGAN2's projector compares; as `LPIPS`."""

    Config = LPIPSVGGConfig
    name = "lpips-vgg"

    def __init__(self, config: LPIPSVGGConfig) -> None:
        super().__init__()
        self.config = config
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise((3, *config.widths)))
        compared = [config.widths[last - 1] for last in accumulate(VGG_STAGES)]
        self.weights = nn.ParameterList(torch.full((width,), 1 / width) for width in compared)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x, y [N, 3, H, W] in [-1, 1] -> distances [N]."""
        return self.distances(self.features(x), self.features(y))

    def distances(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        """The `features` of two pictures -> distances [N]."""
        return _weighted(x, y, self.weights)

    def features(self, x: Tensor) -> list[Tensor]:
        """The map behind the last convolution of each stage, the vector at each position scaled to unit length."""
        x, maps, convs = _standardised(x), [], iter(self.convs)
        for stage, count in enumerate(VGG_STAGES):
            x = F.max_pool2d(x, 2) if stage else x
            for _ in range(count):
                x = torch.relu(next(convs)(x))
            maps.append(_unit(x))
        return maps


def _standardised(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(values, dtype=x.dtype, device=x.device) for values in (MEAN, STD))
    return (x - mean[:, None, None]) / std[:, None, None]


def _unit(x: Tensor) -> Tensor:
    # vector_norm: where all channels are 0 it has a gradient of 0, the square root of a sum has none
    return x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + EPSILON)


def _weighted(x: list[Tensor], y: list[Tensor], weights: Iterable[Tensor]) -> Tensor:
    total = x[0].new_zeros(len(x[0]))
    for a, b, weight in zip(x, y, weights, strict=True):
        distance = (a - b).square() * weight[:, None, None]
        total = total + distance.sum(dim=1).mean(dim=(1, 2))
    return total
