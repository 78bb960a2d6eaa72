"""Methods whose step is one pass of an encoder: ReStyle (Alaluf et al. 2021), and the pSp and e4e it builds on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from restyle_cli.encoders.base import Encoder
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.images import fit
from restyle_cli.inversion import State

TARGET_SIDE = 256
"""Longer side in px of the images that these encoders take; an encoder may resize them again."""


class SinglePass:
    """pSp and e4e: the encoder sees the image only and predicts w_plus relative to w_avg."""

    needs_encoder = True
    needs_start = False
    compares = False
    takes_mask = False
    default_steps = 1
    max_steps = 1  # a second pass over the same image returns the same w
    input_channels = 3
    keeps_last = False

    def __init__(self, name: str, encoder: Encoder, generator: StyleGenerator, absolute: bool = False) -> None:
        """`encoder`: x [N, C, H, W] -> w_plus [N, L, 512]; `generator`: w_plus and patch -> images [N, 3, H, W].

        `absolute`: the output of the encoder is not relative to w_avg.
        """
        self.name = name
        self.encoder = encoder
        self.generator = generator
        self.absolute = absolute
        self.size = target_size(generator)
        self._start_image: Tensor | None = None

    def start(self, x: Tensor) -> State:
        """w_avg and its image, which is rendered once per device."""
        if self._start_image is None or self._start_image.device != x.device:
            with torch.no_grad():
                self._start_image = self.generator(self.generator.start(1)).float()
        return State(self.generator.start(len(x)), self._start_image.expand(len(x), -1, -1, -1))

    @classmethod
    def accepts(cls, channels: int) -> bool:
        """Whether an encoder with this number of input channels can be used."""
        return channels == cls.input_channels

    def encoder_input(self, x: Tensor) -> Tensor:
        """The encoder's input for images x [N, 3, H, W] in [-1, 1]."""
        return x

    def step(self, x: Tensor, state: State) -> State:
        """w_plus of x; `state` is not used."""
        w = self._predict(x)
        return self._generate(w if self.absolute else self.generator.start(len(x)) + w)

    def _predict(self, x: Tensor) -> Tensor:
        return self.encoder(self.encoder_input(x))

    def _generate(self, w: Tensor, patch: Mapping[str, Tensor] | None = None) -> State:
        return State(w, self.generator(w, patch=patch).float(), patch or {})


class SingleW(SinglePass):
    """One w for all styles: the output of a W encoder, or the base vector of an e4e encoder without its offsets."""

    def _predict(self, x: Tensor) -> Tensor:
        w = super()._predict(x)
        return w[:, :1].expand_as(w)


class ReStyle(SinglePass):
    """The encoder sees the image and the current reconstruction and predicts the residual of w_plus."""

    default_steps = 5
    max_steps = 100  # encoders are trained with 5; beyond about 10 nothing improves
    input_channels = 6  # the image, then the current reconstruction

    def step(self, x: Tensor, state: State) -> State:
        """w + E(x ‖ y), where y is the current image resized to x, as in the original. The patch of `state` is kept."""
        return self._generate(state.w + self.encoder(self._pair(x, state)), state.patch)

    def _pair(self, x: Tensor, state: State) -> Tensor:
        return torch.cat([x, fit(state.image, (x.shape[-2], x.shape[-1]))], dim=1)


def target_size(generator: StyleGenerator) -> tuple[int, int]:
    """(height, width) of the images to invert: the generator's aspect ratio, 256 px along the longer side."""
    height, width = generator.size
    longer = max(height, width)
    return round(height * TARGET_SIDE / longer), round(width * TARGET_SIDE / longer)
