"""Who is on a portrait: the embedding of ArcFace (Deng et al. 2019), by its residual network IR-SE50.

The modules bear the names of the published `model_ir_se50.pth`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.encoders.backbones import WIDTHS, IRNet
from restyle_cli.errors import RestyleError
from restyle_cli.images import fit
from restyle_cli.registry import NetworkConfig

STRIDE = 16
PORTRAIT = (256, 256)
FACE_ROWS, FACE_COLUMNS = slice(35, 223), slice(32, 220)
"""The part of an aligned 256 px portrait that these networks look at."""


@dataclass(frozen=True)
class ArcFaceConfig(NetworkConfig):
    """`side` is that of the square face crops the network sees."""

    widths: tuple[int, ...] = WIDTHS  # channels of the four stages
    blocks: tuple[int, ...] = (3, 4, 14, 3)  # units in each stage
    side: int = 112
    dimensions: int = 512

    def __post_init__(self) -> None:
        if len(self.widths) != len(WIDTHS) or len(self.blocks) != len(WIDTHS):
            raise RestyleError(f"a face network has {len(WIDTHS)} stages, each with its width and number of blocks")
        if self.side < STRIDE or self.side % STRIDE:
            raise RestyleError(f"a face network's crops have a side of {STRIDE}, {2 * STRIDE}, … px, not {self.side}")


class FaceNetwork(IRNet):
    """What the face networks have in common: embeddings of unit length, whose dot product is their cosine."""

    def __init__(self, config: ArcFaceConfig, gated: bool, scaled: bool) -> None:
        """`gated`: squeeze-and-excitation in the units; `scaled`: the last norm has a weight and a bias."""
        super().__init__(3, config.widths, config.blocks, gated)
        self.config = config
        width, cells = config.widths[-1], (config.side // STRIDE) ** 2
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(width * cells, config.dimensions),
            nn.BatchNorm1d(config.dimensions, affine=scaled),
        )

    def forward(self, portraits: Tensor) -> Tensor:
        """Aligned portraits [N, 3, H, W] in [-1, 1] -> unit embeddings [N, dimensions]."""
        face = fit(portraits, PORTRAIT)[:, :, FACE_ROWS, FACE_COLUMNS]
        return self.embed(fit(face, (self.config.side, self.config.side)))

    def embed(self, faces: Tensor) -> Tensor:
        """Ready face crops [N, 3, side, side] in [-1, 1] -> unit embeddings [N, dimensions]."""
        return F.normalize(self.output_layer(self.stages(faces)[-1]), dim=1)


class ArcFace(FaceNetwork):
    """IR-SE50."""

    Config = ArcFaceConfig

    def __init__(self, config: ArcFaceConfig) -> None:
        super().__init__(config, gated=True, scaled=True)
