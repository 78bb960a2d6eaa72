"""Adversarial latent autoencoder (Pidhorskyi et al. 2020): encoder and generator, which learned W together.

Nothing is inverted: the generator was trained so that its encoder finds the w of what it draws. One look gives one w
for all layers, in the space that the generator draws from.
"""

from __future__ import annotations

from restyle_cli.encoders.base import Encoder
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.methods.restyle import SinglePass


class ALAE(SinglePass):
    """One look of the autoencoder's own encoder, which reads pictures in the size that its generator draws."""

    def __init__(self, name: str, encoder: Encoder, generator: StyleGenerator, absolute: bool = True) -> None:
        """`encoder`: x [N, 3, H, W] -> codes [N, L, w_dim]; its codes are never distances from an average."""
        super().__init__(name, encoder, generator, absolute=True)
        self.size = generator.size
