"""Image2StyleGAN (Abdal et al. 2019) and Image2StyleGAN++ (Abdal et al. 2020)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from restyle_cli.devices import without_autocast
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.generators.patching import noise_maps
from restyle_cli.images import fit
from restyle_cli.inversion import State, mean_square
from restyle_cli.methods.optimize import Adam, Optimization, exact_changes, steps_made
from restyle_cli.perceptual import Perceptual
from restyle_cli.perceptual.vgg16 import VGG16

LAYERS = (0, 1, 5, 8)
"""conv1_1, conv1_2, conv3_2 and conv4_2 among the convolutions of VGG-16."""
COLOURS = 127.5
"""From colours in [-1, 1] to those in [0, 255]."""


class PaperLayers:
    """The paper's perceptual loss: mean square differences of four layers of VGG-16.

    Scaled for a pixel loss on [-1, 1] of weight 1; in the paper colours are in [0, 255].
    """

    name = "vgg16"

    def __init__(self, network: VGG16) -> None:
        self.network = network

    def features(self, x: Tensor) -> list[Tensor]:
        """The maps of `LAYERS`, [N, C, h, w] each."""
        return self.network.maps(x, LAYERS)

    def distances(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        """The `features` of two images -> distances [N]."""
        return self.network.distances(x, y) / COLOURS**2


class Image2StyleGAN(Optimization):
    """Optimizes w_plus from the average latent, or from that of the previous method.

    The loss is a perceptual distance of images resized to 256 px and the mean square difference of pixels, both of
    weight 1. The paper makes 5,000 steps; after 1,000 little changes.
    """

    own_perceptual = "vgg16"
    perceptual_side: ClassVar[int | None] = 256
    adam = Adam(rate=0.01, betas=(0.9, 0.999))

    def __init__(self, name: str, generator: StyleGenerator, perceptual: Perceptual) -> None:
        """`perceptual`: VGG-16 is used with the paper's layers."""
        super().__init__(name, generator, PaperLayers(perceptual) if isinstance(perceptual, VGG16) else perceptual)

    def step(self, x: Tensor, state: State) -> State:
        """One step of Adam on w."""
        target = self.comparison(x, state)

        def loss(after: State) -> Tensor:
            return target.perceptual_distance(after.image) + target.pixel_distance(after.image)

        return self.descend(state, {"w": state.w}, loss, self.adam)


class Image2StyleGANPlusPlus(Image2StyleGAN):
    """Image2StyleGAN in the first half of the steps; the second half optimizes the noise maps, for the pixels only.

    Noise maps add what latents cannot represent, such as hair and pores. Both are not optimized together: then, as the
    paper found, noise takes over what the latent should do. Without noise maps all steps are those of the first half.
    The learning rate of the noise, 0.1, is not from the paper.

    With a mask only the known pixels are compared and the generator fills in the rest (inpainting). The noise maps then
    also keep the unknown pixels as the latent rendered them.
    """

    has_schedule = True
    noise_adam = Adam(rate=0.1, betas=(0.9, 0.999))

    def step(self, x: Tensor, state: State) -> State:
        """One step of Adam on w, or on the noise maps."""
        stored = noise_maps(self.generator)
        if "rendered" not in state.memory:
            if not stored or (steps_made(state) < max(round(self.steps / 2), 1)).any():
                return super().step(x, state)
            state = replace(state, memory={"rendered": state.image})  # the second half begins
        rendered, target = state.memory["rendered"], self.comparison(x, state)

        def loss(after: State) -> Tensor:
            known = target.pixel_distance(after.image)
            if target.mask is None:
                return known
            with without_autocast(after.image.device):
                weight = 1 - fit(target.mask.float(), (after.image.shape[-2], after.image.shape[-1]))
                return known + mean_square(rendered.float(), after.image, weight)

        changes = exact_changes(state, {name: noise[0] for name, noise in stored.items()})
        after = self.descend(state, changes, loss, self.noise_adam)
        return replace(after, memory={**after.memory, "rendered": rendered})
