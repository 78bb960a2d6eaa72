"""Image embeddings of MoCo v2 (Chen et al. 2020), a ResNet-50 trained without labels.

They replace face embeddings in domains without faces. Modules have torchvision's names, as in the published checkpoint;
torchvision itself is no dependency, because it fails to import where its build does not match torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.registry import NetworkConfig

SIZE = (224, 224)
STAGES = 4
EXPANSION = 4


@dataclass(frozen=True)
class MoCoConfig(NetworkConfig):
    """`width`: inner channels of the first stage, doubled at each stage; `blocks`: units in each stage."""

    width: int = 64
    blocks: tuple[int, ...] = (3, 4, 6, 3)

    def __post_init__(self) -> None:
        if len(self.blocks) != STAGES:
            raise RestyleError(f"a ResNet needs {STAGES} stages, not {len(self.blocks)}")


class MoCo(nn.Module):
    """Images -> features of unit length, so that their dot product is the cosine."""

    Config = MoCoConfig

    def __init__(self, config: MoCoConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv2d(3, config.width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        in_channels = config.width
        for stage, count in enumerate(config.blocks):
            width, units = config.width * 2**stage, []
            for index in range(count):
                units.append(Bottleneck(in_channels, width, stride=2 if stage > 0 and index == 0 else 1))
                in_channels = width * EXPANSION
            self.add_module(f"layer{stage + 1}", nn.Sequential(*units))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, 3, H, W] in [-1, 1] -> unit features [N, 2048]. Resized to 224x224 without a filter, as published."""
        x = torch.relu(self.bn1(self.conv1(F.interpolate(x, SIZE))))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage in range(STAGES):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return F.normalize(x.mean(dim=(2, 3)), dim=1)


class Bottleneck(nn.Module):
    """Residual block of ResNet-50: 1x1, 3x3 and 1x1 convolutions and a shortcut."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))
