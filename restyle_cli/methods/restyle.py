"""Methods whose step is one pass of an encoder: ReStyle (Alaluf et al. 2021), and its parents pSp and e4e."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from restyle_cli.encoders.base import Encoder
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.images import fit
from restyle_cli.inversion import State

TARGET_SIDE = 256
"""The longer side of the pictures that these encoders are given, whatever they shrink them to inside."""


class SinglePass:
    """The encoder sees the picture alone and gives the code as its distance from the average: pSp and e4e."""

    needs_encoder = True
    needs_start = False
    compares = False
    default_steps = 1
    max_steps = 1  # a second look at the same picture finds the same code
    input_channels = 3
    keeps_last = False

    def __init__(self, name: str, encoder: Encoder, generator: StyleGenerator, absolute: bool = False) -> None:
        """`encoder`: x [N, C, H, W] -> codes [N, L, 512]; `generator`: codes and patch -> [N, 3, H, W].

        `absolute`: the encoder gives codes, not their distances from the average.
        """
        self.name = name
        self.encoder = encoder
        self.generator = generator
        self.absolute = absolute
        self.size = target_size(generator)
        self._average: Tensor | None = None

    def start(self, x: Tensor) -> State:
        """The average code and its image, which is drawn once and serves every picture."""
        if self._average is None or self._average.device != x.device:
            with torch.no_grad():
                self._average = self.generator(self.generator.start(1)).float()
        return State(self.generator.start(len(x)), self._average.expand(len(x), -1, -1, -1))

    @classmethod
    def accepts(cls, channels: int) -> bool:
        """Whether an encoder of so many input channels serves."""
        return channels == cls.input_channels

    def encoder_input(self, x: Tensor) -> Tensor:
        """What the encoder sees of pictures x [N, 3, H, W]."""
        return x

    def step(self, x: Tensor, state: State) -> State:
        """The code found from x; nothing of `state` is used."""
        found = self._predict(x)
        return self._generate(found if self.absolute else self.generator.start(len(x)) + found)

    def _predict(self, x: Tensor) -> Tensor:
        return self.encoder(self.encoder_input(x))

    def _generate(self, w: Tensor, patch: Mapping[str, Tensor] | None = None) -> State:
        return State(w, self.generator(w, patch=patch).float(), patch or {})


class SingleW(SinglePass):
    """One code for every style: an encoder of a single one, or e4e's base code, which its offsets are left off."""

    def _predict(self, x: Tensor) -> Tensor:
        found = super()._predict(x)
        return found[:, :1].expand_as(found)


class ReStyle(SinglePass):
    """The encoder sees the picture and the current estimate, and gives the correction of the code."""

    default_steps = 5
    max_steps = 100  # the encoder was trained for a handful; after some ten steps nothing changes for the better
    input_channels = 6  # the picture, then the current estimate

    def step(self, x: Tensor, state: State) -> State:
        """w + E(x ‖ y), where y is the current image pooled to the size of x, as in the original.

        Weights that an earlier method changed stay changed, if they are of the same generator's shape.
        """
        return self._generate(state.w + self.encoder(self._pair(x, state)), state.patch)

    def _pair(self, x: Tensor, state: State) -> Tensor:
        return torch.cat([x, fit(state.image, (x.shape[-2], x.shape[-1]))], dim=1)


def target_size(generator: StyleGenerator) -> tuple[int, int]:
    """(height, width) of the pictures to invert: the generator's shape, 256 px along the longer side."""
    height, width = generator.size
    longer = max(height, width)
    return round(height * TARGET_SIDE / longer), round(width * TARGET_SIDE / longer)
