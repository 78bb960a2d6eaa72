"""The files of a report, and whether they may be written."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restyle_cli.errors import RestyleError
from restyle_cli.io import csv_name, write_atomic
from restyle_cli.report.page import page
from restyle_cli.report.summary import Measured, examples

JOURNAL, TABLE, JSON, PAGE = "journal.jsonl", "images.csv", "report.json", "report.html"


def check_free(folder: Path, overwrite: bool) -> None:
    """RestyleError where `folder` has a report without the journal that tells of what it is."""
    taken = next((folder / name for name in (PAGE, JSON, TABLE) if (folder / name).exists()), None)
    if taken is not None and not overwrite and not (folder / JOURNAL).exists():
        raise RestyleError(
            f"{str(taken)!r} is there already, and not of this run",
            "choose another folder with --output, or replace it with --overwrite",
        )


def write(folder: Path, report: Mapping[str, Any], measured: Measured) -> dict[str, Path]:
    """Write all three files into `folder`; returns them by kind. RestyleError when that fails."""
    files = {"page": folder / PAGE, "json": folder / JSON, "table": folder / TABLE}
    pictures = {method["name"]: examples(measured, method) for method in report["methods"]}
    text = page(report, measured.columns, pictures)
    write_atomic(files["table"], lambda aside: _write_table(aside, measured))
    write_atomic(files["json"], lambda aside: aside.write_text(json.dumps(report, indent=2) + "\n", encoding="ascii"))
    write_atomic(files["page"], lambda aside: aside.write_text(text, encoding="utf-8", errors="backslashreplace"))
    return files


def _write_table(path: Path, measured: Measured) -> None:
    """One line for each picture, method and step."""
    keys = [column.key for column in measured.columns]
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow(["method", "input", "step", "by", *keys, *measured.missing, "seconds", "sha256"])
        nothing = [""] * len(measured.missing)
        for course in measured.courses:
            name = csv_name(course.name)
            for row in measured.rows(course):
                seconds = row.seconds or [""] * len(course.steps)
                for step, by, values, time in zip(course.steps, course.methods, row.values, seconds, strict=True):
                    told = [name, csv_name(row.input), step, csv_name(by), *values, *nothing, time, row.sha256]
                    table.writerow(told)
