"""Adversarial latent autoencoder (Pidhorskyi et al. 2020): encoder and generator were trained together.

One pass of the encoder returns one w for all layers, in the W space of the generator.
"""

from __future__ import annotations

from restyle_cli.encoders.base import Encoder
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.methods.encoder import SinglePass


class ALAE(SinglePass):
    """One pass of the encoder, which takes images at the size of the generator."""

    def __init__(self, name: str, encoder: Encoder, generator: StyleGenerator, absolute: bool = True) -> None:
        """`encoder`: x [N, 3, H, W] -> w_plus [N, L, w_dim]; its output is never relative to w_avg."""
        super().__init__(name, encoder, generator, absolute=True)
        self.size = generator.size
