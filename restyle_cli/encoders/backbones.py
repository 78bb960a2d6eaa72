"""The two backbones of the published encoders. Both return feature maps at 1/2, 1/4, 1/8 and 1/16 of the input.

Modules have the names that the published checkpoints use.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512)
REDUCTION = 16  # of the channels in squeeze-and-excitation


class Backbone(nn.Module):
    """A stem, and a body of residual units in four stages; `blocks` is the number of units in each."""

    blocks: Sequence[int]
    body: nn.Sequential

    @abstractmethod
    def stem(self, x: Tensor) -> Tensor:
        """The layers before the body: x [N, C, H, W] -> [N, widths[0], H', W']."""

    def stages(self, x: Tensor) -> list[Tensor]:
        """x [N, C, H, W] in [-1, 1] -> the feature map after each stage, the finest first."""
        x, maps, layers = self.stem(x), [], iter(self.body)
        for count in self.blocks:
            for _ in range(count):
                x = next(layers)(x)
            maps.append(x)
        return maps


class IRNet(Backbone):
    """The improved ResNet of ArcFace (Deng et al. 2019); each stage halves the resolution."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: Sequence[int], squeeze_excite: bool) -> None:
        super().__init__()
        self.blocks = blocks
        self.input_layer = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.PReLU(widths[0]),
        )
        units: list[nn.Module] = []
        in_channels = widths[0]
        for width, count in zip(widths, blocks, strict=True):
            for index in range(count):
                units.append(IRUnit(in_channels, width, stride=2 if index == 0 else 1, squeeze_excite=squeeze_excite))
                in_channels = width
        self.body = nn.Sequential(*units)

    def stem(self, x: Tensor) -> Tensor:
        return self.input_layer(x)


class IRSE50(IRNet):
    """IRNet with 24 units and squeeze-and-excitation."""

    def __init__(self, channels: int, widths: Sequence[int] = WIDTHS, blocks: Sequence[int] = (3, 4, 14, 3)) -> None:
        super().__init__(channels, widths, blocks, squeeze_excite=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.stages(x)


class IRUnit(nn.Module):
    """Residual unit: norm, conv, PReLU, conv, norm, and squeeze-and-excitation where asked for."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, squeeze_excite: bool) -> None:
        super().__init__()
        if in_channels == out_channels:
            self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)  # subsampling
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        layers: list[nn.Module] = [
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        if squeeze_excite:
            layers.append(SqueezeExcite(out_channels))
        self.res_layer = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation (Hu et al. 2018): scale each channel by a gate computed from all channel means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // REDUCTION, 1)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(gate))


class ResNet34(Backbone):
    """ResNet-34 with a PReLU after the first convolution and without max pooling."""

    def __init__(self, channels: int, widths: Sequence[int] = WIDTHS, blocks: Sequence[int] = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.blocks = blocks
        self.conv1 = nn.Conv2d(channels, widths[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu: nn.Module = nn.PReLU(widths[0])
        units: list[nn.Module] = []
        in_channels = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for index in range(count):
                units.append(BasicBlock(in_channels, width, stride=2 if stage > 0 and index == 0 else 1))
                in_channels = width
        self.body = nn.Sequential(*units)

    def stem(self, x: Tensor) -> Tensor:
        return self.relu(self.bn1(self.conv1(x)))

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.stages(x)


class BasicBlock(nn.Module):
    """Residual block of ResNet-34: two convolutions and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.downsample(x))


BACKBONES: dict[str, type[IRSE50] | type[ResNet34]] = {"ir-se50": IRSE50, "resnet34": ResNet34}
