"""Pairs of an input and the image it should become: a sketch or a label map, and the photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restyle_cli.data.folder import Original, find_originals, split
from restyle_cli.data.source import Batch, Note
from restyle_cli.errors import RestyleError
from restyle_cli.images import to_tensor

Pair = tuple[str, tuple[Original, Original]]


class Pairs:
    """Images of the folders `inputs` and `targets` that have the same name, apart from the suffix.

    They are taken whole, resized to `size` (height, width); values of label maps (`labels`) are never mixed.
    """

    def __init__(
        self, inputs: Path, targets: Path, size: tuple[int, int], flip: bool, share: float, labels: bool
    ) -> None:
        self.inputs, self.targets, self.size = inputs, targets, size
        self.flip, self.share, self.labels = flip, share, labels
        self.length: int | None = None

    def prepare(self, note: Note) -> None:
        """Find the pairs; images without a partner are named and skipped."""
        inputs, targets = ({_stem(one): one for one in find_originals(path)} for path in (self.inputs, self.targets))
        for name in sorted(inputs.keys() ^ targets.keys()):
            note(f"skipped: '{name}' has no partner of the same name")
        pairs = [(name, (inputs[name], targets[name])) for name in sorted(inputs.keys() & targets.keys())]
        if len(pairs) < 2:
            raise RestyleError(
                f"{str(self.inputs)!r} and {str(self.targets)!r} have fewer than two images with the same names",
                "name each input as its target, for example sketches/anna.png and photos/anna.jpg",
            )
        self.training, self.held_out = split(pairs, self.share)
        self.length = len(self.training)

    def batch(self, indices: Sequence[int], rngs: Sequence[np.random.Generator]) -> Batch:
        """Pairs, half of them mirrored if `flip`."""
        return self._read(
            [self.training[index] for index in indices], [self.flip and rng.random() < 0.5 for rng in rngs]
        )

    def validation(self, count: int) -> Batch:
        """The first held-out pairs."""
        chosen = self.held_out[:count]
        return self._read(chosen, [False] * len(chosen))

    def _read(self, chosen: Sequence[Pair], flips: Sequence[bool]) -> Batch:
        filters = (Image.Resampling.NEAREST if self.labels else Image.Resampling.BILINEAR, Image.Resampling.BILINEAR)
        x, y = (
            torch.stack(
                [self._image(pair[side], filters[side], flip) for (_, pair), flip in zip(chosen, flips, strict=True)]
            )
            for side in (0, 1)
        )
        return Batch(x, y, [name for name, _ in chosen])

    def _image(self, original: Original, filter: Image.Resampling, flip: bool) -> Tensor:
        height, width = self.size
        image = to_tensor(original.open().resize((width, height), filter))
        return image.flip(-1) if flip else image


def _stem(original: Original) -> str:
    return Path(original.name).with_suffix("").as_posix()
