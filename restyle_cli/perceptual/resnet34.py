"""ResNet-34 of ImageNet, the initial weights of encoders for domains other than faces.

Its tensors have the names of the encoders' backbone, which has all of them and a PReLU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.encoders.backbones import WIDTHS, ResNet34
from restyle_cli.registry import NetworkConfig


@dataclass(frozen=True)
class ImageNetResNet34Config(NetworkConfig):
    """`widths` and `blocks` as in the backbone."""

    widths: tuple[int, ...] = WIDTHS
    blocks: tuple[int, ...] = (3, 4, 6, 3)


class ImageNetResNet34(ResNet34):
    """The backbone with the ReLU and max pooling of the published network, without its classifier."""

    Config = ImageNetResNet34Config

    def __init__(self, config: ImageNetResNet34Config) -> None:
        super().__init__(3, config.widths, config.blocks)
        self.config = config
        self.relu = nn.ReLU()

    def stem(self, x: Tensor) -> Tensor:
        return F.max_pool2d(super().stem(x), 3, stride=2, padding=1)
