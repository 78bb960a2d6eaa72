"""Images in a folder or a zip file. Each is aligned once; the aligned images are kept as PNG files."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restyle_cli.align import AlignOptions, align_image
from restyle_cli.data.source import Batch, Note
from restyle_cli.errors import RestyleError
from restyle_cli.images import SUFFIXES, open_image, save_image, to_tensor
from restyle_cli.run.sources import find_images

LARGEST_MEMBER = 200_000_000
"""Bytes of one unpacked image of a zip file; larger ones are refused."""
NOTE_EVERY = 500
"""Images between two lines of progress."""


Named = TypeVar("Named", bound=tuple[str, object])
"""A name and what has it."""


@dataclass(frozen=True)
class Original:
    """An image as the user has it. `key` identifies its content without reading it."""

    name: str
    key: str
    path: Path  # of the image, or of the zip file that has it
    member: str | None = None

    def open(self) -> Image.Image:
        """The image, RGB and upright; RestyleError if it cannot be read."""
        if self.member is None:
            return open_image(self.path)
        with tempfile.TemporaryDirectory() as folder:
            extracted = Path(folder, Path(self.member).name)
            try:
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                    data = file.read(LARGEST_MEMBER + 1)  # what the zip file says of the size may be wrong
            except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:  # RuntimeError: encrypted
                raise RestyleError(f"'{self.name}' in {str(self.path)!r} cannot be read: {error}") from error
            if len(data) > LARGEST_MEMBER:
                raise RestyleError(f"'{self.name}' unpacks to more than {LARGEST_MEMBER // 10**6} MB")
            extracted.write_bytes(data)
            try:
                return open_image(extracted)
            except RestyleError as error:
                raise RestyleError(error.message.replace(str(extracted), self.name), error.hint) from error


class Folder:
    """The images of a folder (with all below it) or zip file, aligned to `size` (height, width) in px.

    Aligned images are kept in the folder `cache`. An image that cannot be read or aligned is named and skipped. About
    `share` of the images, chosen by their names, are for validation only. `flip`: mirror half of the others.
    """

    def __init__(
        self, folder: Path, size: tuple[int, int], cache: Path, options: AlignOptions, flip: bool, share: float
    ) -> None:
        self.folder, self.size, self.cache, self.options = folder, size, cache, options
        self.flip, self.share = flip, share
        self.length: int | None = None

    def prepare(self, note: Note) -> None:
        """Align the images that are not in the cache; RestyleError if fewer than two can be used."""
        originals = find_originals(self.folder)
        usable: list[tuple[str, Path]] = []
        for count, original in enumerate(originals, start=1):
            try:
                usable.append((original.name, self._aligned(original)))
            except RestyleError as error:
                note(f"skipped: {error.message}")
            if count % NOTE_EVERY == 0:
                note(f"{count} of {len(originals)} images are aligned")
        if len(usable) < 2:
            raise RestyleError(
                f"{str(self.folder)!r} has {len(usable)} usable image{'s' * (not usable)}; training needs at least 2",
                "one image is kept for validation; images that are not faces need --set data.align=never",
            )
        self.training, self.held_out = split(usable, self.share)
        self.length = len(self.training)
        note(f"{self.length} images to train on, {len(self.held_out)} for validation")

    def batch(self, indices: Sequence[int], rngs: Sequence[np.random.Generator]) -> Batch:
        """Training images; x equals y."""
        flips = [self.flip and rng.random() < 0.5 for rng in rngs]
        return self._read([self.training[index] for index in indices], flips)

    def validation(self, count: int) -> Batch:
        """The first held-out images."""
        chosen = self.held_out[:count]
        return self._read(chosen, [False] * len(chosen))

    def _read(self, chosen: Sequence[tuple[str, Path]], flips: Sequence[bool]) -> Batch:
        y = torch.stack([read_image(path, flip) for (_, path), flip in zip(chosen, flips, strict=True)])
        return Batch(y, y, [name for name, _ in chosen])

    def _aligned(self, original: Original) -> Path:
        """The aligned image's file, which is written if it is not there."""
        how = f"{original.key} {self.size} {self.options.mode} {self.options.rule}"
        path = self.cache / f"{hashlib.sha256(how.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}.png"
        if not path.exists():
            picture = original.open()
            save_image(align_image(picture, self.options, self.size, Path(original.name))[0].image, path)
        return path


def find_originals(folder: Path) -> list[Original]:
    """The images of a folder or a zip file, sorted by name. RestyleError if there is none."""
    if zipfile.is_zipfile(folder):
        try:
            with zipfile.ZipFile(folder) as archive:
                members = sorted(archive.infolist(), key=lambda member: member.filename)
        except (zipfile.BadZipFile, OSError) as error:
            raise RestyleError(f"the zip file {str(folder)!r} cannot be read: {error}") from error
        found = [
            Original(member.filename, f"{member.filename} {member.CRC} {member.file_size}", folder, member.filename)
            for member in members
            if Path(member.filename).suffix.lower() in SUFFIXES and not Path(member.filename).name.startswith(".")
        ]
        if not found:
            raise RestyleError(f"the zip file {str(folder)!r} holds no images")
        return found
    originals = []
    for source in find_images([folder]):
        stat = source.path.stat()
        key = f"{source.path.absolute()} {stat.st_size} {stat.st_mtime_ns}"
        name = source.path.relative_to(folder) if folder.is_dir() else source.path.name
        originals.append(Original(str(name), key, source.path))
    return originals


def split(usable: Sequence[Named], share: float) -> tuple[list[Named], list[Named]]:
    """(training, validation): about `share` of the images for validation, at least one of each.

    Which ones depends on their names only, so further images do not move old ones to the other side.
    """
    draws = sorted((_draw(name), k) for k, (name, _) in enumerate(usable))
    count = min(max(sum(draw < share for draw, _ in draws), 1), len(usable) - 1)
    held_out = {k for _, k in draws[:count]}
    return (
        [one for k, one in enumerate(usable) if k not in held_out],
        [one for k, one in enumerate(usable) if k in held_out],
    )


def _draw(name: str) -> float:
    """A number in [0, 1) that is random, but always the same for a name (without its suffix)."""
    digest = hashlib.sha256(Path(name).with_suffix("").as_posix().encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:4]) / 2**32


def read_image(path: Path, flip: bool = False) -> Tensor:
    """An aligned image [3, H, W] in [-1, 1], mirrored if `flip`."""
    image = to_tensor(open_image(path))
    return image.flip(-1) if flip else image
