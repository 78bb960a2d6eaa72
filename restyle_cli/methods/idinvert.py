"""In-domain inversion (Zhu et al. 2020): an encoder finds the code, and an optimisation refines it within the domain.

Section 3.2 of the paper: Adam goes down the pixels' mean square, a perceptual distance, and the distance between the
code and what the encoder sees in its picture. The last keeps the code where the encoder knows pictures, so that it
stays meaningful and can be edited. Published: weights 1, 5e-5 (of VGG-16's features) and 2, a rate of 0.01, 100 steps.

With a mask the last is left out, as in the published diffusion: the encoder would see what the generator has made up,
and the code would be held to that.
"""

from __future__ import annotations

from torch import Tensor, nn

from restyle_cli.images import fit
from restyle_cli.inversion import State
from restyle_cli.methods.optimize import Adam, Optimisation, Perceptual, descend_and_draw

DOMAIN_WEIGHT = 2.0
PERCEPTUAL_WEIGHTS = {"vgg16": 5e-5}
"""By the perceptual distance's name: VGG-16's squares of features are some thousands."""
OTHER_PERCEPTUAL_WEIGHT = 0.8
"""Of distances from 0 to 1; pSp's, beside pixels that weigh 1 here as there."""


class IDInvert(Optimisation):
    """W+ by Adam, held where the encoder's view of the reconstruction is the code itself.

    Any encoder that sees the picture alone will do, of any generator. As a later link of a chain it goes on from the
    code before.
    """

    needs_encoder = True
    own_perceptual = "vgg16"
    default_steps = 100
    input_channels = 3
    key = "idinvert"
    adam = Adam(rate=0.01)

    def __init__(
        self, name: str, encoder: nn.Module, generator: nn.Module, perceptual: Perceptual, absolute: bool = False
    ) -> None:
        """`encoder`: x [N, 3, H, W] -> codes [N, L, 512]; `absolute`: not their distances from the average."""
        super().__init__(name, generator, perceptual)
        self.encoder = encoder
        self.absolute = absolute
        self.weight = PERCEPTUAL_WEIGHTS.get(perceptual.name, OTHER_PERCEPTUAL_WEIGHT)

    @classmethod
    def accepts(cls, channels: int) -> bool:
        """Whether an encoder of so many input channels serves."""
        return channels == cls.input_channels

    def start(self, x: Tensor) -> State:
        """The encoder's code of x and its picture."""
        return self.drawn(self.seen(x), {}, {})

    def seen(self, x: Tensor) -> Tensor:
        """The code [N, L, 512] that the encoder sees in pictures x [N, 3, H, W]."""
        found = self.encoder(fit(x, self.size) if max(x.shape[-2:]) > max(self.size) else x)
        return found if self.absolute else self.generator.start(len(x)) + found

    def step(self, x: Tensor, state: State) -> State:
        """w one step down the loss."""
        target, mask = self.target_and_mask(x, state)

        def look(values: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            w = values["w"]
            image = self.generator(w, patch=state.patch).float()
            perceptual, pixels = self.differences(target, image, mask)
            loss = pixels + self.weight * perceptual
            if mask is None:
                loss = loss + DOMAIN_WEIGHT * (w - self.seen(image)).square().mean(dim=(1, 2))
            return image, loss

        values, image, memory = descend_and_draw({"w": state.w}, look, state.memory, self.adam, self.key)
        return State(values["w"], image, state.patch, memory)
