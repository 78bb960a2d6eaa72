"""What a StyleGAN can be and restyle does not support, in one sentence each."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor

from restyle_cli.errors import RestyleError

_LABELS = re.compile(r"(?:.*\.)?(?:\w*embed\w*|label_\w+|class_\w+)(?:\..+)?")
"""Names of tensors that read a label, which comes with the latent code."""


def check_unconditional(what: str, keys: Iterable[str], labels: float = 0) -> None:
    """RestyleError for a generator that needs a label. `labels`: how many it was made for, if that is known."""
    if labels or any(_LABELS.fullmatch(key) for key in keys):
        raise RestyleError(
            f"this {what} is class-conditional (trained with labels), which restyle does not support",
            "use an unconditional one",
        )


def check_images(what: str, first_map: Tensor, to_rgb: Tensor) -> None:
    """RestyleError for a generator whose images are not square or not RGB, by its constant [.., C, 4, 4] and the
    weight [.., 3, C, 1, 1] of a layer that makes an image."""
    height, width = first_map.shape[-2:] if first_map.dim() > 2 else (4, 4)
    if height != width:
        raise RestyleError(
            f"this {what} generates images that are not square (it starts at {height}x{width}), which restyle does not "
            "support",
            "use one of square images",
        )
    if height != 4:
        raise RestyleError(f"this {what} starts at {height}x{width} pixels; restyle supports those that start at 4x4")
    if to_rgb.dim() >= 4 and (channels := to_rgb.shape[-4]) != 3:
        raise RestyleError(
            f"this {what} generates images with {channels} channel{'s' * (channels != 1)}; restyle supports RGB only",
            "use one of RGB images",
        )
