"""Image2StyleGAN (Abdal et al. 2019): one vector for each layer (W+), found by Adam from the average code.

The loss is a perceptual distance and the mean square of pixels, both weighing 1: the mean squares of VGG-16's maps
behind conv1_1, conv1_2, conv3_2 and conv4_2, of images shrunk to 256 px, and that of pixels at full size, both of
colours from 0 to 255. Adam's rate is 0.01, its betas 0.9 and 0.999. The paper makes 5,000 steps; by 1,000 most is done.
As a later link of a chain it goes on from the code before ("hybrid"), with the generator's weights as they were left.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from restyle_cli.inversion import State
from restyle_cli.methods.optimize import Adam, Optimisation, Perceptual, descend_and_draw
from restyle_cli.perceptual.vgg16 import VGG16

LAYERS = (0, 1, 5, 8)
"""Of VGG-16's convolutions, counted from 0: conv1_1, conv1_2, conv3_2 and conv4_2."""
COLOURS = 127.5
"""Differences of colours from 0 to 255 in those on [-1, 1]."""


class PaperLayers:
    """The paper's layers of VGG-16, beside pixels on [-1, 1] that weigh 1."""

    name = "vgg16"

    def __init__(self, network: VGG16) -> None:
        self.network = network

    def features(self, x: Tensor) -> list[Tensor]:
        """The maps behind `LAYERS`, [N, C, h, w] each."""
        return self.network.maps(x, LAYERS)

    def distances(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        """The `features` of two pictures -> distances [N]."""
        return self.network.distances(x, y) / COLOURS**2


class WPlusOptimisation(Optimisation):
    """What Image2StyleGAN and its successor share: what they compare, and a step of the codes."""

    own_perceptual: ClassVar[str] = "vgg16"
    perceptual_side: ClassVar[int | None] = 256

    def __init__(self, name: str, generator: nn.Module, perceptual: Perceptual) -> None:
        """As `Optimisation`; VGG-16 is asked for the paper's layers."""
        super().__init__(name, generator, PaperLayers(perceptual) if isinstance(perceptual, VGG16) else perceptual)

    def move_codes(self, x: Tensor, state: State, adam: Adam, key: str) -> State:
        """w one step down the loss."""
        target, mask = self.target_and_mask(x, state)

        def look(values: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            image = self.generator(values["w"], patch=state.patch).float()
            perceptual, pixels = self.differences(target, image, mask)
            return image, perceptual + pixels

        values, image, memory = descend_and_draw({"w": state.w}, look, state.memory, adam, key)
        return State(values["w"], image, state.patch, memory)


class Image2StyleGAN(WPlusOptimisation):
    """W+ by Adam; the generator stays."""

    key = "image2stylegan"
    adam = Adam(rate=0.01, betas=(0.9, 0.999))

    def step(self, x: Tensor, state: State) -> State:
        """w one step down the loss."""
        return self.move_codes(x, state, self.adam, self.key)
