"""Encoders with one linear layer on the last map of the backbone.

The published BackboneEncoderUsingLastLayerIntoW (pSp), SingleStyleCodeEncoder (e4e) and WEncoder (HyperStyle) predict
one w for all styles; BackboneEncoderUsingLastLayerIntoWPlus (pSp) predicts w_plus.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.encoders.base import Encoder
from restyle_cli.encoders.restyle import ReStyleEncoderConfig
from restyle_cli.images import fit
from restyle_cli.ops.layers import EqualLinear

POOLED = 7  # side of the pooled map from which w_plus is read


@dataclass(frozen=True)
class WEncoderConfig(ReStyleEncoderConfig):
    """`single`: predict one w, repeated for every style; otherwise w_plus."""

    input_channels: int = 3
    single: bool = True


class WEncoder(Encoder):
    """Image -> one w, repeated for every style, or w_plus."""

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
        """x [N, C, H, W] in [-1, 1], any size -> w_plus [N, L, w_dim]."""
        last = self.backbone(fit(x, self.config.input_size))[-1]
        if self.config.single:
            w = self.linear(last.mean(dim=(2, 3)))
            return w[:, None].expand(-1, self.config.styles, -1)
        pooled = F.adaptive_avg_pool2d(self.norm(last), POOLED)
        return self.linear(self.squeeze(pooled.flatten(1))).unflatten(1, (self.config.styles, self.config.w_dim))
