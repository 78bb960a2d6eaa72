"""Who is on a portrait, by another network than trainings minimise: CurricularFace (Huang et al. 2020), IR-101.

The published tables measure identity with it, so that a method trained with ArcFace is not its own judge.
"""

from __future__ import annotations

from dataclasses import dataclass

from restyle_cli.perceptual.arcface import ArcFaceConfig, FaceNetwork


@dataclass(frozen=True)
class CurricularFaceConfig(ArcFaceConfig):
    """As ArcFace's, with twice as many units."""

    blocks: tuple[int, ...] = (3, 13, 30, 3)


class CurricularFace(FaceNetwork):
    """IR-101: no squeeze-and-excitation, and a last norm without weight and bias."""

    Config = CurricularFaceConfig

    def __init__(self, config: CurricularFaceConfig) -> None:
        super().__init__(config, gated=False, scaled=False)
