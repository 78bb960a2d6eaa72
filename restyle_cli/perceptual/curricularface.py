"""Face embeddings of CurricularFace (Huang et al. 2020), by IR-101.

The published tables measure identity with it, because the methods were trained with ArcFace.
"""

from __future__ import annotations

from dataclasses import dataclass

from restyle_cli.perceptual.arcface import ArcFaceConfig, FaceNetwork


@dataclass(frozen=True)
class CurricularFaceConfig(ArcFaceConfig):
    """ArcFace's config with twice as many units."""

    blocks: tuple[int, ...] = (3, 13, 30, 3)


class CurricularFace(FaceNetwork):
    """IR-101 without squeeze-and-excitation; the last norm has no weight and bias."""

    Config = CurricularFaceConfig

    def __init__(self, config: CurricularFaceConfig) -> None:
        super().__init__(config, squeeze_excite=False, affine=False)
