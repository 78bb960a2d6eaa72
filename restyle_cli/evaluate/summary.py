"""Means, standard errors, best and worst images: the rows of a journal as report.json and images.csv."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restyle_cli.evaluate.journal import Journal, Peak, Row, Skip
from restyle_cli.evaluate.protocol import Evaluation
from restyle_cli.evaluate.schedule import Schedule
from restyle_cli.io import csv_name
from restyle_cli.metrics.base import Better, Column

MOST = 4
"""Number of best images, and of worst."""
NOTHING = "—"
_ORDER = ("l2", "lpips", "structure", "ms_ssim", "id", "fid")
"""Order of the metrics, as in the papers' tables; others follow."""


def summary(
    evaluation: Evaluation, journal: Journal, used: Mapping[str, str], skips: Sequence[Skip]
) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """The measured part of report.json, and by method the thumbnails of its best and worst images by input.

    `used`: the SHA-256 of each measured image, by its input.
    """
    names = {schedule.key: schedule.name for schedule in evaluation.schedules}
    skipped = [
        {"input": skip.input, "reason": skip.reason} | ({"method": names[skip.schedule]} if skip.schedule else {})
        for skip in skips
    ]
    methods, thumbnails = [], {}
    for schedule in evaluation.schedules:
        method, thumbnails[schedule.name] = _method(evaluation, journal, schedule, used)
        methods.append(method)
    return {"images": len(used), "skipped": skipped, "methods": methods}, thumbnails


def rows(evaluation: Evaluation, journal: Journal, schedule: Schedule, used: Mapping[str, str]) -> Iterator[Row]:
    """The rows of a schedule for the images in `used`, each image once; RestyleError if the journal is damaged."""
    left = dict(used)
    for row in journal.rows(schedule.key, len(schedule.steps), len(evaluation.columns)):
        if left.get(row.input) == row.sha256:
            del left[row.input]
            yield row


def write_table(path: Path, evaluation: Evaluation, journal: Journal, used: Mapping[str, str]) -> None:
    """Write images.csv: one row per image, method and step."""
    keys = [column.key for column in evaluation.columns]
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow(["method", "input", "step", "by", *keys, *evaluation.missing, "seconds", "sha256"])
        empty = [""] * len(evaluation.missing)
        for schedule in evaluation.schedules:
            for row in rows(evaluation, journal, schedule, used):
                seconds: Sequence[float | str] = row.seconds or [""] * len(schedule.steps)
                for step, by, values, time in zip(schedule.steps, schedule.methods, row.values, seconds, strict=True):
                    names = [csv_name(schedule.name), csv_name(row.input), step, csv_name(by)]
                    table.writerow([*names, *values, *empty, time, row.sha256])


def _method(
    evaluation: Evaluation, journal: Journal, schedule: Schedule, used: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The record of a method in report.json, and the thumbnails of its best and worst images by input."""
    columns, measured = evaluation.columns, list(rows(evaluation, journal, schedule, used))
    count, shape = len(measured), (len(schedule.steps), len(columns))
    values = np.array([row.values for row in measured]).reshape(count, *shape)
    seconds = np.array([row.seconds for row in measured])  # [N, S], or [N, 0] for pairs
    nothing = np.full(shape, None)
    means = (values.mean(axis=0) if count else nothing).tolist()
    errors = (values.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else nothing).T.tolist()
    times = (seconds.mean(axis=0) if seconds.size else nothing[:, 0]).tolist()
    keys, missing = [column.key for column in columns], dict.fromkeys(evaluation.missing)
    steps = [
        {"step": step, "method": by, **dict(zip(keys, mean, strict=True)), **missing, "seconds": time}
        for step, by, mean, time in zip(schedule.steps, schedule.methods, means, times, strict=True)
    ]
    best = None
    if count:  # by the first column, which is L2 if it was requested
        best = (max if columns[0].better == "higher" else min)(steps, key=lambda step: step[keys[0]])
        best = {key: value for key, value in best.items() if key != "method"}
    by = columns[evaluation.ranking]
    ranked = values[:, -1, evaluation.ranking]
    examples = {
        kind: [{"input": measured[i].input, by.key: float(ranked[i])} for i in indices]
        for kind, indices in zip(("best", "worst"), extremes(ranked, by.better), strict=True)
    }
    shown = {example["input"] for kind in examples.values() for example in kind}
    peaks = [e.peak_memory_mb for e in journal.entries() if isinstance(e, Peak) and e.schedule == schedule.key]
    method = {
        "name": schedule.name,
        "chain": schedule.key if seconds.size else None,
        "images": count,
        "steps": steps,
        "best": best,
        # None for seconds, which the images of a batch share
        "stderr": {**dict(zip(keys, errors, strict=True)), **missing, "seconds": None},
        "peak_memory_mb": max(peaks, default=None),
        "examples": {"by": by.key, **examples},
    }
    return method, {row.input: row.thumbnail for row in measured if row.thumbnail and row.input in shown}


def extremes(values: NDArray[np.float64], better: Better) -> tuple[list[int], list[int]]:
    """The indices of the best and of the worst, most extreme first, earlier before equal; none is in both."""
    badness = -values if better == "higher" else values
    best = np.argsort(badness, kind="stable")[:MOST].tolist()
    worst = np.argsort(-badness, kind="stable")[:MOST].tolist()
    return best, [index for index in worst if index not in best]


# --- tables, for the terminal and the HTML report


def format_value(value: float | None, error: float | None = None) -> str:
    """`value ± error`, with four decimals below 10 and one from there on; a dash for None."""
    if value is None:
        return NOTHING
    digits = 4 if abs(value) < 10 else 1
    text = f"{value:.{digits}f}"
    return text if error is None else f"{text} ± {error:.{digits}f}"


def titles(columns: Sequence[Column], missing: Sequence[str]) -> dict[str, str]:
    """Title by key of a step's record, in the order of the table; missing metrics included."""
    known = {column.key: column.title for column in columns} | {name: name.upper() for name in missing}
    place = {name: index for index, name in enumerate(_ORDER)}
    return {key: known[key] for key in sorted(known, key=lambda key: place.get(key.split("/")[0], len(_ORDER)))}


def step_cells(method: Mapping[str, Any], index: int, keys: Sequence[str]) -> list[str]:
    """The formatted values of one step of a method, each with its standard error."""
    step, errors = method["steps"][index], method["stderr"]
    return [format_value(step[key], errors[key][index] if errors.get(key) else None) for key in keys]
