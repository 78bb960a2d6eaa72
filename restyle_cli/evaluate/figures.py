"""Formatting of numbers in tables, for the terminal and the HTML report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from restyle_cli.metrics.metric import Column

NOTHING = "—"
_ORDER = ("l2", "lpips", "structure", "ms_ssim", "id", "fid")
"""Order of the metrics, as in the papers' tables."""


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
    return {key: known[key] for key in sorted(known, key=lambda key: _ORDER.index(key.split("/")[0]))}


def step_cells(method: Mapping[str, Any], index: int, keys: Sequence[str]) -> list[str]:
    """The formatted values of one step of a method, each with its standard error."""
    step, errors = method["steps"][index], method["stderr"]
    return [format_value(step[key], errors[key][index] if errors.get(key) else None) for key in keys]
