"""LPIPS (Zhang et al. 2018), version 0.1, on AlexNet or VGG-16.

The package `lpips` computes the same, but imports torchvision and gets the weights only by download.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.registry import NetworkConfig

MEAN, STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of each colour channel on [-1, 1]."""
EPSILON = 1e-10
PLACES = (0, 3, 6, 8, 10)
"""Indices of the convolutions in torchvision's AlexNet, which are in the names of published tensors."""
VGG_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""The same for VGG-16."""
VGG_STAGES = (2, 2, 3, 3, 3)
"""Convolutions in each stage of VGG-16; the last map of each stage is compared."""


class LPIPSNetwork(nn.Module):
    """Base: the weighted mean square difference of unit features. 0 for equal images, about 0.5 for unrelated ones."""

    def __init__(self, compared: Iterable[int]) -> None:
        """`compared`: the number of channels of each compared map."""
        super().__init__()
        self.weights = nn.ParameterList(torch.full((width,), 1 / width) for width in compared)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x, y [N, 3, H, W] in [-1, 1] -> distances [N]."""
        return self.distances(self.features(x), self.features(y))

    @abstractmethod
    def features(self, x: Tensor) -> list[Tensor]:
        """The compared maps of x [N, 3, H, W], the vector at each position scaled to unit length."""

    def distances(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        """The `features` of two images -> distances [N]."""
        total = x[0].new_zeros(len(x[0]))
        for a, b, weight in zip(x, y, self.weights, strict=True):
            distance = (a - b).square() * weight[:, None, None]
            total = total + distance.sum(dim=1).mean(dim=(1, 2))
        return total


@dataclass(frozen=True)
class LPIPSConfig(NetworkConfig):
    """`widths`: channels of each convolution of AlexNet."""

    widths: tuple[int, ...] = (64, 192, 384, 256, 256)

    def __post_init__(self) -> None:
        if len(self.widths) != len(PLACES):
            raise RestyleError(f"AlexNet has {len(PLACES)} convolutions, not {len(self.widths)}")


class LPIPS(LPIPSNetwork):
    """LPIPS on AlexNet; every convolution is compared."""

    Config = LPIPSConfig
    name = "lpips-alex"
    keep_fp32 = ("convs.0.", "weights.")
    """Small tensors: with these in fp16 as well, distances would be off by up to 4e-4; so it is 5e-5."""

    def __init__(self, config: LPIPSConfig) -> None:
        super().__init__(config.widths)
        self.config = config
        first, *others = pairwise((3, *config.widths))
        self.convs = nn.ModuleList([nn.Conv2d(*first, 11, stride=4, padding=2)])
        self.convs.append(nn.Conv2d(*others[0], 5, padding=2))
        self.convs.extend(nn.Conv2d(*widths, 3, padding=1) for widths in others[1:])

    def features(self, x: Tensor) -> list[Tensor]:
        """Five maps."""
        x, maps = _standardize(x), []
        for index, conv in enumerate(self.convs):
            if index in (1, 2):
                x = F.max_pool2d(x, 3, stride=2)
            x = torch.relu(conv(x))
            maps.append(_unit(x))
        return maps


@dataclass(frozen=True)
class LPIPSVGGConfig(NetworkConfig):
    """`widths`: channels of each convolution of VGG-16."""

    widths: tuple[int, ...] = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)

    def __post_init__(self) -> None:
        if len(self.widths) != len(VGG_PLACES):
            raise RestyleError(f"VGG-16 has {len(VGG_PLACES)} convolutions, not {len(self.widths)}")


class LPIPSVGG(LPIPSNetwork):
    """LPIPS on VGG-16, as in StyleGAN2's projector; the last convolution of each stage is compared."""

    Config = LPIPSVGGConfig
    name = "lpips-vgg"

    def __init__(self, config: LPIPSVGGConfig) -> None:
        super().__init__(config.widths[last - 1] for last in accumulate(VGG_STAGES))
        self.config = config
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise((3, *config.widths)))

    def features(self, x: Tensor) -> list[Tensor]:
        """Five maps."""
        x, maps, convs = _standardize(x), [], iter(self.convs)
        for stage, count in enumerate(VGG_STAGES):
            x = F.max_pool2d(x, 2) if stage else x
            for _ in range(count):
                x = torch.relu(next(convs)(x))
            maps.append(_unit(x))
        return maps


def _standardize(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(values, dtype=x.dtype, device=x.device) for values in (MEAN, STD))
    return (x - mean[:, None, None]) / std[:, None, None]


def _unit(x: Tensor) -> Tensor:
    # Where all channels are 0, vector_norm has a gradient of 0, while that of a square root is not finite.
    return x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + EPSILON)
