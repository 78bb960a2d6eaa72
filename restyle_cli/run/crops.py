"""Face crops as files: the image, and its transform from the photo."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

from restyle_cli.align import AlignOptions, Size, aligned_mark, inverse_of
from restyle_cli.errors import RestyleError
from restyle_cli.images import save_image
from restyle_cli.io import to_json, write_atomic
from restyle_cli.memory import enough_for
from restyle_cli.records import parse_json
from restyle_cli.run.outputs import Photo, Record, Results, described
from restyle_cli.run.pipeline import Outcome, in_background, read_photos
from restyle_cli.run.sources import Source

SUFFIXES = {"image": ".png", "transform": ".json"}
"""Suffix of each file of a crop, in the order of writing."""
_AHEAD = 2


@dataclass(frozen=True)
class Crops(Results):
    """Crops in a folder; the file with the transform is written last and marks a crop as done."""

    mark: ClassVar[str] = "transform"
    record: ClassVar[type] = Record

    @property
    def suffixes(self) -> Mapping[str, str]:
        """The suffixes of a crop's files."""
        return SUFFIXES

    def write_crop(self, photo: Photo) -> dict[str, Any]:
        """Write the files of one crop; returns its record. After a RestyleError no file is left."""
        aligned = photo.aligned
        record = self.tell(photo) | {"alignment": described(aligned) | {"back": inverse_of(aligned.matrix)}}
        if aligned.landmarks:
            record["landmarks"] = aligned.landmarks
        mark = aligned_mark() if aligned.how in ("aligned", "fits") else None
        text = to_json(record, indent=1)
        try:
            save_image(aligned.image, photo.files["image"], mark)
            write_atomic(photo.files[self.mark], lambda part: part.write_text(text, encoding="utf-8"))
        except RestyleError:
            photo.files["image"].unlink(missing_ok=True)
            raise
        return record

    def _read_mark(self, mark: Path) -> Any:
        return parse_json(mark.read_bytes())


def crop_all(
    sources: Iterable[Source], crops: Crops, options: AlignOptions, size: Size, overwrite: bool = False
) -> Generator[Outcome, None, None]:
    """Crop every image to `size` (height, width) and yield the outcomes; a failure does not stop the others.

    A second thread reads the photos and finds the faces. Close the iterator, or exhaust it.
    """
    named = crops.names(sources)
    reading = in_background(lambda item: read_photos(*item, crops, options, size, overwrite), named, _AHEAD, fill=True)
    with closing(reading) as photos:
        for item in chain.from_iterable(photos):
            yield item if isinstance(item, Outcome) else _write(item, crops)


def _write(photo: Photo, crops: Crops) -> Outcome:
    try:
        with enough_for("to write the crop"):
            record = crops.write_crop(photo)
    except RestyleError as error:
        named = RestyleError(f"{str(photo.path)!r}: {error.message}", error.hint)
        return Outcome(photo.path, "failed", error=named)
    return Outcome(photo.path, "done", dict(photo.files), record)
