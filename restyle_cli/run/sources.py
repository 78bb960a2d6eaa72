"""Find the input images: in folders, through links, without the results of earlier runs."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from restyle_cli.errors import RestyleError
from restyle_cli.images import RESULT, SUFFIXES
from restyle_cli.images.pillow import FORMATS_READ
from restyle_cli.io import check_regular, reading_failed

Refuse = Callable[[Path, RestyleError], None]
_RESULT_NAME = re.compile(r"(?s)(?P<base>.+?)(?:\.(?P<kind>strip|pasted|variants|variant-\d+|heatmap))?\.png")
"""File names of results; see `outputs`, `variants` and `heatmap`."""
_RESULT_CHUNKS = (RESULT, "restyle-heatmap")


@dataclass(frozen=True)
class Source:
    """An image file, and `relative`: the path of its outputs inside the output folder, without a suffix."""

    path: Path
    relative: Path


def find_images(
    paths: Iterable[Path],
    exclude: Path | None = None,
    on_error: Refuse | None = None,
    on_result: Callable[[Path], None] | None = None,
) -> list[Source]:
    """The images among `paths`: files as given, folders with all below them, sorted, each file once.

    Links to folders are followed, each folder once. Hidden files and the folder `exclude` (the output) inside a given
    folder are left out. With `on_result`, results of restyle in folders are left out too, and passed to it.
    RestyleError if a path is missing or not a regular file, or a folder cannot be read, has no images or is `exclude`
    itself; with `on_error` the error is passed to it and the other images are still found.
    """
    found: dict[str, tuple[Path, Path]] = {}
    for path in paths:
        for image, root in _look_in(path, exclude, on_error or _raise, on_result):
            found.setdefault(os.path.realpath(image), (image, root))
    return _with_distinct_names(list(found.values()))


def _raise(path: Path, error: RestyleError) -> None:
    raise error


# --- folders


def _look_in(
    path: Path, exclude: Path | None, refuse: Refuse, on_result: Callable[[Path], None] | None
) -> Iterator[tuple[Path, Path]]:
    """Pairs of an image and the folder that its name in the output counts from."""
    try:
        if not path.is_dir():
            check_regular(path)
            yield path, path.parent
            return
    except OSError as error:
        refuse(path, reading_failed(path, error))
        return
    if exclude is not None and _identity(path) == _identity(exclude):
        message = f"{str(path)!r} is also the output folder: results would be inputs of the next run"
        refuse(path, RestyleError(message, "choose another folder with --output"))
        return
    refused: list[Path] = []

    def refuse_one(one: Path, error: RestyleError) -> None:
        refused.append(one)
        refuse(one, error)

    images = _walk(path, exclude, refuse_one)
    results = 0
    for image in images:
        if on_result is not None and is_result(image):
            on_result(image)
            results += 1
        else:
            yield image, path
    if images and results == len(images):
        message = f"no images in the folder {str(path)!r} but results of restyle ({results})"
        refuse(path, RestyleError(message, "name a file to use it as input"))
    elif not images and not refused:
        refuse(path, RestyleError(f"no images in the folder {str(path)!r}", FORMATS_READ))


def _walk(root: Path, exclude: Path | None, refuse: Refuse) -> list[Path]:
    """The image files below `root`, a folder's own before those of its sub-folders."""
    resolved = root.resolve()
    seen = {_identity(folder) for folder in (exclude, *resolved.parents) if folder is not None}
    folders, links = deque([root]), deque[Path]()  # links come last: a folder's own name goes before that of a link
    images: list[Path] = []
    while folders or links:
        folder = folders.popleft() if folders else links.popleft()
        try:
            identity = _identity(folder)
            entries = [] if identity in seen else list(os.scandir(folder))
        except OSError as error:
            refuse(folder, reading_failed(folder, error))
            continue
        seen.add(identity)
        for entry in entries:
            path, named_as_image = folder / entry.name, Path(entry.name).suffix.lower() in SUFFIXES
            if entry.name.startswith("."):
                continue
            try:
                if stat.S_ISDIR(path.stat().st_mode):
                    (links if entry.is_symlink() else folders).append(path)
                elif named_as_image:
                    check_regular(path)
                    images.append(path)
            except OSError as error:
                if named_as_image or entry.is_symlink():
                    refuse(path, reading_failed(path, error))
    return sorted(images, key=lambda path: [(True, part) for part in path.parent.parts] + [(False, path.name)])


def _identity(path: Path) -> tuple[int, int] | None:
    """Identity of a file or folder, whatever its name; None if it does not exist."""
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino


# --- results


def is_result(path: Path) -> bool:
    """Whether an image file is a result of restyle: listed in the latent file next to it, or marked as one."""
    match = _RESULT_NAME.fullmatch(path.name)
    if match is None:
        return False
    kind = match["kind"] or "image"
    if kind in _kinds_of(path.with_name(match["base"] + ".safetensors")):
        return True
    return kind != "image" and _is_marked(path)


def _kinds_of(latent: Path) -> list[str]:
    """The kinds of files that were written with a latent file."""
    if not latent.is_file():
        return []
    from restyle_cli.store.files import LATENT, read_header

    try:
        header = read_header(latent)
    except RestyleError:
        return []
    kinds = header["extra"].get("files")
    return kinds if header["family"] == LATENT and isinstance(kinds, list) else []


def _is_marked(path: Path) -> bool:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return any(chunk in image.info for chunk in _RESULT_CHUNKS)
    except Exception:  # damaged files raise whatever the parser stumbles over
        return False


# --- names


def _with_distinct_names(found: list[tuple[Path, Path]]) -> list[Source]:
    """Name outputs by the path below the given folder; if two would be equal, add suffixes, then parent folders.

    Paths that differ only in case, which some file systems do not tell apart, get numbers.
    """
    twins: Counter[str] = Counter()
    numbers = []
    for image, _ in found:
        path = os.path.realpath(image).casefold()
        twins[path] += 1
        numbers.append(twins[path])
    levels = [0] * len(found)
    while True:
        names = [_name(*one, level, number) for one, level, number in zip(found, levels, numbers, strict=True)]
        times = Counter(str(name).casefold() for name in names)
        longer = [
            i
            for i, name in enumerate(names)
            if times[str(name).casefold()] > 1 and levels[i] < 2 * len(found[i][1].resolve().parts)
        ]
        if not longer:
            return [Source(image, name) for (image, _), name in zip(found, names, strict=True)]
        for i in longer:
            levels[i] += 1


def _name(image: Path, root: Path, level: int, number: int) -> Path:
    """Even levels drop the suffix, odd ones keep it; every second level adds one more parent folder."""
    above = root.resolve().parts[1:]
    name = Path(*above[max(len(above) - level // 2, 0) :], image.relative_to(root))
    if level % 2 == 0 and name.stem.strip("."):  # of "..jpg", nothing would be left
        name = name.with_suffix("")
    return name if number == 1 else name.with_name(f"{name.name}-{number}")
