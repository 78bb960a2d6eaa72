"""What people have as images, as the loop takes it: [N, 3, H, W] in [-1, 1], in the size of a method.

Whatever has one meaning only is converted: 8-bit values, other float formats, channels last, another size of the same
shape. Anything else raises a ValueError that says what is expected.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from restyle_cli.images import open_image, to_tensor

Size = tuple[int, int]
Images = Any
"""A path, a Pillow image, an array, a tensor, or a sequence of them."""

OVERSHOOT = 2.0
"""Generators overshoot [-1, 1] a little; what lies further out is of another range."""
_SHAPE_WITHIN = 0.02
_EXPECTED = "images are [N, 3, H, W] (or [H, W, 3]) from -1 to 1, or uint8 from 0 to 255"


def as_batch(images: Images, size: Size, full: Size | None = None) -> tuple[Tensor, Tensor | None]:
    """`images` in `size` (height, width), and in the size `full`, or None where they have nothing finer than `size`.

    They keep the device of a tensor. ValueError where they have another range, type, shape or number of channels.
    """
    every = list(_each(images))
    if not every:
        raise ValueError(f"there is no image; {_EXPECTED}")
    x = torch.cat([_sized(image, size) for image in every])
    finer = full is not None and all(max(_size_of(image)) > max(size) for image in every)
    return x, torch.cat([_sized(image, full) for image in every]) if full is not None and finer else None


def _each(images: Images) -> Iterator[Image.Image | Tensor]:
    """Pillow images, and tensors [N, 3, H, W] in [-1, 1]."""
    if isinstance(images, (str, Path)):
        yield open_image(images)
    elif isinstance(images, Image.Image):
        yield images
    elif isinstance(images, Tensor):
        yield _checked(images)
    elif isinstance(images, np.ndarray):
        if images.dtype == np.uint8 and images.ndim in (3, 4) and images.shape[-1] == 3:
            yield from map(Image.fromarray, images if images.ndim == 4 else images[None])
        elif images.dtype.kind in "fu":
            yield _checked(torch.from_numpy(np.ascontiguousarray(images)))
        else:
            raise ValueError(f"an array of {images.dtype} is no image; {_EXPECTED}")
    elif isinstance(images, Sequence):
        for image in images:
            yield from _each(image)
    else:
        raise ValueError(f"{type(images).__name__} is no image; {_EXPECTED}")


def _checked(x: Tensor) -> Tensor:
    if x.dtype != torch.uint8 and not x.is_floating_point():
        raise ValueError(f"a tensor of {x.dtype} is no image; {_EXPECTED}")
    x = x[None] if x.dim() == 3 else x
    if x.dim() == 4 and x.shape[1] != 3 and x.shape[3] == 3:
        x = x.permute(0, 3, 1, 2)
    if x.dim() != 4 or x.shape[1] != 3 or not x.numel():
        raise ValueError(f"a tensor of shape {list(x.shape)} is no batch of RGB images; {_EXPECTED}")
    if x.dtype == torch.uint8:
        return x.float() / 127.5 - 1
    x = x.float()
    low, high = float(x.min()), float(x.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"these images hold values that are not finite; {_EXPECTED}")
    if low < -OVERSHOOT or high > OVERSHOOT:
        raise ValueError(f"these images have values from {low:.4g} to {high:.4g}; {_EXPECTED}: x / 127.5 - 1")
    if low >= 0 and 0 < high <= 1:
        warnings.warn(f"no value of these images is below 0; {_EXPECTED}: 2 * x - 1", UserWarning, stacklevel=6)
    return x if low >= -1 and high <= 1 else x.clamp(-1, 1)


def _size_of(image: Image.Image | Tensor) -> Size:
    return (image.height, image.width) if isinstance(image, Image.Image) else (image.shape[-2], image.shape[-1])


def _sized(image: Image.Image | Tensor, size: Size) -> Tensor:
    """[N, 3, *size], by Pillow's bilinear filter or its like."""
    height, width = _size_of(image)
    if abs(height * size[1] - width * size[0]) > _SHAPE_WITHIN * max(height * size[1], width * size[0]):
        raise ValueError(
            f"these images are {width}x{height}, and the model takes {size[1]}x{size[0]}: crop them to its shape first"
        )
    if isinstance(image, Image.Image):
        return to_tensor(image, size)[None]
    if (height, width) == size:
        return image
    return F.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
