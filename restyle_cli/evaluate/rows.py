"""What is kept of every picture that was measured, as lines of a journal and back."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import NotRequired, TypedDict

from restyle_cli.evaluate.journal import Journal


@dataclass(frozen=True)
class Course:
    """One of the things compared: a chain of methods, or pictures that were there. `chain` is its name in the journal.

    Measured are the `steps`, each the result of the method at its place in `methods`.
    """

    name: str
    chain: str
    steps: tuple[int, ...]
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A picture's numbers: `values` by step and column, and the `seconds` until each step was done.

    `quad`: eight numbers, where its face was cut out of the photo; None when it was taken whole.
    """

    input: str
    sha256: str
    values: list[list[float]]
    seconds: list[float]
    quad: list[float] | None = None


@dataclass(frozen=True)
class Skip:
    """A picture that has no numbers, why, and what to do; `course`: the chain that failed, if another need not."""

    input: str
    sha256: str | None
    reason: str
    hint: str | None = None
    course: str | None = None


@dataclass(frozen=True)
class Known:
    """What is in the journal of a picture. `done`: there is a row for the course asked for; `skip`: there is none."""

    sha256: str
    done: bool = False
    skip: Skip | None = None
    quad: array[float] | None = None


def add_batch(
    journal: Journal, course: Course, rows: list[Row], skips: list[Skip], pictures: Mapping[str, str]
) -> None:
    """Keep what a batch came to, in one line; `pictures`: of some rows, base64 of a small JPEG."""
    journal.add(
        {
            "course": course.chain,
            "rows": [asdict(row) for row in rows],
            "skipped": [asdict(skip) for skip in skips],
            "pictures": dict(pictures),
        }
    )


def add_peak(journal: Journal, course: Course, peak_mb: float) -> None:
    """Keep how much memory a pass over the pictures needed."""
    journal.add({"course": course.chain, "peak_memory_mb": peak_mb})


def rows_of(journal: Journal, course: Course, used: Mapping[str, str], columns: int) -> Iterator[Row]:
    """The rows of a course, of the pictures in `used` ({input: SHA-256}) alone, each once.

    RestyleError where one has not `columns` numbers for every step.
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
    """Of the inputs `wanted`, the small pictures that were kept; the last of each."""
    found: dict[str, str] = {}
    for entry in _entries(journal, course):
        found |= {name: data for name, data in entry.get("pictures", {}).items() if name in wanted}
    return found


def peak_of(journal: Journal, course: Course) -> float | None:
    """The most memory that a pass of the course needed, in MB."""
    peaks = [entry["peak_memory_mb"] for entry in _entries(journal, course) if "peak_memory_mb" in entry]
    return max(peaks, default=None)


def known_of(journal: Journal, course: Course) -> dict[str, Known]:
    """What is known of each picture by its input: of this course, and what others found out that holds here too."""
    known: dict[str, Known] = {}
    for entry in journal.entries(_Entry):
        here = entry["course"] == course.chain
        for row in entry.get("rows", ()):
            before = known.get(row.input)
            done = here or (before is not None and before.done and before.sha256 == row.sha256)
            if row.quad and len(row.quad) != 8:
                raise journal.damaged(f"the face of {row.input!r} has not four corners")
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
