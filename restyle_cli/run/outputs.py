"""What is written for an inverted picture, under which names, and how to tell later that it was.

The latent file comes last and says how it was made: it is the mark that the picture is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NotRequired, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restyle_cli.align import Aligned
from restyle_cli.align.paste import paste
from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.images import RESULT, open_original, save_image, to_image, to_tensor
from restyle_cli.inversion import Inversion
from restyle_cli.io import reason_of, write_atomic, writing_failed
from restyle_cli.records import Misfit, conform
from restyle_cli.run.latents import PATCH, half_patch
from restyle_cli.run.sources import Source
from restyle_cli.run.strip import Cell, draw_strip, shown_steps
from restyle_cli.store.files import LATENT, read_header, write_latent

SUFFIXES = {
    "image": ".png",
    "strip": ".strip.png",
    "pasted": ".pasted.png",
    "npy": ".npy",
    "latent": ".safetensors",
}
"""What can be written for a picture, in this order."""


class SourceRecord(TypedDict):
    """The picture that a result is of, as its files say."""

    name: str
    sha256: str


class AlignmentRecord(TypedDict):
    """Where a crop was in its photo, as `described` says; matrix and size are of no use to a later run."""

    how: str
    faces: int
    face: int
    quad: tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
    doubts: list[str]


class Record(TypedDict):
    """What every result says of its making, among other things."""

    files: list[str]
    source: SourceRecord
    alignment: AlignmentRecord


class StepRecord(TypedDict):
    """A step, as `steps_of` says."""

    step: int
    method: str
    l2: float | None
    seconds: float


class LinkRecord(TypedDict):
    """A part of the way, as `links_of` says."""

    method: str
    steps: int
    l2: float
    seconds: float
    ended: str


class InversionRecord(Record):
    """What the result of an inversion says."""

    steps: list[StepRecord]
    best_step: int
    kept_step: int
    has_steps: bool
    links: NotRequired[list[LinkRecord]]
    interrupted: NotRequired[bool]
    against: NotRequired[list[StepRecord]]


Writer = Callable[[Path, "Inverted", dict[str, Any]], None]
"""Writes one file of a picture, of which the description is given."""


@dataclass(frozen=True)
class Photo:
    """A picture that is framed for the networks; `size` is the upright photo's (width, height)."""

    path: Path
    files: Mapping[str, Path]  # to write, by kind
    sha256: str
    size: tuple[int, int]
    aligned: Aligned
    turned: bool = False  # the photo lies on its side in its file
    mask: Tensor | None = None  # [1, H, W] from 0 to 1, how much is known of each pixel, where not all is
    full: Image.Image | None = None  # the same at the generator's full size, where a method compares there

    @property
    def x(self) -> Tensor:
        """[3, H, W] in [-1, 1], as the networks see it."""
        return to_tensor(self.aligned.image)


@dataclass(frozen=True)
class Inverted:
    """A picture and what came of it; `against`: of the schedule that it is compared with, where there is one.

    `beside`: what the results wished for beside it; see `Results.beside`.
    `pasted`: the faces that are pasted into the photo when this one is written; None where another one's turn is it.
    """

    photo: Photo
    inversion: Inversion  # the `Inversion.one` of it
    against: Inversion | None = None
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    pasted: Sequence[Inverted] | None = ()


@dataclass(frozen=True)
class Results:
    """Where results go and what they are made of. Other kinds of results are other classes of this one.

    `kinds` are of SUFFIXES, always with "latent", and "steps" for the code of every step in the latent file.
    `settings` are what a result depends on beside the picture, as JSON has it; `notes` are kept with them; those called
    `generators` name each method's.
    With `numbered` each face of a photo has results of its own, photo.1, photo.2, …, but for one photo with all of
    them pasted.
    """

    folder: Path
    kinds: frozenset[str]
    settings: Mapping[str, Any]
    notes: Mapping[str, Any] = field(default_factory=dict)
    numbered: bool = False

    mark: ClassVar[str] = "latent"  # the kind that is written last and says how it was made
    record: ClassVar[type] = InversionRecord  # what the mark must say to be one of ours
    of_every_step: ClassVar[bool] = False  # each step must have come to numbers, not only that which is kept

    @property
    def suffixes(self) -> Mapping[str, str]:
        """The suffix of each kind of file, in the order of writing."""
        return SUFFIXES

    @property
    def keeps_codes(self) -> bool:
        """Whether the code of every step is needed."""
        return "steps" in self.kinds

    def pictures(self, last: int) -> list[int]:
        """Which of the steps 0 … `last` are needed as pictures."""
        return shown_steps(last) if "strip" in self.kinds else []

    def beside(self, inversion: Inversion, generator: StyleGenerator, dtype: torch.dtype) -> dict[str, Tensor]:
        """What else there is to draw with the `generator` of the kept step, in `dtype`.

        It is asked for by the thread that computes: methods may change a generator while files are written.
        """
        return {}

    def names(self, sources: Iterable[Source]) -> Iterator[tuple[Source, dict[str, Path] | RestyleError]]:
        """Each picture's files by kind, or an error where they would be written over something else."""
        sources = list(sources)
        inputs = {source.path.resolve() for source in sources}
        here, real = self.folder, self.folder.resolve()
        outputs: dict[Path, Path] = {}
        for source in sources:
            try:
                files = self._files(source)
            except OSError as error:  # a name that is too long, above all
                failed = writing_failed(here / source.relative, error)
                yield source, RestyleError(f"{str(source.path)!r}: {failed.message}", failed.hint)
                continue
            faces = [files] if not self.numbered else self._numbered_over(files, inputs)
            every = (file for of_face in faces for file in of_face.values())
            clashes = (f for f in every if f in outputs or real / f.relative_to(here) in inputs)
            taken = next(clashes, None)
            if taken is None:
                outputs |= dict.fromkeys(files.values(), source.path)
                yield source, files
                continue
            of = f"what {str(outputs[taken])!r} gives" if taken in outputs else "a picture to be read"
            message = f"{str(source.path)!r} would be written to {str(taken)!r}, which is {of}"
            yield source, RestyleError(message, "choose another folder with --output, or rename it")

    def of_face(self, files: Mapping[str, Path], number: int) -> dict[str, Path]:
        """The files of one face; they are the photo's own, unless faces are `numbered`."""
        if not self.numbered:
            return dict(files)
        return {
            kind: file if kind == "pasted" else _with_number(file, self.suffixes[kind], number)
            for kind, file in files.items()
        }

    def earlier(self, files: Mapping[str, Path], sha256: str) -> list[tuple[dict[str, Path], dict[str, Any]]]:
        """The files and descriptions of earlier results, one or each face's, if all are equal and whole; else []."""
        first = self.of_face(files, 1)
        made = self._earlier(first, sha256)
        if not made:
            return []
        found = [(first, made)]
        for number in range(2, made["alignment"]["faces"] + 1 if self.numbered else 2):
            here = self.of_face(files, number)
            if not (made := self._earlier(here, sha256)):
                return []
            found.append((here, made))
        return found

    def _earlier(self, files: Mapping[str, Path], sha256: str) -> dict[str, Any]:
        made = self._same(files, sha256)
        whole = set(files) <= set(made.get("files", ())) and all(file.is_file() for file in files.values())
        enough = "steps" not in self.kinds or made.get("has_steps")
        return made if whole and enough and not made.get("interrupted") else {}

    def _same(self, files: Mapping[str, Path], sha256: str) -> dict[str, Any]:
        """What an earlier result says, if it is of the same picture and settings; else nothing."""
        made = self._description(files[self.mark])
        same = {key: made.get(key) for key in self.settings} == self.settings
        return made if made and same and made["source"]["sha256"] == sha256 else {}

    def tell(self, photo: Photo) -> dict[str, Any]:
        """What the files of `photo` say of it, whatever is made of it: settings, source, where the crop was."""
        return {
            **self.settings,
            **self.notes,
            "files": self._valid(photo),
            "source": {
                "name": photo.path.name,
                "size": photo.size,
                "sha256": photo.sha256,
                "turned": photo.turned,
            },
            "alignment": described(photo.aligned),
        }

    def lost(self, inverted: Inverted) -> RestyleError | None:
        """Why nothing is written of a picture that Ctrl-C cut short; None where it was not, or there is a gain."""
        inversion, photo, kept = inverted.inversion, inverted.photo, int(inverted.inversion.kept_step)
        if not inversion.interrupted or inversion.finished:
            return None
        if kept == 0:
            return RestyleError("interrupted before a step of it had led anywhere", "the same command begins it again")
        before, reached = self._description(photo.files[self.mark]), float(inversion.steps[kept].l2)
        there = _kept_l2(before) if before and before["source"].get("sha256") == photo.sha256 else None
        if there is None or reached < there:
            return None
        message = f"interrupted at an L2 of {reached:.4f}; the result that is there has {there:.4f}, and stays"
        return RestyleError(message, "the same command begins it again; with another --output both are kept")

    def write(self, inverted: Inverted) -> dict[str, Any]:
        """Write the files of a picture; returns the description that they carry.

        Whatever stops it, nothing of them is left; nor is an earlier mark, which would vouch for what is written here.
        """
        if not self.has_numbers(inverted):
            raise RestyleError("the networks came to no numbers", "use --precision fp32")
        made = self._describe(inverted)
        written: list[Path] = []
        remove(inverted.photo.files[self.mark])
        try:
            for kind, file in inverted.photo.files.items():
                if kind != "pasted" or inverted.pasted is not None:
                    self._writers()[kind](file, inverted, made)
                    written.append(file)
        except BaseException:
            for file in written:
                file.unlink(missing_ok=True)
            raise
        return made

    def has_numbers(self, inverted: Inverted) -> bool:
        """Whether there is a result: the first guess is none where a step after it came to no number."""
        inversion, kept = inverted.inversion, int(inverted.inversion.kept_step)
        of_all = [inversion, inverted.against] if self.of_every_step or not kept else [inverted.against]
        every = [inversion.steps[kept], *(step for one in of_all if one is not None for step in one.steps)]
        return all(bool(step.l2.isfinite()) for step in every)

    def _files(self, source: Source) -> dict[str, Path]:
        """OSError where the file system does not take such names."""
        base = self.folder / source.relative
        number = ".1" if self.numbered else ""
        for kind in self.kinds & set(self.suffixes):
            with suppress(FileNotFoundError):
                (self.folder / f"{base.name}{number}{self.suffixes[kind]}").lstat()
        before = self._description(base.with_name(base.name + number + self.suffixes[self.mark]))
        if before and before["source"]["name"] != source.path.name:  # that was a.jpg, this is a.png
            base = base.with_name(source.path.name)
        return {kind: base.with_name(base.name + end) for kind, end in self.suffixes.items() if kind in self.kinds}

    def _numbered_over(self, files: Mapping[str, Path], inputs: set[Path]) -> Iterator[dict[str, Path]]:
        """The files of those faces that would be written over inputs: how many faces there are is not known yet."""
        base = files[self.mark].name.removesuffix(self.suffixes[self.mark])
        number = re.compile(re.escape(base) + r"\.([1-9]\d*)\.")
        found = (number.match(path.name) for path in inputs)
        return (self.of_face(files, int(match[1])) for match in (number.match(f"{base}.1."), *found) if match)

    def _writers(self) -> Mapping[str, Writer]:
        return _WRITERS

    def _description(self, mark: Path) -> dict[str, Any]:
        """What the file `mark` says of its making; nothing where there is none, or none of ours, or a damaged one."""
        try:
            made = conform(self._read_mark(mark), self.record) if mark.is_file() else {}
        except (OSError, RestyleError, Misfit):
            return {}
        steps = made.get("steps", [{}])
        return made if made.get("kept_step", 0) in range(len(steps)) else {}

    def _read_mark(self, mark: Path) -> Any:
        """What the file `mark` says; RestyleError where it is damaged or none of ours."""
        header = read_header(mark)
        return header["extra"] if header["family"] == LATENT else None

    def _describe(self, inverted: Inverted) -> dict[str, Any]:
        inversion, steps = inverted.inversion, steps_of(inverted.inversion)
        return {
            **self.tell(inverted.photo),
            "generator": self._generator_of(steps, int(inversion.kept_step)),
            "steps": steps,
            "best_step": int(inversion.best_step),
            "kept_step": int(inversion.kept_step),
            "has_steps": "steps" in self.kinds,
            **({"links": links_of(inversion)} if self.settings.get("quality") else {}),
            **({"interrupted": True} if inversion.interrupted and not inversion.finished else {}),
        }

    def _generator_of(self, steps: Sequence[Mapping[str, Any]], kept: int) -> str | None:
        """The generator that drew step `kept`, by its name in `notes`; the first guess is the first method's."""
        generators = self.notes.get("generators", {})
        method = steps[min(max(kept, 1), len(steps) - 1)]["method"]
        return generators.get(method, next(iter(generators.values()), None))

    def _valid(self, photo: Photo) -> list[str]:
        """The kinds of files that hold this result once it is written: also those that an equal one left."""
        mark = photo.files[self.mark]
        base = mark.name.removesuffix(self.suffixes[self.mark])
        left = [kind for kind in self._same(photo.files, photo.sha256).get("files", ()) if kind in self.suffixes]
        still = [kind for kind in left if mark.with_name(base + self.suffixes[kind]).is_file()]
        return sorted({*photo.files, *still})


def remove(file: Path) -> None:
    """Remove a file of an earlier result, if it is there; RestyleError where that cannot be done."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        message = f"cannot replace {str(file)!r}: {reason_of(error)}"
        raise RestyleError(message, "choose another folder with --output") from error


def _kept_l2(made: Mapping[str, Any]) -> float | None:
    """The L2 of the step that a description says is kept; None where it does not."""
    kept = [step.get("l2") for step in made.get("steps", ()) if step.get("step") == made.get("kept_step")]
    return kept[0] if kept else None


def described(aligned: Aligned) -> dict[str, Any]:
    """Where a crop was in its photo, as files and JSON have it; `size` is (height, width) of what `matrix` leads to."""
    return {
        "how": aligned.how,
        "faces": aligned.faces,
        "face": aligned.face,
        "quad": aligned.quad,
        "matrix": aligned.matrix,
        "size": [aligned.image.height, aligned.image.width],
        "doubts": list(aligned.warnings),
    }


def _with_number(file: Path, suffix: str, number: int) -> Path:
    return file.with_name(f"{file.name.removesuffix(suffix)}.{number}{suffix}")


def steps_of(inversion: Inversion) -> list[dict[str, Any]]:
    """The steps of an `Inversion.one` as JSON has them; the L2 of one that came to no number is None."""
    return [
        {
            "step": k,
            "method": step.method,
            "l2": float(step.l2) if step.l2.isfinite() else None,
            "seconds": round(step.seconds, 6),
        }
        for k, step in enumerate(inversion.steps)
    ]


def links_of(inversion: Inversion) -> list[dict[str, Any]]:
    """The parts of the way of an `Inversion.one` as JSON has them, each with the lowest L2 so far and why it ended."""
    (stops,), last = inversion.stops, len(inversion.steps) - 1
    ends = {stop.step: stop.why for stop in stops if stop.step <= last}  # Ctrl-C may come before a step's record
    if last > 0:
        ends.setdefault(last, "interrupted")  # there was no other reason
    links, before = [], 0
    for end, why in ends.items():
        made = inversion.steps[before + 1 : end + 1]
        best = min(float(step.l2) for step in inversion.steps[: end + 1] if step.l2.isfinite())
        seconds = round(sum(step.seconds for step in made), 6)
        links.append({"method": made[0].method, "steps": len(made), "l2": best, "seconds": seconds, "ended": why})
        before = end
    return links


def _write_image(file: Path, inverted: Inverted, made: dict[str, Any]) -> None:
    save_image(to_image(inverted.inversion.images[0]), file)


def _write_strip(file: Path, inverted: Inverted, made: dict[str, Any]) -> None:
    inversion, kept = inverted.inversion, made["kept_step"]
    images = dict(sorted({**inversion.image_steps, kept: inversion.images}.items()))
    several = len({step["method"] for step in made["steps"][1:]}) > 1
    cells = [Cell(to_image(inverted.photo.x), "target")]
    for k, image in images.items():
        step = made["steps"][k]
        if step["l2"] is None:
            continue
        lines = [f"L2 {step['l2']:.4f}", *([step["method"]] if several and k else [])]
        cells.append(Cell(to_image(image[0]), f"step {k}" if k else "start", lines, marked=k == kept))
    save_image(draw_strip(cells), file, {RESULT: "strip"})


def _write_pasted(file: Path, inverted: Inverted, made: dict[str, Any]) -> None:
    photo = inverted.photo
    original = pasted = open_original(photo.path)  # again: kept until now, large photos would fill the memory
    if original.size != photo.size:
        raise RestyleError("the photo has changed meanwhile", "run the command again")
    for face in inverted.pasted or [inverted]:
        pasted = paste(pasted, to_image(face.inversion.images[0]), face.photo.aligned.quad)
    save_image(pasted, file, {RESULT: "pasted"})


def _write_npy(file: Path, inverted: Inverted, made: dict[str, Any]) -> None:
    def write(aside: Path) -> None:
        with aside.open("wb") as stream:  # to a name without .npy, np.save would add it
            np.save(stream, inverted.inversion.w[0].float().numpy())

    write_atomic(file, write)


def latent_tensors(inversion: Inversion, with_steps: bool) -> dict[str, Tensor]:
    """What the latent file of an `Inversion.one` holds, by name; `with_steps`: the code of every step too."""
    tensors = {"w": inversion.w[0].float()}
    if with_steps:
        tensors["w_steps"] = inversion.w_steps[0].float()
    return tensors | {f"{PATCH}{name}": change[0] for name, change in half_patch(inversion.patch).items()}


def _write_latent(file: Path, inverted: Inverted, made: dict[str, Any]) -> None:
    write_latent(file, latent_tensors(inverted.inversion, made["has_steps"]), made)


_WRITERS: Mapping[str, Writer] = {
    "image": _write_image,
    "strip": _write_strip,
    "pasted": _write_pasted,
    "npy": _write_npy,
    "latent": _write_latent,
}
