"""VGG-16 (Simonyan and Zisserman 2015) up to conv4_3, for the perceptual losses of IDInvert and Image2StyleGAN.

The weights are Caffe's, for colours from 0 to 255 in the order BGR, minus their mean. So squared feature differences
are in the thousands; IDInvert (Zhu et al. 2020) gives them a weight of 5e-5.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.registry import NetworkConfig

MEANS = (103.939, 116.779, 123.68)
"""Mean colours of ImageNet in BGR, from 0 to 255."""
STAGES = (2, 2, 3, 3)
"""Convolutions in each stage; max pooling separates the stages."""


@dataclass(frozen=True)
class VGG16Config(NetworkConfig):
    """`widths`: channels of each convolution."""

    widths: tuple[int, ...] = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512)

    def __post_init__(self) -> None:
        if len(self.widths) != sum(STAGES):
            raise RestyleError(f"VGG-16 has {sum(STAGES)} convolutions up to conv4_3, not {len(self.widths)}")


class VGG16(nn.Module):
    """The mean square difference of features: 0 for equal images, thousands for unrelated ones."""

    Config = VGG16Config
    name = "vgg16"

    def __init__(self, config: VGG16Config) -> None:
        super().__init__()
        self.config = config
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise((3, *config.widths)))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x, y [N, 3, H, W] in [-1, 1] -> distances [N]."""
        return self.distances(self.features(x), self.features(y))

    def features(self, x: Tensor) -> list[Tensor]:
        """The map of conv4_3, [N, 512, H / 8, W / 8]."""
        return self.maps(x, (len(self.convs) - 1,))

    def maps(self, x: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
        """The maps of these convolutions after their ReLU, in order; 0 is conv1_1."""
        means = torch.tensor(MEANS, dtype=x.dtype, device=x.device)
        x = ((x + 1) * 127.5).flip(1) - means[:, None, None]
        pooled = {sum(STAGES[:stage]) for stage in range(1, len(STAGES))}
        found = []
        for index, conv in enumerate(self.convs[: max(layers) + 1]):
            x = torch.relu(conv(F.max_pool2d(x, 2) if index in pooled else x))
            if index in layers:
                found.append(x)
        return found

    def distances(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        """The `features` of two images -> distances [N]."""
        return torch.stack([(a - b).square().mean(dim=(1, 2, 3)) for a, b in zip(x, y, strict=True)]).sum(dim=0)
