"""Records of measured images, written to and read from a journal."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import NotRequired, TypedDict

from restyle_cli.evaluate.journal import Journal


@dataclass(frozen=True)
class Course:
    """One column of a comparison: a chain of methods, or existing images. `chain` is its key in the journal.

    `steps` are the measured steps, and `methods` the method of each.
    """

    name: str
    chain: str
    steps: tuple[int, ...]
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """The numbers of an image: `values` by step and column, and the `seconds` until the end of each step.

    `quad`: eight numbers, the corners of the face crop in the photo; None if there was no crop.
    """

    input: str
    sha256: str
    values: list[list[float]]
    seconds: list[float]
    quad: list[float] | None = None


@dataclass(frozen=True)
class Skip:
    """An image without numbers, the reason and a hint. `course`: the chain that failed; None if all would."""

    input: str
    sha256: str | None
    reason: str
    hint: str | None = None
    course: str | None = None


@dataclass(frozen=True)
class Known:
    """What the journal has of an image. `done`: a row of the requested course; `skip`: the reason for none."""

    sha256: str
    done: bool = False
    skip: Skip | None = None
    quad: array[float] | None = None


def add_batch(
    journal: Journal, course: Course, rows: list[Row], skips: list[Skip], pictures: Mapping[str, str]
) -> None:
    """Append the results of a batch in one line; `pictures`: thumbnails of some rows as base64 of JPEGs."""
    journal.add(
        {
            "course": course.chain,
            "rows": [asdict(row) for row in rows],
            "skipped": [asdict(skip) for skip in skips],
            "pictures": dict(pictures),
        }
    )


def add_peak(journal: Journal, course: Course, peak_mb: float) -> None:
    """Append the peak memory of a pass over the images, in MB."""
    journal.add({"course": course.chain, "peak_memory_mb": peak_mb})


def rows_of(journal: Journal, course: Course, used: Mapping[str, str], columns: int) -> Iterator[Row]:
    """The rows of a course for the images in `used` ({input: SHA-256}), each once.

    RestyleError if a row does not have `columns` numbers for every step.
    """
    left = dict(used)
    shape = [columns] * len(course.steps)
    for entry in _entries(journal, course):
        for row in entry.get("rows", ()):
            if left.get(row.input) == row.sha256:
                del left[row.input]
                if [len(values) for values in row.values] != shape or len(row.seconds) not in (0, len(shape)):
                    raise journal.damaged(f"the row of {row.input!r} has other columns or steps")
                yield row


def pictures_of(journal: Journal, course: Course, wanted: set[str]) -> dict[str, str]:
    """The thumbnails of the inputs `wanted`, as base64 of JPEGs."""
    found: dict[str, str] = {}
    for entry in _entries(journal, course):
        found |= {name: data for name, data in entry.get("pictures", {}).items() if name in wanted}
    return found


def peak_of(journal: Journal, course: Course) -> float | None:
    """The highest peak memory of the passes of a course, in MB."""
    peaks = [entry["peak_memory_mb"] for entry in _entries(journal, course) if "peak_memory_mb" in entry]
    return max(peaks, default=None)


def known_of(journal: Journal, course: Course) -> dict[str, Known]:
    """What is known of each image by its input: rows of this course, and face crops and skips of any."""
    known: dict[str, Known] = {}
    for entry in journal.entries(_Entry):
        here = entry["course"] == course.chain
        for row in entry.get("rows", ()):
            before = known.get(row.input)
            done = here or (before is not None and before.done and before.sha256 == row.sha256)
            if row.quad and len(row.quad) != 8:
                raise journal.damaged(f"the face of {row.input!r} does not have four corners")
            quad = array("d", row.quad) if row.quad else None
            known[row.input] = Known(row.sha256, done, quad=quad)
        for skip in entry.get("skipped", ()):
            if skip.sha256 and (here or not skip.course):
                known[skip.input] = Known(skip.sha256, skip=skip)
    return known


class _Entry(TypedDict):
    """A line of the journal, as `add_batch` and `add_peak` write them."""

    course: str
    rows: NotRequired[list[Row]]
    skipped: NotRequired[list[Skip]]
    pictures: NotRequired[dict[str, str]]
    peak_memory_mb: NotRequired[float]


def _entries(journal: Journal, course: Course) -> Iterator[_Entry]:
    return (entry for entry in journal.entries(_Entry) if entry["course"] == course.chain)
