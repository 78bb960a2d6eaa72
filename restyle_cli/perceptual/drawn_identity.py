"""Who a drawn portrait shows: an embedding that pose, light, expression and clothes leave alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.encoders.small import SmallConfig, SmallNetwork


@dataclass(frozen=True)
class DrawnIdentityConfig(SmallConfig):
    """`size` numbers are an identity."""

    input_channels: int = 3
    size: int = 64


class DrawnIdentity(SmallNetwork):
    """Portrait -> identity: the cosine of two is high for the same person, and low for strangers."""

    Config = DrawnIdentityConfig

    def __init__(self, config: DrawnIdentityConfig) -> None:
        super().__init__(config)
        self.last = nn.Linear(config.hidden, config.size)
        if not self.last.weight.is_meta:  # then the tensors come from a file
            self.init_weights()

    def forward(self, x: Tensor) -> Tensor:
        """x [N, 3, H, W] in [-1, 1], any size, framed as FFHQ -> unit vectors [N, size]."""
        return F.normalize(self.last(self.features(x)), dim=1)

    embed = forward
