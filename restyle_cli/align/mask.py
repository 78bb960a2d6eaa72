"""Parts of a photo: a mask that says what is known of it, and a second photo for the other part.

A mask is a picture of the photo's own shape: white is what is to be found again, black or erased (transparent) what is
not known, grey what counts by a part. It is cut and turned as the photo is. With a second photo, framed by its own
face, the black part shows that one (crossover).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from restyle_cli.align import Aligned, AlignOptions, Size, align_image
from restyle_cli.errors import RestyleError
from restyle_cli.images import open_image, open_original
from restyle_cli.io import reason_of
from restyle_cli.store.paths import sha256

SOFT = 0.01
"""How far the edge between two photos is blurred, in the picture's side."""
GREY = 128
"""What stands where nothing is known."""
_SHAPE_WITHIN = 0.02


@dataclass(frozen=True)
class Mask:
    """The file of a mask, and of the photo for its black part."""

    path: Path
    other: Path | None = None
    _seconds: dict[Size, Image.Image] = field(default_factory=dict, repr=False, compare=False)

    def described(self) -> dict[str, str]:
        """What a result depends on: the files by their SHA-256. RestyleError when one cannot be read."""
        try:
            known = {"mask": sha256(self.path)}
            return known if self.other is None else known | {"crossover": sha256(self.other)}
        except OSError as error:
            option = "--mask" if error.filename == str(self.path) else "--crossover"
            message = f"cannot read {error.filename!r}: {reason_of(error)}"
            raise RestyleError(message, f"check the name after {option}") from error

    def put_on(
        self, aligned: Aligned, photo: tuple[int, int], framing: AlignOptions, size: Size
    ) -> tuple[Aligned, Tensor]:
        """The framed photo with its black part replaced, and how much is known of each pixel, [1, H, W] from 0 to 1.

        `photo`: the upright photo's (width, height); `size`: (height, width) of what is framed. RestyleError when the
        mask has another shape than the photo, or is black.
        """
        known = self._framed(aligned, photo, size)
        if self.other is None:
            second, joined = Image.new("RGB", aligned.image.size, (GREY, GREY, GREY)), np.ceil(known)
            counts = known
        else:
            second = self._second(framing, size)
            joined, counts = _softened(known), np.ones_like(known)
        share = Image.fromarray(np.rint(joined * 255).astype(np.uint8))
        picture = Image.composite(aligned.image, second, share)
        return replace(aligned, image=picture), torch.from_numpy(counts.astype(np.float32))[None]

    @cached_property
    def _grey(self) -> Image.Image:
        """The mask as it is in its file, read once."""
        return _on_black(open_original(self.path)).convert("L")

    def _second(self, framing: AlignOptions, size: Size) -> Image.Image:
        """The other photo, framed once, by its own largest face: `--face` and points of one image are the first's."""
        if size not in self._seconds:
            points = framing.points if framing.points is not None and framing.points.only is None else None
            own = replace(framing, face=1, points=points)
            self._seconds[size] = align_image(open_image(self.other), own, size, self.other)[0].image
        return self._seconds[size]

    def _framed(self, aligned: Aligned, photo: tuple[int, int], size: Size) -> NDArray[np.float32]:
        import cv2

        mask = self._grey
        if abs(mask.width * photo[1] - mask.height * photo[0]) > _SHAPE_WITHIN * mask.width * photo[1]:
            raise RestyleError(
                f"the mask {str(self.path)!r} is {mask.width}x{mask.height}, the photo {photo[0]}x{photo[1]}",
                "paint the mask on the photo itself, white where it is known",
            )
        values = np.asarray(mask.resize(photo, Image.Resampling.BILINEAR), np.float32) / 255
        turned = np.array(aligned.matrix, np.float64)
        known = cv2.warpAffine(values, turned, (size[1], size[0]), borderMode=cv2.BORDER_REPLICATE)
        if known.max() < 0.5:
            raise RestyleError(f"nothing of {str(self.path)!r} is white where the picture is", "white is what is known")
        return known


def _on_black(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture
    black = Image.new("RGBA", picture.size, "black")
    black.alpha_composite(picture.convert("RGBA"))
    return black


def _softened(known: NDArray[np.float32]) -> NDArray[np.float32]:
    import cv2

    return cv2.GaussianBlur(known, (0, 0), SOFT * max(known.shape))
