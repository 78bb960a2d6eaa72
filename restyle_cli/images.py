"""Pictures: opening and saving them, and the ways between pictures and tensors.

Tensors are needed only by some functions, which import torch themselves: opening a file stays quick.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from restyle_cli.errors import RestyleError
from restyle_cli.io import open_regular, reading_failed, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif")
)
"""What counts as a picture in a folder; a file named outright may be called anything."""

MAX_PIXELS = 100_000_000
MIN_SIDE = 16
MARK = "restyle"
"""The text chunk of a PNG that says how the picture is framed; see `align`."""
RESULT = "restyle-result"
"""The text chunk of a PNG that is a result and no image to invert: which kind it is."""
TURNED = "turned"
"""In `.info` of a picture that lies on its side in its file and was turned upright."""

_FORMATS = [
    "JPEG",
    "PNG",
    "WEBP",
    "BMP",
    "TIFF",
    "GIF",
    "AVIF",
]  # named: others run programs (EPS) or are no photos
_PICTURES_READ = "JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP and GIF are read"
_OPENING = threading.Lock()
_LARGE = 8_000_000


# --- opening


def open_picture(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture as 8-bit RGB, upright, on white where transparent; of an animation, the first frame.

    Every failure is a RestyleError that names the file. More than `max_pixels` are refused before decoding.
    A PNG's text chunk `MARK` stays in `.info`, nothing else does, but `TURNED` may be there.
    """
    return _open(Path(path), max_pixels, _to_rgb)


def open_original(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """As `open_picture`, but grey stays grey, and transparency and the colour profile stay: L, LA, RGB or RGBA."""
    return _open(Path(path), max_pixels, _to_eight_bits)


def _open(path: Path, max_pixels: int, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise RestyleError(f"{str(path)!r} is empty", "copy or download the picture again")
            picture = _read_header(file, path)
            _check_size(picture, path, max_pixels)
            return _decode(picture, path, convert)
    except OSError as error:
        raise reading_failed(path, error) from error


def _read_header(file: BinaryIO, path: Path) -> Image.Image:
    formats = _formats()
    with _OPENING:
        # Pillow's own limit warns above 89 million pixels; only a global lifts it. `_check_size` has ours.
        pillows_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=formats)
        except UnidentifiedImageError as error:
            hint = _PICTURES_READ
            if path.suffix.lower() in (".heic", ".heif") and "HEIF" not in formats:
                hint = "HEIC needs one more package: pip install pillow-heif"
            raise RestyleError(f"{str(path)!r} is not a picture that can be read", hint) from error
        except Exception as error:  # damaged headers raise whatever the parser stumbles over
            raise _damaged(path, error) from error
        finally:
            Image.MAX_IMAGE_PIXELS = pillows_limit


def _formats() -> list[str]:
    """Those of the formats named above that this Pillow has, and HEIC where its package is installed."""
    Image.init()
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    return [format for format in _FORMATS if format in Image.OPEN]


def _check_size(picture: Image.Image, path: Path, max_pixels: int) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise RestyleError(
            f"{str(path)!r} is too large: {width}x{height} pixels, {width * height / 1e6:.0f} million",
            f"shrink it first; up to {max_pixels / 1e6:.0f} million pixels are read",
        )
    if min(width, height) < MIN_SIDE:
        raise RestyleError(
            f"{str(path)!r} is too small: {width}x{height} pixels",
            f"each side needs at least {MIN_SIDE} pixels",
        )


def _decode(picture: Image.Image, path: Path, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Decoded, turned upright and converted; of what the file says beside, only what `open_*` promise."""
    try:
        picture.load()
        info = {key: picture.info[key] for key in (MARK,) if isinstance(picture.info.get(key), str)}
        upright = _upright(picture)
        if upright is not picture:
            info[TURNED] = True
        converted = convert(upright)
        if convert is _to_eight_bits and picture.mode == converted.mode and "icc_profile" in picture.info:
            info["icc_profile"] = picture.info["icc_profile"]
    except MemoryError as error:
        raise RestyleError(f"not enough memory for {str(path)!r}", "shrink the picture first") from error
    except Exception as error:  # damaged data raises whatever the decoder stumbles over
        raise _damaged(path, error) from error
    converted.info = info
    return converted


def _upright(picture: Image.Image) -> Image.Image:
    """The picture itself where it is not to be turned."""
    try:
        is_turned = picture.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
        return ImageOps.exif_transpose(picture) if is_turned else picture
    except (SyntaxError, ValueError, struct.error):  # EXIF is damaged, the picture is not
        return picture


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    """L, LA, RGB or RGBA, whichever loses least."""
    grey = picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;16")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        return picture.convert("RGBA").convert("LA") if grey else picture.convert("RGBA")
    return _to_rgb(picture).convert("L") if grey else _to_rgb(picture)


def _to_rgb(picture: Image.Image) -> Image.Image:
    """8-bit RGB of any mode."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _from_deep_grey(picture)
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        white.alpha_composite(clear)
        return white.convert("RGB")
    return picture.convert("RGB")


def _from_deep_grey(picture: Image.Image) -> Image.Image:
    """Grey of more than 8 bits: whole numbers are 16-bit ones, fractions go from 0 to 1."""
    values = np.nan_to_num(np.asarray(picture, dtype=np.float32))
    top = 65535.0
    if picture.mode == "F":
        top = 1.0 if values.max() <= 1 else 255.0
    grey = np.clip(values / top * 255 + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _damaged(path: Path, error: Exception) -> RestyleError:
    cut = "truncated" in str(error).lower() or isinstance(error, EOFError)
    return RestyleError(
        f"{str(path)!r} is {'cut off' if cut else 'damaged'} and cannot be decoded",
        "copy or download it again",
    )


# --- tensors


def to_tensor(picture: Image.Image, size: tuple[int, int] | None = None) -> Tensor:
    """[3, H, W] in [-1, 1]; with `size` (height, width) resized first as the papers resize their photos."""
    import torch

    if size is not None and size != (picture.height, picture.width):
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    values = torch.from_numpy(np.array(picture.convert("RGB")))
    return (values.permute(2, 0, 1).contiguous().float() / 255 - 0.5) / 0.5


def to_picture(
    image: Tensor,  # [3, H, W] in [-1, 1]
) -> Image.Image:
    """8-bit RGB; values outside are clipped, fractions cut off (not rounded), as the original code does."""
    values = ((image.detach().float() + 1) / 2).clamp(0, 1) * 255
    return Image.fromarray(values.byte().permute(1, 2, 0).contiguous().cpu().numpy())


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


def save_picture(picture: Image.Image, path: Path, text: dict[str, str] | None = None) -> None:
    """Write `picture` in the format of the path's suffix; `text` becomes text chunks, which only PNG has."""
    format = Image.registered_extensions().get(path.suffix.lower())
    if format is None:
        raise RestyleError(f"no picture format has the suffix of {str(path)!r}", "use .png, .jpg or .webp")
    options: dict[str, object] = {}
    if text:
        if format != "PNG":
            raise ValueError(f"text chunks need a PNG, not {path.name}")
        options["pnginfo"] = chunks = PngImagePlugin.PngInfo()
        for key, value in text.items():
            chunks.add_text(key, value)
    if format in ("JPEG", "WEBP"):
        options["quality"] = 95
    elif format == "PNG" and picture.width * picture.height > _LARGE:
        options["compress_level"] = 1  # 40 million pixels in 4 s instead of 11, for a file larger by a sixth
    write_atomic(path, lambda aside: picture.save(aside, format=format, **options))
