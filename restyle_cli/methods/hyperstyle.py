"""HyperStyle (Alaluf et al. 2022): w stays, the weights of the generator change."""

from __future__ import annotations

from torch import Tensor

from restyle_cli.encoders.hyper import HyperNetwork
from restyle_cli.encoders.small_hyper import SmallHyperNetwork
from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.inversion import State
from restyle_cli.methods.encoder import ReStyle


class HyperStyle(ReStyle):
    """A hypernetwork sees the image and the current reconstruction and predicts weight deltas, which are summed.

    It starts from the w of the previous method of a chain ("e4e-w,hyperstyle:5", as published), or from w_avg.
    """

    encoder: HyperNetwork | SmallHyperNetwork

    def __init__(self, name: str, encoder: HyperNetwork | SmallHyperNetwork, generator: StyleGenerator) -> None:
        """`encoder`: x [N, 6, H, W] -> {convolution of `generator`: delta}; RestyleError if they do not fit."""
        super().__init__(name, encoder, generator)
        shapes = generator.conv_shapes()
        for conv, *shape in encoder.config.targets:
            if shapes.get(conv) != tuple(shape):
                found = f"{'x'.join(map(str, shapes[conv]))} channels" if conv in shapes else "no such convolution"
                raise RestyleError(
                    f"{name} changes the convolution '{conv}' with {'x'.join(map(str, shape))} channels, "
                    f"its generator has {found}",
                    "they do not belong together",
                )

    def start(self, x: Tensor) -> State:
        """w_avg; RestyleError if the generator has none, because this method never changes w."""
        if not self.generator.w_avg.any():
            raise RestyleError(
                f"{self.name} needs a first latent, and its generator has no average latent",
                f'use a W encoder first: --via "e4e-w,{self.name}:{self.default_steps}"',
            )
        return super().start(x)

    def step(self, x: Tensor, state: State) -> State:
        """The same w, rendered with the deltas of before plus H(x ‖ y), where y is the current image."""
        patch = dict(state.patch)
        for conv, delta in self.encoder(self._pair(x, state)).items():
            patch[conv] = patch[conv] + delta if conv in patch else delta
        return self._generate(state.w, patch)
