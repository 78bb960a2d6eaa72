"""ReStyle's simplified encoder (Alaluf et al. 2021): all styles read the last map of the backbone, 16x16 at 256 px.

The published BackboneEncoder (`codes="psp"`) and ProgressiveBackboneEncoder (`codes="e4e"`), with either backbone.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from restyle_cli.encoders.backbones import BACKBONES, WIDTHS
from restyle_cli.encoders.base import Encoder, EncoderConfig
from restyle_cli.encoders.heads import StyleHeads
from restyle_cli.errors import RestyleError, did_you_mean
from restyle_cli.images import fit

STRIDE = 16  # of the last map of the backbone


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
        codes = self.heads(self.backbone(fit(x, self.config.input_size))[-1])
        return self.to_w_plus(codes)
