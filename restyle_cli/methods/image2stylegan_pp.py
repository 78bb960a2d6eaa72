"""Image2StyleGAN++ (Abdal et al. 2020): W+ first, then the noise maps, in turn and never together.

The first half of the steps is Image2StyleGAN's: the codes of the layers, down a perceptual distance and the mean square
of pixels, Adam's rate 0.01. The second half leaves them where they are and moves the noise maps down the mean square
alone: they bring what no code draws, hair and pores. Moved together, the paper found, noise takes over what codes
should have done. On a generator without noise inputs all steps are of the first kind. The rate for noise, 0.1, is ours.

With a mask (white: known) only what is known is compared, multiplied by the mask as in the paper, and the generator
fills in the rest (in-painting). While noise moves, the rest is held where the codes left it. A target put together
from two pictures (crossover) needs no mask here: all of it is known.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from restyle_cli.generators.patching import noise_maps
from restyle_cli.images import fit
from restyle_cli.inversion import State, mean_square
from restyle_cli.methods.image2stylegan import WPlusOptimisation
from restyle_cli.methods.optimize import Adam, Perceptual, descend, steps_made

CODES = 0.5
"""The part of the steps that moves the codes, before noise is moved."""


class Image2StyleGANPlusPlus(WPlusOptimisation):
    """W+ by Adam, then the noise maps; the generator stays."""

    default_steps = 1000
    key = "image2stylegan++"
    codes_adam = Adam(rate=0.01, betas=(0.9, 0.999))
    noise_adam = Adam(rate=0.1, betas=(0.9, 0.999))

    def __init__(self, name: str, generator: nn.Module, perceptual: Perceptual) -> None:
        super().__init__(name, generator, perceptual)
        self.steps = self.default_steps

    def over(self, steps: int) -> Image2StyleGANPlusPlus:
        """The same method, its two halves laid out over `steps`."""
        laid = copy.copy(self)
        laid.steps = steps
        return laid

    def step(self, x: Tensor, state: State) -> State:
        """The codes one step down the loss; in the second half of the steps, the noise maps."""
        moved = steps_made(state.memory, f"{self.key}.codes", len(x), x.device)
        if noise_maps(self.generator) and bool((moved >= max(round(CODES * self.steps), 1)).all()):
            return self._move_noise(x, state)
        return self.move_codes(x, state, self.codes_adam, f"{self.key}.codes")

    def _move_noise(self, x: Tensor, state: State) -> State:
        key, stored = f"{self.key}.noise", noise_maps(self.generator)
        target, mask = self.target_and_mask(x, state)
        drawn = state.memory.get(f"{key}.drawn", state.image)  # by the codes, before noise was moved

        def loss(values: dict[str, Tensor]) -> Tensor:
            image = self.generator(state.w, patch={**state.patch, **values}).float()
            known = self.pixel_distance(target, image, mask)
            return known if mask is None else known + self._unknown(drawn, image, mask)

        changes = {name: self._change(name, noise, state) for name, noise in stored.items()}
        changes, memory = descend(changes, loss, state.memory, self.noise_adam, key)
        memory |= {f"{key}.drawn": drawn} | {f"{key}.{name}": change for name, change in changes.items()}
        rounded = {name: change.half() for name, change in changes.items()}
        return self.drawn(state.w, {**state.patch, **rounded}, memory)

    def _change(self, name: str, noise: Tensor, state: State) -> Tensor:
        """How a noise map is changed so far, in full precision: [N, 1, h, w]."""
        before = state.patch.get(name, noise.new_zeros(len(state.w), *noise.shape[1:]))
        return state.memory.get(f"{self.key}.noise.{name}", before.to(noise.dtype))

    def _unknown(self, drawn: Tensor, image: Tensor, mask: Tensor) -> Tensor:
        """How far `image` is, [N], from what the codes have `drawn` where `mask` [N, 1, H, W] is black."""
        with torch.autocast(image.device.type, enabled=False):
            return mean_square(drawn.float(), image, 1 - fit(mask.float(), (image.shape[-2], image.shape[-1])))
