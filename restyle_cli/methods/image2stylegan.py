"""Image2StyleGAN (Abdal et al. 2019): one vector for each layer (W+), found by Adam from the average code.

The loss is a perceptual distance, of VGG-16's features in the paper, and the mean square of pixels, both weighing 1;
Adam's rate is .01, its betas .9 and .999. The paper makes 5,000 steps; by 1,000 most is done. As a later link of a
chain it goes on from the code before ("hybrid"), with the generator's weights as they were left.
"""

from __future__ import annotations

from torch import Tensor

from restyle_cli.inversion import MASK, State
from restyle_cli.methods.optimise import Adam, Optimisation, descend_and_draw


class Image2StyleGAN(Optimisation):
    """W+ by Adam; the generator stays."""

    key = "image2stylegan"
    adam = Adam(rate=0.01, betas=(0.9, 0.999))

    def step(self, x: Tensor, state: State) -> State:
        """w one step down the loss."""

        def look(values: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            image = self.generator(values["w"], patch=state.patch).float()
            perceptual, pixels = self.differences(x, image, state.memory.get(MASK))
            return image, perceptual + pixels

        values, image, memory = descend_and_draw({"w": state.w}, look, state.memory, self.adam, self.key)
        return State(values["w"], image, state.patch, memory)
