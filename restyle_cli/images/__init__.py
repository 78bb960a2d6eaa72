"""Pictures: opening and saving them, and the ways between pictures and tensors.

Tensors are needed only by some functions, which import torch themselves: opening a file stays quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, PngImagePlugin

from restyle_cli.errors import RestyleError
from restyle_cli.images.formats import SUFFIXES
from restyle_cli.images.reading import (
    MARK,
    MAX_PIXELS,
    MIN_SIDE,
    SEAL,
    TURNED,
    open_image,
    open_original,
    seal_of,
)
from restyle_cli.io import write_atomic

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "MARK",
    "MAX_PIXELS",
    "MIN_SIDE",
    "SUFFIXES",
    "TURNED",
    "fit",
    "open_image",
    "open_original",
    "save_image",
    "to_image",
    "to_tensor",
]

RESULT = "restyle-result"
"""The text chunk of a PNG that is a result and no image to invert: which kind it is."""
_LARGE = 8_000_000


# --- tensors


def to_tensor(picture: Image.Image, size: tuple[int, int] | None = None) -> Tensor:
    """[3, H, W] in [-1, 1]; with `size` (height, width) resized first as the papers resize their photos."""
    import torch

    if size is not None and size != (picture.height, picture.width):
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    values = torch.from_numpy(np.array(picture.convert("RGB")))
    return (values.permute(2, 0, 1).contiguous().float() / 255 - 0.5) / 0.5


def to_image(
    image: Tensor,  # [3, H, W] in [-1, 1]
) -> Image.Image:
    """8-bit RGB; values outside are clipped, fractions cut off (not rounded), as the original code does."""
    values = ((image.detach().float() + 1) / 2).clamp(0, 1) * 255
    return Image.fromarray(values.byte().permute(1, 2, 0).contiguous().cpu().numpy())


def displayed(image: Tensor) -> Tensor:
    """`image` with the values that a file keeps of it: cut to [-1, 1]. What is not finite becomes NaN, and fails."""
    import torch

    return torch.where(image.isfinite(), image.clamp(-1, 1), torch.nan)


def fit(
    image: Tensor,  # [N, 3, h, w]
    size: tuple[int, int],
) -> Tensor:
    """[N, 3, H, W]: averaged over areas along a side that shrinks, bilinear along one that grows.

    So the ReStyle loop sees a generator's picture; for photos, `to_tensor` has Pillow's filter.
    """
    from torch.nn import functional as F

    height, width = image.shape[-2:]
    smaller = (min(height, size[0]), min(width, size[1]))
    if smaller != (height, width):
        image = F.adaptive_avg_pool2d(image, smaller)
    if smaller != size:
        image = F.interpolate(image, size, mode="bilinear", align_corners=False)
    return image


# --- writing


def save_image(picture: Image.Image, path: Path, text: dict[str, str] | None = None) -> None:
    """Write `picture` in the format of the path's suffix; `text` becomes text chunks, which only PNG has.

    With `MARK` goes `SEAL`, so that it is not believed of other pixels: programs that turn or crop a PNG keep both.
    """
    format = Image.registered_extensions().get(path.suffix.lower())
    if format is None:
        raise RestyleError(f"no picture format has the suffix of {str(path)!r}", "use .png, .jpg or .webp")
    options: dict[str, object] = {}
    if text:
        if format != "PNG":
            raise ValueError(f"text chunks need a PNG, not {path.name}")
        options["pnginfo"] = chunks = PngImagePlugin.PngInfo()
        sealed = {SEAL: seal_of(picture)} if MARK in text else {}
        for key, value in (text | sealed).items():
            chunks.add_text(key, value)
    if format in ("JPEG", "WEBP"):
        options["quality"] = 95
    elif format == "PNG" and picture.width * picture.height > _LARGE:
        options["compress_level"] = 1  # 40 million pixels in 4 s instead of 11, for a file larger by a sixth
    write_atomic(path, lambda aside: picture.save(aside, format=format, **options))


open_picture, save_picture, to_picture = open_image, save_image, to_image  # former names
