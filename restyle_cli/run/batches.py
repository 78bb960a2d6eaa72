"""Images as Python users have them, as a batch for the methods: paths, PIL images, NumPy arrays, tensors and lists.

What has only one meaning is converted: 8-bit values, other float types, channels last, another size of the same aspect
ratio. Anything else raises a ValueError that says what is expected.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, Union

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from restyle_cli.align import Aligned, Size
from restyle_cli.images import open_image, to_image, to_tensor

Images: TypeAlias = Union[str, Path, Image.Image, NDArray[np.generic], Tensor, Aligned, "Sequence[Images]"]

OVERSHOOT = 2.0
"""Generators exceed [-1, 1] a little; values beyond this have another range."""
_ASPECT_TOLERANCE = 0.02
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")  # 8 bits per channel or less
_EXPECTED = "images are [N, 3, H, W] (or [H, W, 3]) from -1 to 1, or uint8 from 0 to 255"


@dataclass(frozen=True)
class Batch:
    """Images in the size of a method, on the device where they were."""

    x: Tensor  # [N, 3, H, W] in [-1, 1]
    full: Tensor | None  # the same in another size, if all images are larger than x
    paths: tuple[Path | None, ...]  # N: the file of an image, if it was given as a path
    sizes: tuple[Size, ...]  # N: (height, width) before resizing


def as_batch(images: Images, size: Size | None = None, full: Size | None = None) -> Batch:
    """`images` in `size` (height, width), by default that of the first one, and in the size `full`.

    ValueError for another range, type, shape or number of channels; RestyleError for a file that cannot be read.
    """
    every = list(_each(images))
    if not every:
        raise ValueError(f"there is no image; {_EXPECTED}")
    size = size or _size_of(every[0][0])
    device = next((image.device for image, _ in every if isinstance(image, Tensor)), torch.device("cpu"))
    x = torch.cat([_resized(image, size).to(device) for image, _ in every])
    large = None
    if full is not None and all(max(_size_of(image)) > max(size) for image, _ in every):
        large = torch.cat([_resized(image, full).to(device) for image, _ in every])
    counts = [len(image) if isinstance(image, Tensor) else 1 for image, _ in every]
    paths = tuple(path for (_, path), n in zip(every, counts, strict=True) for _ in range(n))
    sizes = tuple(_size_of(image) for (image, _), n in zip(every, counts, strict=True) for _ in range(n))
    return Batch(x, large, paths, sizes)


def as_image(image: Images) -> tuple[Image.Image, Path | None]:
    """One image as 8-bit RGB, and its file. ValueError as for `as_batch`, or for several images."""
    every = list(_each(image))
    if len(every) != 1 or (isinstance(every[0][0], Tensor) and len(every[0][0]) > 1):
        raise ValueError("one image is expected, not several")
    (one, path), *_ = every
    return (to_image(one[0]) if isinstance(one, Tensor) else one), path


def _each(images: Images) -> Iterator[tuple[Image.Image | Tensor, Path | None]]:
    """RGB images and tensors [N, 3, H, W] in [-1, 1], with their files."""
    if isinstance(images, (str, Path)):
        yield open_image(images), Path(images)
    elif isinstance(images, Aligned):
        yield images.image, None
    elif isinstance(images, Image.Image):
        yield _as_rgb(images), None
    elif isinstance(images, Tensor):
        yield _checked(images), None
    elif isinstance(images, np.ndarray):
        if images.dtype == np.uint8 and images.ndim in (3, 4) and images.shape[-1] == 3:
            yield from ((Image.fromarray(image), None) for image in (images if images.ndim == 4 else images[None]))
        elif images.dtype.kind in "fu":
            native = np.ascontiguousarray(images, np.float32 if images.dtype.kind == "f" else None)
            yield _checked(torch.from_numpy(native)), None
        else:
            raise ValueError(f"an array of {images.dtype} is not an image; {_EXPECTED}")
    elif isinstance(images, Sequence):
        for image in images:
            yield from _each(image)
    else:
        raise ValueError(f"an object of type {type(images).__name__} is not an image; {_EXPECTED}")


def _as_rgb(image: Image.Image) -> Image.Image:
    """The image upright, and on white where it is transparent, as `open_image` reads files."""
    if image.mode not in _MODES:
        raise ValueError(
            f"a PIL image of mode {image.mode} has more than 8 bits per channel; pass the path of its file"
        )
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("RGB")


def _checked(x: Tensor) -> Tensor:
    if x.dtype != torch.uint8 and not x.is_floating_point():
        raise ValueError(f"a tensor of {x.dtype} is not an image; {_EXPECTED}")
    x = x[None] if x.dim() == 3 else x
    if x.dim() == 4 and x.shape[1] != 3 and x.shape[3] == 3:
        x = x.permute(0, 3, 1, 2)
    if x.dim() != 4 or x.shape[1] != 3 or not x.numel():
        raise ValueError(f"shape {list(x.shape)} is not a batch of RGB images; {_EXPECTED}")
    if x.dtype == torch.uint8:
        return x.float() / 127.5 - 1
    x = x.float()
    low, high = float(x.min()), float(x.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"the images have values that are not finite; {_EXPECTED}")
    if low < -OVERSHOOT or high > OVERSHOOT:
        raise ValueError(f"the images have values from {low:.4g} to {high:.4g}; {_EXPECTED}: x / 127.5 - 1")
    if low >= 0 and 0 < high <= 1:
        warnings.warn(f"no value of the images is below 0; {_EXPECTED}: 2 * x - 1", UserWarning, stacklevel=6)
    return x if low >= -1 and high <= 1 else x.clamp(-1, 1)


def _size_of(image: Image.Image | Tensor) -> Size:
    return (image.height, image.width) if isinstance(image, Image.Image) else (image.shape[-2], image.shape[-1])


def _resized(image: Image.Image | Tensor, size: Size) -> Tensor:
    """[N, 3, *size], by Pillow's bilinear filter or its equivalent for tensors."""
    height, width = _size_of(image)
    if abs(height * size[1] - width * size[0]) > _ASPECT_TOLERANCE * max(height * size[1], width * size[0]):
        hint = "align them with restyle_cli.align, or crop them to this shape"
        raise ValueError(f"the images are {width}x{height}, and the model takes {size[1]}x{size[0]}: {hint}")
    if isinstance(image, Image.Image):
        return to_tensor(image, size)[None]
    if (height, width) == size:
        return image
    return F.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
