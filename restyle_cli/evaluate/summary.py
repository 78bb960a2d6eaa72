"""Means and standard errors of the rows of a journal, in one pass per course and constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restyle_cli.evaluate.highlights import Highlights
from restyle_cli.evaluate.journal import Journal
from restyle_cli.evaluate.rows import Course, Row, Skip, peak_of, pictures_of, rows_of
from restyle_cli.metrics.metric import Column


@dataclass
class Mean:
    """Running mean and standard error by Welford's algorithm, which is numerically stable."""

    count: int = 0
    value: float = 0.0
    _spread: float = 0.0

    def add(self, number: float) -> None:
        """Add a number."""
        self.count += 1
        off = number - self.value
        self.value += off / self.count
        self._spread += off * (number - self.value)

    @property
    def error(self) -> float | None:
        """The standard error; None for fewer than two numbers."""
        return math.sqrt(self._spread / (self.count - 1) / self.count) if self.count > 1 else None


@dataclass(frozen=True)
class Measured:
    """The data of a report. `used`: the SHA-256 of each measured image, by its input."""

    journal: Journal
    courses: Sequence[Course]
    columns: Sequence[Column]
    missing: Sequence[str]  # metrics that could not be computed
    ranking: int  # index of the column that ranks the images
    used: Mapping[str, str]
    skips: Sequence[Skip]

    def rows(self, course: Course) -> Iterator[Row]:
        """The rows of a course."""
        return rows_of(self.journal, course, self.used, len(self.columns))


def summary(measured: Measured) -> dict[str, Any]:
    """The measured part of report.json: images, skipped, methods."""
    names = {course.chain: course.name for course in measured.courses}
    skipped = [
        {"input": skip.input, "reason": skip.reason} | ({"method": names[skip.course]} if skip.course else {})
        for skip in measured.skips
    ]
    methods = [_method(course, measured) for course in measured.courses]
    return {"images": len(measured.used), "skipped": skipped, "methods": methods}


def examples(measured: Measured, method: Mapping[str, Any]) -> dict[str, str]:
    """Thumbnails of a method's best and worst images, by input, as base64 of JPEGs: [target | result]."""
    course = next(course for course in measured.courses if course.name == method["name"])
    wanted = {example["input"] for kind in ("best", "worst") for example in method["examples"][kind]}
    return pictures_of(measured.journal, course, wanted)


def _method(course: Course, measured: Measured) -> dict[str, Any]:
    columns = measured.columns
    means = [[Mean() for _ in columns] for _ in course.steps]
    times = [Mean() for _ in course.steps]
    ranking = columns[measured.ranking]
    highlights, ranked = Highlights(ranking.higher), {}
    for row in measured.rows(course):
        for step, values in zip(means, row.values, strict=True):
            for mean, value in zip(step, values, strict=True):
                mean.add(value)
        for time, seconds in zip(times, row.seconds, strict=False):  # pairs have no seconds
            time.add(seconds)
        value = row.values[-1][measured.ranking]
        if highlights.add(row.input, value):
            ranked[row.input] = value
    steps = [_step(*step, measured) for step in zip(course.steps, course.methods, means, times, strict=True)]
    best, worst = highlights.names()
    return {
        "name": course.name,
        "chain": course.chain if times[0].count else None,
        "images": means[0][0].count,
        "steps": steps,
        "best": _best(steps, columns[0]),
        "stderr": _errors(means, measured),
        "peak_memory_mb": peak_of(measured.journal, course),
        "examples": {
            "by": ranking.key,
            "best": [{"input": name, ranking.key: ranked[name]} for name in best],
            "worst": [{"input": name, ranking.key: ranked[name]} for name in worst],
        },
    }


def _step(number: int, method: str, means: Sequence[Mean], time: Mean, measured: Measured) -> dict[str, Any]:
    values = {
        column.key: mean.value if mean.count else None for column, mean in zip(measured.columns, means, strict=True)
    }
    missing = dict.fromkeys(measured.missing)
    return {"step": number, "method": method, **values, **missing, "seconds": time.value if time.count else None}


def _best(steps: Sequence[dict[str, Any]], column: Column) -> dict[str, Any] | None:
    """The step with the best mean of the first column, which is L2 if it was requested."""
    known = [step for step in steps if step[column.key] is not None]
    if not known:
        return None
    best = (max if column.higher else min)(known, key=lambda step: step[column.key])
    return {key: value for key, value in best.items() if key != "method"}


def _errors(means: Sequence[Sequence[Mean]], measured: Measured) -> dict[str, Any]:
    """Standard errors by column, a list over the steps each; None for seconds, which the images of a batch share."""
    errors: dict[str, Any] = {
        column.key: [step[index].error for step in means] for index, column in enumerate(measured.columns)
    }
    return errors | dict.fromkeys(measured.missing) | {"seconds": None}
