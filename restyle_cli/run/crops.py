"""Face crops as files: the image, and its transform from the photo."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

from restyle_cli.align import AlignOptions, Size, aligned_mark, inverse_of
from restyle_cli.errors import RestyleError
from restyle_cli.images import save_image
from restyle_cli.io import to_json, write_atomic
from restyle_cli.memory import enough_for
from restyle_cli.records import parse_json
from restyle_cli.run.folder import Mark, Output, OutputFolder, Photo, Record
from restyle_cli.run.pipeline import Outcome, failed, in_background, read_photos
from restyle_cli.run.sources import Source

_AHEAD = 2


def _write_image(file: Path, photo: Photo, record: Mapping[str, Any]) -> None:
    save_image(photo.aligned.image, file, aligned_mark() if photo.aligned.how in ("aligned", "fits") else None)


def _write_transform(file: Path, photo: Photo, record: Mapping[str, Any]) -> None:
    text = to_json(record, indent=1)
    write_atomic(file, lambda part: part.write_text(text, encoding="utf-8"))


IMAGE = Output("image", ".png", _write_image)
TRANSFORM = Mark("transform", ".json", _write_transform, read=lambda file: parse_json(file.read_bytes()), schema=Record)


def crop_folder(
    folder: Path, settings: Mapping[str, Any], notes: Mapping[str, Any], numbered: bool
) -> OutputFolder[Photo]:
    """The files of crops: photo.png and photo.json; see `OutputFolder`."""
    kinds = frozenset({"image", "transform"})
    return OutputFolder(folder, kinds, settings, notes, numbered, outputs=[IMAGE], mark=TRANSFORM)


def crop_all(
    sources: Iterable[Source], folder: OutputFolder[Photo], align: AlignOptions, size: Size, overwrite: bool = False
) -> Generator[Outcome, None, None]:
    """Crop every image to `size` (height, width) and yield the outcomes; a failure does not stop the others.

    A second thread reads the photos and finds the faces. Close the iterator, or exhaust it.
    """

    def read(item: tuple[Source, dict[str, Path] | RestyleError]) -> list[Photo | Outcome]:
        return list(read_photos(*item, folder, align, size, overwrite))

    with closing(in_background(read, folder.names(sources), _AHEAD, fill=True)) as photos:
        for item in chain.from_iterable(photos):
            yield item if isinstance(item, Outcome) else _write(item, folder)


def _write(photo: Photo, folder: OutputFolder[Photo]) -> Outcome:
    record = folder.record_of(photo)
    record["alignment"] |= {"back": inverse_of(photo.aligned.matrix)}
    if photo.aligned.landmarks:
        record["landmarks"] = photo.aligned.landmarks
    try:
        with enough_for("to write the crop"):
            folder.write_files(photo.files, photo, record)
    except RestyleError as error:
        return failed(photo.path, error)
    return Outcome(photo.path, "done", dict(photo.files), record)
