"""Pictures: finding, opening and writing files, and the ways between pictures and tensors.

Tensors are needed only by some functions, which import torch themselves: finding files stays quick.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, PngImagePlugin

from restyle_cli.errors import RestyleError
from restyle_cli.images.formats import FORMATS_READ, SUFFIXES
from restyle_cli.images.reading import (
    MARK,
    MAX_PIXELS,
    MIN_SIDE,
    SEAL,
    TURNED,
    open_original,
    open_picture,
    reading_failed,
    reason_of,
    seal_of,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "MARK",
    "MAX_PIXELS",
    "MIN_SIDE",
    "SUFFIXES",
    "TURNED",
    "Source",
    "find_pictures",
    "fit",
    "open_original",
    "open_picture",
    "save_picture",
    "to_picture",
    "to_tensor",
    "write_atomic",
]

_LARGE = 8_000_000


@dataclass(frozen=True)
class Source:
    """A picture file, and `relative`: the path of its outputs inside the output folder, without a suffix."""

    path: Path
    relative: Path


# --- finding


def find_pictures(
    paths: Iterable[Path],
    exclude: Path | None = None,
    on_error: Callable[[Path, RestyleError], None] | None = None,
) -> list[Source]:
    """The pictures among `paths`: files as given, folders with all below them, sorted, each file once.

    Left out are hidden files and the folder `exclude` (the output) where it lies inside a given one.
    A path that is missing, or a folder without pictures or that is `exclude` itself, raises RestyleError; given
    `on_error`, that is told and the others are still found.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for path in paths:
        try:
            for picture, root in _look_in(path, exclude):
                found.setdefault(picture.resolve(), (picture, root))
        except (RestyleError, OSError) as error:
            failure = reading_failed(path, error) if isinstance(error, OSError) else error
            if on_error is None:
                raise failure from error
            on_error(path, failure)
    return _with_distinct_names(list(found.values()))


def _look_in(path: Path, exclude: Path | None) -> Iterator[tuple[Path, Path]]:
    """Pairs of a picture and the folder that its name in the output counts from."""
    if path.is_file():
        yield path, path.parent
        return
    if not path.is_dir():
        raise RestyleError(f"no file or folder {str(path)!r}", "check the name; quote names that have spaces")
    if exclude is not None and path.resolve() == exclude.resolve():
        message = f"what is made of the pictures in {str(path)!r} would lie among them, and be read itself next time"
        raise RestyleError(message, "choose another folder with --output")
    count = 0
    for picture in _walk(path, exclude.resolve() if exclude else None):
        count += 1
        yield picture, path
    if not count:
        raise RestyleError(f"no pictures in the folder {str(path)!r}", FORMATS_READ)


def _walk(folder: Path, exclude: Path | None) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise reading_failed(Path(error.filename), error)

    for parent, folders, files in os.walk(folder, onerror=refuse):
        here = Path(parent)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and (here / f).resolve() != exclude)
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield here / name


def _with_distinct_names(found: list[tuple[Path, Path]]) -> list[Source]:
    """Name outputs by the path below the given folder; where two would be one, add suffixes, then folders."""
    levels = [0] * len(found)
    while True:
        names = [_name(picture, root, level) for (picture, root), level in zip(found, levels, strict=True)]
        times = Counter(str(name).casefold() for name in names)  # some file systems do not tell A from a
        again = [i for i, name in enumerate(names) if times[str(name).casefold()] > 1]
        longer = [i for i in again if levels[i] < 2 * len(found[i][1].resolve().parts)]
        if not longer:  # all distinct, or files whose full paths differ only in case
            numbers = {i: n for n, i in enumerate(again, start=1)}
            names = [n.with_name(f"{n.name}-{numbers[i]}") if i in numbers else n for i, n in enumerate(names)]
            return [Source(picture, name) for (picture, _), name in zip(found, names, strict=True)]
        for i in longer:
            levels[i] += 1


def _name(picture: Path, root: Path, level: int) -> Path:
    """Even levels drop the suffix, odd ones keep it; every second level adds one more parent folder."""
    above = root.resolve().parts[1:]
    name = Path(*above[max(len(above) - level // 2, 0) :], picture.relative_to(root))
    return name if level % 2 else name.with_suffix("")


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


def save_picture(picture: Image.Image, path: Path, text: dict[str, str] | None = None) -> None:
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


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Have `write` make a file aside, then put it in place of `path` at once; the folder is created.

    Whatever happens, `path` is the old file or the whole new one, and nothing else is left behind.
    OSError becomes RestyleError.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(aside)
        aside.replace(path)
    except OSError as error:
        raise _writing_failed(path, error) from error
    finally:
        with suppress(OSError):  # where the folder is none, there is nothing to remove either
            aside.unlink(missing_ok=True)


def _writing_failed(path: Path, error: OSError) -> RestyleError:
    hint = "choose another folder with --output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space, or choose another folder with --output; a second run goes on from here"
    elif error.errno == errno.ENAMETOOLONG:
        hint = "give the picture a shorter name"
    return RestyleError(f"cannot write {str(path)!r}: {reason_of(error)}", hint)
