"""Methods whose step is one pass of an encoder: pSp, e4e, ReStyle, HyperStyle and ALAE."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from restyle_cli.encoders.base import Encoder
from restyle_cli.encoders.hyper import HyperNetwork, SmallHyperNetwork
from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.images import fit
from restyle_cli.inversion import Method, State
from restyle_cli.methods.inputs import as_labels, as_sketch, shrunk

TASKS = ("photo", "sketch", "labels", "frontal", "super-resolution")
TRANSLATIONS = ("sketch", "labels", "frontal")
"""Tasks whose result should not equal the input, so the L2 between them says nothing."""
VARIANTS = {"frontalize": "frontal", "superres": "super-resolution", "sketch": "sketch", "segmentation": "labels"}
"""From the catalog's variant names to tasks."""
NON_PHOTO = ("sketch", "labels")
"""Tasks whose input is no photo, so no face can be detected in it."""


class SinglePass(Method):
    """e4e (Tov et al. 2021): the encoder sees the image only and predicts w_plus relative to w_avg.

    A second pass over the same image would return the same w.
    """

    needs_encoder = True

    def __init__(self, name: str, encoder: Encoder, generator: StyleGenerator, absolute: bool = False) -> None:
        """`encoder`: x [N, C, H, W] -> w_plus [N, L, w_dim], relative to w_avg unless `absolute`."""
        super().__init__(name, generator)
        self.encoder = encoder
        self.absolute = absolute

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


class ALAE(SinglePass):
    """Adversarial latent autoencoder (Pidhorskyi et al. 2020): one w for all styles, from images of full size."""

    def __init__(self, name: str, encoder: Encoder, generator: StyleGenerator, absolute: bool = True) -> None:
        """`encoder`: x [N, 3, H, W] -> w_plus [N, L, w_dim]; its output is never relative to w_avg."""
        super().__init__(name, encoder, generator, absolute=True)
        self.size = generator.size


class PSP(SinglePass):
    """pSp (Richardson et al. 2021): one pass of the encoder, for inversion or image-to-image translation.

    Trained on other pairs, the same encoder translates a sketch or a label map to a photo, frontalizes a face, or
    increases its resolution. The task follows from the number of input channels, or from the model file.
    """

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        generator: StyleGenerator,
        absolute: bool = False,
        task: str = "photo",
        downscale: int = 1,
    ) -> None:
        """`encoder`: x [N, C, H, W] -> w_plus; C: 3 for photos, 1 for sketches, else the number of labels.

        `task`: what it was trained for, one of `TASKS`; `downscale`: factor by which x is shrunk first.
        """
        super().__init__(name, encoder, generator, absolute)
        self.task = task
        self.downscale = downscale
        self.keeps_last = task in TRANSLATIONS

    @classmethod
    def accepts(cls, channels: int) -> bool:
        """Any number but 6, which is image and reconstruction."""
        return channels != 6

    def encoder_input(self, x: Tensor) -> Tensor:
        """The encoder's input for images x [N, 3, H, W] in [-1, 1]: [N, C, H, W]."""
        x = shrunk(x, self.downscale)
        if self.task == "sketch":
            return as_sketch(x)
        return as_labels(x, self.encoder.config.input_channels) if self.task == "labels" else x


def task_of(channels: int, recorded: str | None = None) -> str:
    """The task of a pSp encoder with this number of input channels; `recorded`: the task in its file, if any."""
    if channels == 3:
        return recorded if recorded in TASKS else "photo"
    return "sketch" if channels == 1 else "labels"


class ReStyle(SinglePass):
    """ReStyle (Alaluf et al. 2021): the encoder sees image and reconstruction and predicts the residual of w_plus."""

    default_steps = 5
    max_steps = 100  # encoders are trained with 5; beyond about 10 nothing improves
    input_channels = 6  # the image, then the current reconstruction

    def step(self, x: Tensor, state: State) -> State:
        """w + E(x ‖ y), where y is the current image resized to x, as in the original. The patch of `state` is kept."""
        return self._generate(state.w + self.encoder(self._pair(x, state)), state.patch)

    def _pair(self, x: Tensor, state: State) -> Tensor:
        return torch.cat([x, fit(state.image, (x.shape[-2], x.shape[-1]))], dim=1)


class HyperStyle(ReStyle):
    """HyperStyle (Alaluf et al. 2022): a hypernetwork changes the weights of the generator, w stays.

    It sees the image and the current reconstruction and predicts weight deltas, which are summed. It starts from the w
    of the previous method of a chain ("e4e-w,hyperstyle:5", as published), or from w_avg.
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
