"""pSp (Richardson et al. 2021): one pass of the encoder, for inversion or image-to-image translation.

Trained on other pairs, the same encoder translates a sketch or a label map to a photo, frontalizes a face, or increases
its resolution. The task follows from the number of input channels, or from the model file.
"""

from __future__ import annotations

from torch import Tensor

from restyle_cli.encoders.base import Encoder
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.methods.encoder import SinglePass
from restyle_cli.methods.inputs import as_labels, as_sketch, shrunk

TASKS = ("photo", "sketch", "labels", "frontal", "super-resolution")
TRANSLATIONS = ("sketch", "labels", "frontal")
"""Tasks whose result should not equal the input, so the L2 between them says nothing."""
VARIANTS = {"frontalize": "frontal", "superres": "super-resolution", "sketch": "sketch", "segmentation": "labels"}
"""From the catalog's variant names to tasks."""
NON_PHOTO = ("sketch", "labels")
"""Tasks whose input is no photo, so no face can be detected in it."""


class PSP(SinglePass):
    """One pass of the encoder. `task`: what it was trained for; `downscale`: factor by which x is shrunk first."""

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        generator: StyleGenerator,
        absolute: bool = False,
        task: str = "photo",
        downscale: int = 1,
    ) -> None:
        """`encoder`: [N, C, H, W] -> w_plus [N, L, 512]; C: 3 for photos, 1 for sketches, else the number of labels."""
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
    """The task of an encoder with this number of input channels; `recorded`: the task in its file, if any."""
    if channels == 3:
        return recorded if recorded in TASKS else "photo"
    return "sketch" if channels == 1 else "labels"
