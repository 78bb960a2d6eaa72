"""Identity embeddings of faces: ArcFace (Deng et al. 2019) and CurricularFace (Huang et al. 2020).

Modules have the names that the published checkpoints use.
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
"""The part of an aligned 256 px portrait that the face networks see."""


@dataclass(frozen=True)
class ArcFaceConfig(NetworkConfig):
    """`side`: height and width in px of the face crops; `dimensions`: size of the embedding."""

    widths: tuple[int, ...] = WIDTHS  # channels of the four stages
    blocks: tuple[int, ...] = (3, 4, 14, 3)  # units in each stage
    side: int = 112
    dimensions: int = 512

    def __post_init__(self) -> None:
        if len(self.widths) != len(WIDTHS) or len(self.blocks) != len(WIDTHS):
            raise RestyleError(f"a face network needs {len(WIDTHS)} stages, each with a width and a number of blocks")
        if self.side < STRIDE or self.side % STRIDE:
            raise RestyleError(f"`side` of a face network must be {STRIDE}, {2 * STRIDE}, … px, not {self.side}")


class FaceNetwork(IRNet):
    """Base of the face networks: embeddings of unit length, so that their dot product is the cosine."""

    def __init__(self, config: ArcFaceConfig, squeeze_excite: bool, affine: bool) -> None:
        """`squeeze_excite`: in every unit; `affine`: the last norm has a weight and a bias."""
        super().__init__(3, config.widths, config.blocks, squeeze_excite)
        self.config = config
        width, cells = config.widths[-1], (config.side // STRIDE) ** 2
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(width * cells, config.dimensions),
            nn.BatchNorm1d(config.dimensions, affine=affine),
        )

    def forward(self, portraits: Tensor) -> Tensor:
        """Aligned portraits [N, 3, H, W] in [-1, 1] -> unit embeddings [N, dimensions]."""
        face = fit(portraits, PORTRAIT)[:, :, FACE_ROWS, FACE_COLUMNS]
        return self.embed(fit(face, (self.config.side, self.config.side)))

    def embed(self, faces: Tensor) -> Tensor:
        """Face crops [N, 3, side, side] in [-1, 1] -> unit embeddings [N, dimensions]."""
        return F.normalize(self.output_layer(self.stages(faces)[-1]), dim=1)


class ArcFace(FaceNetwork):
    """ArcFace, an IR-SE50; published as `model_ir_se50.pth`."""

    Config = ArcFaceConfig

    def __init__(self, config: ArcFaceConfig) -> None:
        super().__init__(config, squeeze_excite=True, affine=True)


@dataclass(frozen=True)
class CurricularFaceConfig(ArcFaceConfig):
    """ArcFace's config with twice as many units."""

    blocks: tuple[int, ...] = (3, 13, 30, 3)


class CurricularFace(FaceNetwork):
    """CurricularFace, an IR-101 without squeeze-and-excitation; the last norm has no weight and bias.

    The published tables measure identity with it, because the methods were trained with ArcFace.
    """

    Config = CurricularFaceConfig

    def __init__(self, config: CurricularFaceConfig) -> None:
        super().__init__(config, squeeze_excite=False, affine=False)
