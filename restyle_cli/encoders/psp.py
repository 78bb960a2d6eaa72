"""The pSp encoder with a feature pyramid (Richardson et al. 2021): coarse styles from the last map, others from larger.

The published GradualStyleEncoder (`codes="psp"`) and Encoder4Editing (`codes="e4e"`), with either backbone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.encoders.base import Encoder
from restyle_cli.encoders.heads import StyleHeads
from restyle_cli.encoders.restyle import ReStyleEncoderConfig
from restyle_cli.errors import RestyleError
from restyle_cli.images import fit

COARSE, MIDDLE = 3, 4
"""Styles 0-2 read the last map, 3-6 the one twice as large, the others the one four times as large."""


@dataclass(frozen=True)
class PSPEncoderConfig(ReStyleEncoderConfig):
    """Same as ReStyle's, but single-pass encoders see the image only."""

    input_channels: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.styles <= COARSE + MIDDLE:
            raise RestyleError(
                f"an encoder with a feature pyramid needs more than {COARSE + MIDDLE} styles, not {self.styles}"
            )


class PSPEncoder(Encoder):
    """Image -> w_plus, from three feature maps."""

    Config = PSPEncoderConfig
    config: PSPEncoderConfig

    def __init__(self, config: PSPEncoderConfig) -> None:
        super().__init__(config)
        self.backbone = config.make_backbone()
        _, fine, middle, coarse = config.widths
        self.latlayer1 = nn.Conv2d(middle, coarse, 1)
        self.latlayer2 = nn.Conv2d(fine, coarse, 1)
        side, w_dim = config.side, config.w_dim
        self.coarse = StyleHeads(COARSE, coarse, w_dim, side)
        self.middle = StyleHeads(MIDDLE, coarse, w_dim, 2 * side)
        self.fine = StyleHeads(config.styles - COARSE - MIDDLE, coarse, w_dim, 4 * side)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] in [-1, 1], any size -> w_plus [N, L, w_dim]."""
        _, fine, middle, coarse = self.backbone(fit(x, self.config.input_size))
        middle = _upsample_to(coarse, middle) + self.latlayer1(middle)
        fine = _upsample_to(middle, fine) + self.latlayer2(fine)
        return self.to_w_plus(torch.cat([self.coarse(coarse), self.middle(middle), self.fine(fine)], dim=1))


def _upsample_to(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)
