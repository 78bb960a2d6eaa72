"""HyperStyle (Alaluf et al. 2022): the code stays, the generator's weights move towards the picture."""

from __future__ import annotations

from torch import Tensor

from restyle_cli.encoders.hyper import HyperNetwork
from restyle_cli.encoders.small_hyper import SmallHyperNetwork
from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.inversion import State
from restyle_cli.methods.restyle import ReStyle


class HyperStyle(ReStyle):
    """A hypernetwork sees the picture and the current estimate, and gives changes of the weights, which add up.

    It goes on from the code of the method before it in a chain ("e4e-w,hyperstyle:5", as published), or, alone, from
    the average code.
    """

    encoder: HyperNetwork | SmallHyperNetwork

    def __init__(self, name: str, encoder: HyperNetwork | SmallHyperNetwork, generator: StyleGenerator) -> None:
        """`encoder`: x [N, 6, H, W] -> {convolution of `generator`: delta}; RestyleError if they do not fit."""
        super().__init__(name, encoder, generator)
        shapes = generator.conv_shapes()
        for conv, *shape in encoder.config.targets:
            if shapes.get(conv) != tuple(shape):
                wide = f"{'x'.join(map(str, shapes[conv]))} channels" if conv in shapes else "no such convolution"
                raise RestyleError(
                    f"{name} changes the convolution '{conv}' of {'x'.join(map(str, shape))} channels, "
                    f"its generator has {wide}",
                    "they do not belong together",
                )

    def start(self, x: Tensor) -> State:
        """The average code; RestyleError if the generator has none, for it is never corrected."""
        if not self.generator.w_avg.any():
            raise RestyleError(
                f"{self.name} needs a first code, and its generator brings no average",
                f'find one with a W encoder: --via "e4e-w,{self.name}:{self.default_steps}"',
            )
        return super().start(x)

    def step(self, x: Tensor, state: State) -> State:
        """The same code, drawn with the weights' deltas increased by H(x ‖ y); deltas are zero at first."""
        patch = dict(state.patch)
        for conv, delta in self.encoder(self._pair(x, state)).items():
            patch[conv] = patch[conv] + delta if conv in patch else delta
        return self._generate(state.w, patch)
