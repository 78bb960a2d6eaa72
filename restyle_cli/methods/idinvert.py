"""In-domain GAN inversion (Zhu et al. 2020): an encoder predicts the latent, then it is optimized (section 3.2)."""

from __future__ import annotations

from torch import Tensor

from restyle_cli.encoders.base import Encoder
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.images import fit
from restyle_cli.inversion import State
from restyle_cli.methods.optimize import Adam, Optimization
from restyle_cli.perceptual import Perceptual

DOMAIN_WEIGHT = 2.0
PERCEPTUAL_WEIGHTS = {"vgg16": 5e-5}
"""By the name of the perceptual network: the squared features of VGG-16 are in the thousands."""
OTHER_PERCEPTUAL_WEIGHT = 0.8
"""Of distances from 0 to 1; pSp's, where pixels have weight 1 as here."""


class IDInvert(Optimization):
    """Optimizes w_plus from the prediction of an encoder, or from the latent of the previous method.

    The loss is the mean square difference of pixels, a perceptual distance, and the mean square difference between w
    and the encoder's prediction for its image. The last keeps the latent in the domain of the encoder, so that it can
    be edited. With a mask it is left out, as in the published diffusion: the encoder would see generated content.
    """

    needs_encoder = True
    own_perceptual = "vgg16"
    default_steps = 100
    adam = Adam(rate=0.01)

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        generator: StyleGenerator,
        perceptual: Perceptual,
        absolute: bool = False,
    ) -> None:
        """`encoder`: x [N, 3, H, W] -> w_plus [N, L, w_dim], relative to w_avg unless `absolute`."""
        super().__init__(name, generator, perceptual)
        self.encoder = encoder
        self.absolute = absolute
        self.weight = PERCEPTUAL_WEIGHTS.get(perceptual.name, OTHER_PERCEPTUAL_WEIGHT)

    def start(self, x: Tensor) -> State:
        """The prediction of the encoder for x and its image."""
        w = self.predict(x)
        return State(w, self.generator(w).float())

    def predict(self, x: Tensor) -> Tensor:
        """w_plus [N, L, w_dim] of images x [N, 3, H, W], which are reduced to `size` if they are larger."""
        w = self.encoder(fit(x, self.size) if max(x.shape[-2:]) > max(self.size) else x)
        return w if self.absolute else self.generator.start(len(x)) + w

    def step(self, x: Tensor, state: State) -> State:
        """One step of Adam on w."""
        target = self.comparison(x, state)

        def loss(after: State) -> Tensor:
            total = target.pixel_distance(after.image) + self.weight * target.perceptual_distance(after.image)
            if target.mask is not None:
                return total
            return total + DOMAIN_WEIGHT * (after.w - self.predict(after.image)).square().mean(dim=(1, 2))

        return self.descend(state, {"w": state.w}, loss, self.adam)
