"""The two backbones of the published encoders, each giving four maps at 1/2, 1/4, 1/8, 1/16 of the input.

The modules bear the names under which the published files keep their weights.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512)
REDUCTION = 16  # of the channels inside squeeze-and-excitation


class Backbone(nn.Module):
    """What both have in common: a stem, and a body of blocks in four stages."""

    blocks: Sequence[int]
    body: nn.Sequential

    @abstractmethod
    def stem(self, x: Tensor) -> Tensor:
        """The layers before the body: x [N, C, H, W] -> [N, widths[0], …]."""

    def stages(self, x: Tensor) -> list[Tensor]:
        """x [N, C, H, W] in [-1, 1] -> the map behind each stage, the finest first."""
        x, maps, layers = self.stem(x), [], iter(self.body)
        for count in self.blocks:
            for _ in range(count):
                x = next(layers)(x)
            maps.append(x)
        return maps


class IRNet(Backbone):
    """The residual network of ArcFace, each stage halving the map; `gated`: with squeeze-and-excitation."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: Sequence[int], gated: bool) -> None:
        super().__init__()
        self.blocks = blocks
        self.input_layer = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.PReLU(widths[0]),
        )
        units: list[nn.Module] = []
        before = widths[0]
        for width, count in zip(widths, blocks, strict=True):
            for index in range(count):
                units.append(IRUnit(before, width, stride=2 if index == 0 else 1, gated=gated))
                before = width
        self.body = nn.Sequential(*units)

    def stem(self, x: Tensor) -> Tensor:
        return self.input_layer(x)


class IRSE50(IRNet):
    """ArcFace's network with squeeze-and-excitation: 24 units."""

    def __init__(self, channels: int, widths: Sequence[int] = WIDTHS, blocks: Sequence[int] = (3, 4, 14, 3)) -> None:
        super().__init__(channels, widths, blocks, gated=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.stages(x)


class IRUnit(nn.Module):
    """Norm, conv, PReLU, conv, norm, with `gated` squeeze-and-excitation, beside a shortcut."""

    def __init__(self, before: int, width: int, stride: int, gated: bool) -> None:
        super().__init__()
        if before == width:
            self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)  # plain subsampling
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(before, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )
        layers = [
            nn.BatchNorm2d(before),
            nn.Conv2d(before, width, 3, padding=1, bias=False),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
        ]
        self.res_layer = nn.Sequential(*layers, SqueezeExcite(width)) if gated else nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from all channels' means."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inside = max(width // REDUCTION, 1)
        self.fc1 = nn.Conv2d(width, inside, 1, bias=False)
        self.fc2 = nn.Conv2d(inside, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(gate))


class ResNet34(Backbone):
    """ResNet34 with a PReLU behind the first convolution and without the max pooling."""

    def __init__(self, channels: int, widths: Sequence[int] = WIDTHS, blocks: Sequence[int] = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.blocks = blocks
        self.conv1 = nn.Conv2d(channels, widths[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu: nn.Module = nn.PReLU(widths[0])
        units: list[nn.Module] = []
        before = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for index in range(count):
                units.append(BasicBlock(before, width, stride=2 if stage > 0 and index == 0 else 1))
                before = width
        self.body = nn.Sequential(*units)

    def stem(self, x: Tensor) -> Tensor:
        return self.relu(self.bn1(self.conv1(x)))

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.stages(x)


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut, a ReLU behind the sum."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.downsample(x))


BACKBONES: dict[str, type[IRSE50] | type[ResNet34]] = {"ir-se50": IRSE50, "resnet34": ResNet34}
