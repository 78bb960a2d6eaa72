"""Encoders that read their codes from the backbone's last map with a single linear layer.

The published BackboneEncoderUsingLastLayerIntoW (pSp), SingleStyleCodeEncoder (e4e) and WEncoder (HyperStyle) give one
code for all styles; BackboneEncoderUsingLastLayerIntoWPlus (pSp) one for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.encoders.base import Encoder
from restyle_cli.encoders.restyle import ReStyleEncoderConfig
from restyle_cli.images import fit
from restyle_cli.ops.layers import EqualLinear

POOLED = 7  # side of the map that the form with many codes keeps


@dataclass(frozen=True)
class WEncoderConfig(ReStyleEncoderConfig):
    """`single`: one code, repeated for every style; otherwise a code for each."""

    input_channels: int = 3
    single: bool = True


class WEncoder(Encoder):
    """Picture -> one code in W, repeated; or a code for each style."""

    Config = WEncoderConfig
    config: WEncoderConfig

    def __init__(self, config: WEncoderConfig) -> None:
        super().__init__(config)
        self.backbone = config.make_backbone()
        width = config.widths[-1]
        if config.single:
            self.linear = EqualLinear(width, config.w_dim)
        else:
            self.norm = nn.BatchNorm2d(width)
            self.squeeze = nn.Linear(width * POOLED**2, width)
            self.linear = EqualLinear(width, config.w_dim * config.styles)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] in [-1, 1], any size -> codes [N, L, w_dim]."""
        last = self.backbone(fit(x, self.config.input_size))[-1]
        if self.config.single:
            code = self.linear(last.mean(dim=(2, 3)))
            return code[:, None].expand(-1, self.config.styles, -1)
        pooled = F.adaptive_avg_pool2d(self.norm(last), POOLED)
        return self.linear(self.squeeze(pooled.flatten(1))).unflatten(1, (self.config.styles, self.config.w_dim))
