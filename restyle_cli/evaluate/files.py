"""The files of a report."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restyle_cli.errors import RestyleError
from restyle_cli.evaluate.page import page
from restyle_cli.evaluate.summary import Measured, examples
from restyle_cli.io import csv_name, write_atomic

JOURNAL, TABLE, JSON, PAGE = "journal.jsonl", "images.csv", "report.json", "report.html"


def check_free(folder: Path, overwrite: bool) -> None:
    """RestyleError if `folder` has a report without a journal, which may be another run's."""
    taken = next((folder / name for name in (PAGE, JSON, TABLE) if (folder / name).exists()), None)
    if taken is not None and not overwrite and not (folder / JOURNAL).exists():
        raise RestyleError(
            f"{str(taken)!r} already exists and belongs to another run",
            "choose another folder with --output, or replace it with --overwrite",
        )


def write(folder: Path, report: Mapping[str, Any], measured: Measured) -> dict[str, Path]:
    """Write the three files to `folder`; returns them by kind. RestyleError if that fails."""
    files = {"page": folder / PAGE, "json": folder / JSON, "table": folder / TABLE}
    thumbnails = {method["name"]: examples(measured, method) for method in report["methods"]}
    text = page(report, measured.columns, thumbnails)
    write_atomic(files["table"], lambda part: _write_table(part, measured))
    write_atomic(files["json"], lambda part: part.write_text(json.dumps(report, indent=2) + "\n", encoding="ascii"))
    write_atomic(files["page"], lambda part: part.write_text(text, encoding="utf-8", errors="backslashreplace"))
    return files


def _write_table(path: Path, measured: Measured) -> None:
    """Write one row per image, method and step."""
    keys = [column.key for column in measured.columns]
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow(["method", "input", "step", "by", *keys, *measured.missing, "seconds", "sha256"])
        empty = [""] * len(measured.missing)
        for course in measured.courses:
            name = csv_name(course.name)
            for row in measured.rows(course):
                seconds: Sequence[float | str] = row.seconds or [""] * len(course.steps)
                for step, by, values, time in zip(course.steps, course.methods, row.values, seconds, strict=True):
                    names = [name, csv_name(row.input), step, csv_name(by)]
                    table.writerow([*names, *values, *empty, time, row.sha256])
