"""Encoders that read the last map of the backbone only, 16x16 at 256 px, with either backbone.

`ReStyleEncoder` is ReStyle's simplified encoder (Alaluf et al. 2021), published as BackboneEncoder (`codes="psp"`) and
ProgressiveBackboneEncoder (`codes="e4e"`). `WEncoder` has one linear layer instead of heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.encoders.backbones import BACKBONES, WIDTHS
from restyle_cli.encoders.base import Encoder, EncoderConfig
from restyle_cli.encoders.heads import StyleHeads
from restyle_cli.errors import RestyleError, did_you_mean
from restyle_cli.images import fit
from restyle_cli.ops.layers import EqualLinear

STRIDE = 16  # of the last map of the backbone
POOLED = 7  # side in px of the pooled map from which `WEncoder` reads w_plus


@dataclass(frozen=True)
class ReStyleEncoderConfig(EncoderConfig):
    """`input_size` is (height, width); cars use (192, 256)."""

    backbone: str = "ir-se50"
    input_size: tuple[int, int] = (256, 256)
    widths: tuple[int, ...] = WIDTHS  # channels of the four stages
    blocks: tuple[int, ...] | None = None  # units in each stage; None: as published

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.backbone not in BACKBONES:
            hint = did_you_mean(self.backbone, BACKBONES) or f"available: {', '.join(BACKBONES)}"
            raise RestyleError(f"no backbone named '{self.backbone}'", hint)
        if len(self.widths) != len(WIDTHS) or len(self.blocks or WIDTHS) != len(WIDTHS):
            raise RestyleError(f"a backbone needs {len(WIDTHS)} stages, each with a width and a number of blocks")
        if self.side not in (2**power for power in range(1, 12)):
            raise RestyleError(
                f"the longer side of an encoder's input is {STRIDE} times 2, 4, 8, …, not {max(self.input_size)} px"
            )

    @property
    def side(self) -> int:
        """The longer side of the last map, 0 if `input_size` is no multiple of the stride."""
        return max(self.input_size) // STRIDE if max(self.input_size) % STRIDE == 0 else 0

    def make_backbone(self) -> nn.Module:
        """The backbone with random weights."""
        sizes = {"blocks": self.blocks} if self.blocks is not None else {}
        return BACKBONES[self.backbone](self.input_channels, self.widths, **sizes)


class ReStyleEncoder(Encoder):
    """Image and reconstruction -> w_plus (or its residual), from one feature map."""

    Config = ReStyleEncoderConfig
    config: ReStyleEncoderConfig

    def __init__(self, config: ReStyleEncoderConfig) -> None:
        super().__init__(config)
        self.backbone = config.make_backbone()
        self.heads = StyleHeads(config.styles, config.widths[-1], config.w_dim, config.side)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] in [-1, 1], any size -> w_plus [N, L, w_dim]."""
        return self.to_w_plus(self.heads(self.backbone(fit(x, self.config.input_size))[-1]))


@dataclass(frozen=True)
class WEncoderConfig(ReStyleEncoderConfig):
    """`single`: predict one w, repeated for every style; otherwise w_plus."""

    input_channels: int = 3
    single: bool = True


class WEncoder(Encoder):
    """Image -> one w, repeated for every style, or w_plus.

    The published BackboneEncoderUsingLastLayerIntoW (pSp), SingleStyleCodeEncoder (e4e) and WEncoder (HyperStyle)
    predict one w; BackboneEncoderUsingLastLayerIntoWPlus (pSp) predicts w_plus.
    """

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
