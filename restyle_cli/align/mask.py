"""Masks: which pixels of a photo an inversion fits, and a second photo for the rest (crossover).

A mask is an image with the shape of the photo: white is fitted, black or transparent is unknown, grey counts in part.
It is cropped and rotated like the photo. A second photo, aligned by its own face, replaces the black part.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restyle_cli.align import Aligned, AlignOptions, Size, align_image
from restyle_cli.errors import RestyleError
from restyle_cli.images import open_image, open_original
from restyle_cli.io import reason_of
from restyle_cli.store.paths import sha256

SOFT = 0.01  # standard deviation of the blur of the edge between two photos, as a fraction of the image's side
GREY = 128  # level of unknown pixels
_SHAPE_TOLERANCE = 0.02


@dataclass(frozen=True)
class Mask:
    """The file of a mask, and of the photo for its black part."""

    path: Path
    crossover: Path | None = None
    _crops: dict[Size, Image.Image] = field(default_factory=dict, repr=False, compare=False)

    def settings(self) -> dict[str, str]:
        """SHA-256 of the files, for the settings of a result. RestyleError if one cannot be read."""
        try:
            files = {"mask": sha256(self.path)}
            return files if self.crossover is None else files | {"crossover": sha256(self.crossover)}
        except OSError as error:
            option = "--mask" if error.filename == str(self.path) else "--crossover"
            message = f"cannot read {error.filename!r}: {reason_of(error)}"
            raise RestyleError(message, f"check the name after {option}") from error

    def apply(
        self, aligned: Aligned, photo: tuple[int, int], options: AlignOptions, size: Size
    ) -> tuple[Aligned, Tensor]:
        """The aligned photo with its black part replaced, and the weight of each pixel, [1, H, W] from 0 to 1.

        `photo`: width and height of the upright photo; `size`: height and width of the crop. RestyleError if the mask
        has another shape than the photo, or is black over the whole crop.
        """
        mask = self._grey
        if abs(mask.width * photo[1] - mask.height * photo[0]) > _SHAPE_TOLERANCE * mask.width * photo[1]:
            raise RestyleError(
                f"the mask {str(self.path)!r} is {mask.width}x{mask.height}, the photo {photo[0]}x{photo[1]}",
                "paint the mask on the photo itself, white where it is known",
            )
        levels = np.asarray(mask.resize(photo, Image.Resampling.BILINEAR), np.float32) / 255
        matrix = np.array(aligned.matrix, np.float64)
        weights = cv2.warpAffine(levels, matrix, (size[1], size[0]), borderMode=cv2.BORDER_REPLICATE)
        if weights.max() < 0.5:
            message = f"the mask {str(self.path)!r} covers the whole crop (all black); nothing is left to invert"
            raise RestyleError(message, "white marks what is known")
        if self.crossover is None:
            rest, share = Image.new("RGB", aligned.image.size, (GREY, GREY, GREY)), np.ceil(weights)
        else:
            rest = self._crossover_crop(self.crossover, options, size)
            share = cv2.GaussianBlur(weights, (0, 0), SOFT * max(size))
            weights = np.ones_like(weights)
        share_image = Image.fromarray(np.rint(share * 255).astype(np.uint8))
        image = Image.composite(aligned.image, rest, share_image)
        return replace(aligned, image=image), torch.from_numpy(weights.astype(np.float32))[None]

    @cached_property
    def _grey(self) -> Image.Image:
        """The mask, uncropped, on black where it is transparent."""
        image = open_original(self.path)
        if not image.has_transparency_data:
            return image.convert("L")
        black = Image.new("RGBA", image.size, "black")
        black.alpha_composite(image.convert("RGBA"))
        return black.convert("L")

    def _crossover_crop(self, path: Path, options: AlignOptions, size: Size) -> Image.Image:
        """The second photo, aligned by its largest face: `--face` and single landmarks belong to the first photo."""
        if size not in self._crops:
            table = options.landmarks if options.landmarks and options.landmarks.single is None else None
            options = replace(options, face=1, landmarks=table)
            self._crops[size] = align_image(open_image(path), options, size, path)[0].image
        return self._crops[size]
