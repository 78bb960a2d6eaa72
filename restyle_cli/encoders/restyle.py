"""ReStyle's simplified encoder: every style is read from the backbone's last map, 16x16 at 256 px.

The published BackboneEncoder (`codes="psp"`) and ProgressiveBackboneEncoder (`codes="e4e"`), on either
backbone.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from restyle_cli.encoders.backbones import BACKBONES, WIDTHS
from restyle_cli.encoders.base import Encoder, EncoderConfig
from restyle_cli.encoders.heads import StyleHeads
from restyle_cli.errors import RestyleError, did_you_mean
from restyle_cli.images import fit

STRIDE = 16  # of the backbone's last map


@dataclass(frozen=True)
class ReStyleEncoderConfig(EncoderConfig):
    """`input_size` is (height, width): cars are read at (192, 256)."""

    backbone: str = "ir-se50"
    input_size: tuple[int, int] = (256, 256)
    widths: tuple[int, ...] = WIDTHS  # channels of the four stages
    blocks: tuple[int, ...] | None = None  # in each stage; None: the backbone's own numbers

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.backbone not in BACKBONES:
            hint = did_you_mean(self.backbone, BACKBONES) or f"there is: {', '.join(BACKBONES)}"
            raise RestyleError(f"no backbone named '{self.backbone}'", hint)
        if len(self.widths) != len(WIDTHS) or len(self.blocks or WIDTHS) != len(WIDTHS):
            raise RestyleError(f"a backbone has {len(WIDTHS)} stages, each with its width and number of blocks")
        if self.side not in (2**power for power in range(1, 12)):
            raise RestyleError(
                f"an encoder's longer input side is {STRIDE} times 2, 4, 8, …, not {max(self.input_size)} px"
            )

    @property
    def side(self) -> int:
        """The longer side of the last map."""
        return max(self.input_size) // STRIDE if max(self.input_size) % STRIDE == 0 else 0

    def make_backbone(self) -> nn.Module:
        """The backbone as configured, with random weights."""
        sizes = {"blocks": self.blocks} if self.blocks is not None else {}
        return BACKBONES[self.backbone](self.input_channels, self.widths, **sizes)


class ReStyleEncoder(Encoder):
    """Picture and reconstruction -> codes, all read from one map."""

    Config = ReStyleEncoderConfig
    config: ReStyleEncoderConfig

    def __init__(self, config: ReStyleEncoderConfig) -> None:
        super().__init__(config)
        self.backbone = config.make_backbone()
        self.heads = StyleHeads(config.styles, config.widths[-1], config.w_dim, config.side)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] in [-1, 1], any size -> codes [N, L, w_dim]."""
        codes = self.heads(self.backbone(fit(x, self.config.input_size))[-1])
        return self.to_w_plus(codes)
