"""Open and save images, and convert them to tensors and back.

torch is imported by the functions that need it, so that opening a file does not wait for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, PngImagePlugin

from restyle_cli.errors import RestyleError
from restyle_cli.images.pillow import SUFFIXES
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
"""Text chunk of a PNG that is a result, with its kind. Results are not inverted."""
_LARGE = 8_000_000  # pixels


# --- tensors


def to_tensor(image: Image.Image, size: tuple[int, int] | None = None) -> Tensor:
    """[3, H, W] in [-1, 1], resized to `size` (height, width) with Pillow's bilinear filter, as the papers do."""
    import torch

    if size is not None and size != (image.height, image.width):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    values = torch.from_numpy(np.array(image.convert("RGB")))
    return (values.permute(2, 0, 1).contiguous().float() / 255 - 0.5) / 0.5


def to_image(
    image: Tensor,  # [3, H, W] in [-1, 1]
) -> Image.Image:
    """8-bit RGB. Values are clipped, and truncated instead of rounded, as in the original code."""
    values = ((image.detach().float() + 1) / 2).clamp(0, 1) * 255
    return Image.fromarray(values.byte().permute(1, 2, 0).contiguous().cpu().numpy())


def displayed(image: Tensor) -> Tensor:
    """`image` clamped to [-1, 1], as a file stores it. Infinite values become NaN, so that metrics fail on them."""
    import torch

    return torch.where(image.isfinite(), image.clamp(-1, 1), torch.nan)


def fit(
    image: Tensor,  # [N, 3, h, w]
    size: tuple[int, int],
) -> Tensor:
    """Resize to [N, 3, H, W]: area average along a side that shrinks, bilinear along one that grows.

    ReStyle resizes generated images so (adaptive average pooling); `to_tensor` resizes photos.
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


def save_image(image: Image.Image, path: Path, text: dict[str, str] | None = None) -> None:
    """Write `image` in the format of the path's suffix, atomically; `text` becomes text chunks of a PNG.

    With `MARK`, `SEAL` is written too, because programs that edit a PNG keep both.
    """
    format = Image.registered_extensions().get(path.suffix.lower())
    if format is None:
        raise RestyleError(f"no image format has the suffix of {str(path)!r}", "use .png, .jpg or .webp")
    options: dict[str, Any] = {}
    if text:
        if format != "PNG":
            raise ValueError(f"text chunks need a PNG, not {path.name}")
        options["pnginfo"] = chunks = PngImagePlugin.PngInfo()
        for key, value in text.items():
            chunks.add_text(key, value)
        if MARK in text:
            chunks.add_text(SEAL, seal_of(image))
    if format in ("JPEG", "WEBP"):
        options["quality"] = 95
    elif format == "PNG" and image.width * image.height > _LARGE:
        options["compress_level"] = 1  # 40 million pixels in 4 s instead of 11, for a file larger by a sixth
    write_atomic(path, lambda part: image.save(part, format=format, **options))
