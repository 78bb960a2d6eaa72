"""The output folder: which files an image gets, which images are done, and writing the files of an image together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NotRequired, TypedDict, TypeVar

from PIL import Image
from torch import Tensor

from restyle_cli.align import Aligned
from restyle_cli.errors import RestyleError
from restyle_cli.images import to_tensor
from restyle_cli.io import reason_of, writing_failed
from restyle_cli.records import RecordError, conform
from restyle_cli.run.sources import Source

T = TypeVar("T")


class SourceRecord(TypedDict):
    """The image that a result belongs to."""

    name: str
    sha256: str


class AlignmentRecord(TypedDict):
    """Where a crop was in its photo."""

    how: str
    faces: int
    face: int
    quad: tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
    doubts: list[str]


class Record(TypedDict):
    """The metadata that every result has."""

    files: list[str]
    source: SourceRecord
    alignment: AlignmentRecord


class StepRecord(TypedDict):
    """A step; `l2` is None if it produced NaN."""

    step: int
    method: str
    l2: float | None
    seconds: float


class LinkRecord(TypedDict):
    """The steps of one method of a `--quality` chain."""

    method: str
    steps: int
    l2: float
    seconds: float
    ended: str


class InversionRecord(Record):
    """The metadata of an inversion."""

    steps: list[StepRecord]
    best_step: int
    kept_step: int
    has_steps: bool
    links: NotRequired[list[LinkRecord]]
    interrupted: NotRequired[bool]
    against: NotRequired[list[StepRecord]]


@dataclass(frozen=True)
class Photo:
    """An image that is cropped for the models; `size` is the (width, height) of the upright photo."""

    path: Path
    files: Mapping[str, Path]  # to write, by kind
    sha256: str
    size: tuple[int, int]
    aligned: Aligned
    turned: bool = False  # the file stores the photo rotated
    mask: Tensor | None = None  # [1, H, W] from 0 (unknown) to 1 (known)
    full: Image.Image | None = None  # the crop at the generator's full size, for methods that compare there

    @property
    def x(self) -> Tensor:
        """The crop [3, H, W] in [-1, 1]."""
        return to_tensor(self.aligned.image)


@dataclass(frozen=True)
class Output(Generic[T]):
    """A kind of file.

    `write(file, item, record)` writes it; `record` is the metadata of the result. Of an inversion it needs the images
    of the steps `image_steps(last)` among 0 … `last`, and with `every_w` the latents of all steps.
    """

    kind: str
    suffix: str
    write: Callable[[Path, T, dict[str, Any]], object]
    image_steps: Callable[[int], Sequence[int]] | None = None
    every_w: bool = False


@dataclass(frozen=True, kw_only=True)
class Mark(Output[T]):
    """The output that is written last and marks an image as done: it contains the record.

    `read` returns the content of a file, which is a record if it has the type `schema`. It raises RestyleError for a
    damaged file.
    """

    read: Callable[[Path], object]
    schema: type = InversionRecord


@dataclass(frozen=True)
class OutputFolder(Generic[T]):
    """The files of images, or with `numbered` of each face: photo.1.png, photo.2.png, …

    `kinds` are the kinds to write of all possible `outputs`. `settings` are the options that change a result, as JSON;
    `notes` are other metadata. No image gets the base name `reserved`.
    """

    folder: Path
    kinds: frozenset[str]
    settings: Mapping[str, Any]
    notes: Mapping[str, Any] = field(default_factory=dict)
    numbered: bool = False
    outputs: Sequence[Output[T]] = field(kw_only=True)
    mark: Mark[T] = field(kw_only=True)
    reserved: str | None = field(default=None, kw_only=True)

    @property
    def every_output(self) -> Mapping[str, Output[T]]:
        """All possible outputs by kind, in the order of writing."""
        return {output.kind: output for output in (*self.outputs, self.mark)}

    # --- names

    def names(self, sources: Iterable[Source]) -> Iterator[tuple[Source, dict[str, Path] | RestyleError]]:
        """The files of each image by kind, or an error if they would overwrite an input or another image's files."""
        sources = list(sources)
        inputs = {source.path.resolve() for source in sources}
        here, real = self.folder, self.folder.resolve()
        taken_by: dict[Path, Path] = {}
        for source in sources:
            try:
                files = self._files(source)
            except OSError as error:  # the name is too long, above all
                failed = writing_failed(here / source.relative, error)
                yield source, RestyleError(f"{str(source.path)!r}: {failed.message}", failed.hint)
                continue
            every = [files] if not self.numbered else self._faces_like(files, inputs)
            clashes = (
                file
                for of_face in every
                for file in of_face.values()
                if file in taken_by or real / file.relative_to(here) in inputs
            )
            clash = next(clashes, None)
            if clash is None:
                taken_by |= dict.fromkeys(files.values(), source.path)
                yield source, files
                continue
            what = f"an output of {str(taken_by[clash])!r}" if clash in taken_by else "an input"
            message = f"{str(source.path)!r} would be written to {str(clash)!r}, which is {what}"
            yield source, RestyleError(message, "choose another folder with --output, or rename it")

    def of_face(self, files: Mapping[str, Path], number: int) -> dict[str, Path]:
        """The files of one face. All faces are pasted into one photo."""
        if not self.numbered:
            return dict(files)
        suffixes = {kind: output.suffix for kind, output in self.every_output.items()}
        return {
            kind: file
            if kind == "pasted"
            else file.with_name(f"{file.name.removesuffix(suffixes[kind])}.{number}{suffixes[kind]}")
            for kind, file in files.items()
        }

    def _files(self, source: Source) -> dict[str, Path]:
        """OSError if the file system does not accept such names."""
        base = self.folder / source.relative
        if self.reserved is not None and str(source.relative).casefold() == self.reserved:
            base = base.with_name(f"{base.name}.photo")
        number = ".1" if self.numbered else ""
        outputs = {kind: output for kind, output in self.every_output.items() if kind in self.kinds}
        for output in outputs.values():
            with suppress(FileNotFoundError):
                (self.folder / f"{base.name}{number}{output.suffix}").lstat()
        before = self._read_record(base.with_name(base.name + number + self.mark.suffix))
        if before and before["source"]["name"] != source.path.name:  # that was a.jpg, this is a.png
            base = base.with_name(source.path.name)
        return {kind: base.with_name(base.name + output.suffix) for kind, output in outputs.items()}

    def _faces_like(self, files: Mapping[str, Path], inputs: set[Path]) -> Iterator[dict[str, Path]]:
        """The files of the first face, and of those whose names inputs have: the number of faces is not known yet."""
        base = self._base(files[self.mark.kind])
        number = re.compile(re.escape(base) + r"\.([1-9]\d*)\.")
        found = (number.match(path.name) for path in inputs)
        return (self.of_face(files, int(match[1])) for match in (number.match(f"{base}.1."), *found) if match)

    def _base(self, mark: Path) -> str:
        return mark.name.removesuffix(self.mark.suffix)

    # --- finished images

    def earlier(self, files: Mapping[str, Path], sha256: str) -> list[tuple[dict[str, Path], dict[str, Any]]]:
        """Files and record of each face, if all were written from the same image with the same settings; else []."""
        first = self.of_face(files, 1)
        record = self._complete(first, sha256)
        if not record:
            return []
        found = [(first, record)]
        for number in range(2, record["alignment"]["faces"] + 1 if self.numbered else 2):
            face = self.of_face(files, number)
            if not (record := self._complete(face, sha256)):
                return []
            found.append((face, record))
        return found

    def _complete(self, files: Mapping[str, Path], sha256: str) -> dict[str, Any]:
        """The record of a finished result with all these files; else {}."""
        record = self._same(files, sha256)
        there = set(files) <= set(record.get("files", ())) and all(file.is_file() for file in files.values())
        enough = "steps" not in self.kinds or record.get("has_steps")
        return record if there and enough and not record.get("interrupted") else {}

    def _same(self, files: Mapping[str, Path], sha256: str) -> dict[str, Any]:
        """The record of an earlier result for the same image and settings; else {}."""
        record = self._read_record(files[self.mark.kind])
        same = {key: record.get(key) for key in self.settings} == self.settings
        return record if record and same and record["source"]["sha256"] == sha256 else {}

    def _read_record(self, mark: Path) -> dict[str, Any]:
        """The record in a mark; {} if there is none, or it is damaged or was not written by restyle."""
        try:
            record = conform(self.mark.read(mark), self.mark.schema) if mark.is_file() else {}
        except (OSError, RestyleError, RecordError):
            return {}
        return record if record.get("kept_step", 0) in range(len(record.get("steps", [{}]))) else {}

    def earlier_l2(self, photo: Photo) -> float | None:
        """The L2 of an existing result for this photo, with whatever settings; None if there is none."""
        record = self._read_record(photo.files[self.mark.kind])
        if not record or record["source"]["sha256"] != photo.sha256:
            return None
        return next((step["l2"] for step in record.get("steps", ()) if step["step"] == record["kept_step"]), None)

    # --- writing

    def record_of(self, photo: Photo) -> dict[str, Any]:
        """The metadata that all results of `photo` share: settings, notes, source, alignment."""
        base, mark = self._base(photo.files[self.mark.kind]), photo.files[self.mark.kind]
        # Also the files that a run with the same settings and other kinds has left.
        left = [kind for kind in self._same(photo.files, photo.sha256).get("files", ()) if kind in self.every_output]
        valid = [kind for kind in left if mark.with_name(base + self.every_output[kind].suffix).is_file()]
        source = {"name": photo.path.name, "size": photo.size, "sha256": photo.sha256, "turned": photo.turned}
        return {
            **self.settings,
            **self.notes,
            "files": sorted({*photo.files, *valid}),
            "source": source,
            "alignment": alignment_record(photo.aligned),
        }

    def write_files(self, files: Mapping[str, Path], item: T, record: dict[str, Any]) -> None:
        """Write these files, the mark last. After an error none of them is left, and no earlier mark."""
        written: list[Path] = []
        remove(files[self.mark.kind])
        try:
            for kind, output in self.every_output.items():
                if kind in files:
                    output.write(files[kind], item, record)
                    written.append(files[kind])
        except BaseException:
            for file in written:
                file.unlink(missing_ok=True)
            raise


def remove(file: Path) -> None:
    """Remove a file of an earlier result, if there is one. RestyleError if that fails."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        message = f"cannot replace {str(file)!r}: {reason_of(error)}"
        raise RestyleError(message, "choose another folder with --output") from error


def alignment_record(aligned: Aligned) -> dict[str, Any]:
    """Where a crop was in its photo, for files and JSON; `size` is (height, width) of the crop."""
    return {
        "how": aligned.how,
        "faces": aligned.faces,
        "face": aligned.face,
        "quad": aligned.quad,
        "matrix": aligned.matrix,
        "size": [aligned.image.height, aligned.image.width],
        "doubts": list(aligned.warnings),
    }
