"""pSp (Richardson et al. 2021): one look at a picture, or at something that a picture is to be made of.

The same encoder, trained with other pairs, makes a photo of a sketch or of a label map, turns a face to the front, or
makes a sharp face of a tiny one. What it is given then is told apart by its input's channels, and the rest by its file.
"""

from __future__ import annotations

from torch import Tensor

from restyle_cli.encoders.base import Encoder
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.methods.inputs import as_labels, as_sketch, shrunk
from restyle_cli.methods.restyle import SinglePass

TASKS = ("photo", "sketch", "labels", "frontal", "super-resolution")
TRANSLATIONS = ("sketch", "labels", "frontal")
"""Tasks whose results are not to resemble what was given: the step of lowest L2 means nothing there."""
VARIANTS = {"frontalize": "frontal", "superres": "super-resolution", "sketch": "sketch", "segmentation": "labels"}
"""Tasks by what the catalog calls such networks."""
NON_PHOTO = ("sketch", "labels")
"""Tasks that are given no photo: there is no face to find."""


class PSP(SinglePass):
    """One look; `task` is what the encoder was trained for, `downscale` how much smaller it is to see the picture."""

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        generator: StyleGenerator,
        absolute: bool = False,
        task: str = "photo",
        downscale: int = 1,
    ) -> None:
        """`encoder`: [N, C, H, W] -> codes [N, L, 512], C 3 for photos, 1 for sketches, else a label map's classes."""
        super().__init__(name, encoder, generator, absolute)
        self.task = task
        self.downscale = downscale
        self.keeps_last = task in TRANSLATIONS

    @classmethod
    def accepts(cls, channels: int) -> bool:
        """All but 6: that is a picture beside its reconstruction."""
        return channels != 6

    def encoder_input(self, x: Tensor) -> Tensor:
        """x [N, 3, H, W] in [-1, 1] as the encoder was trained to see it: [N, C, H, W]."""
        x = shrunk(x, self.downscale)
        if self.task == "sketch":
            return as_sketch(x)
        return as_labels(x, self.encoder.config.input_channels) if self.task == "labels" else x


def task_of(channels: int, recorded: str | None = None) -> str:
    """What an encoder of so many input channels does, where its file tells nothing (`told`) of it."""
    if channels == 3:
        return recorded if recorded in TASKS else "photo"
    return "sketch" if channels == 1 else "labels"
