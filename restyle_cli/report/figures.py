"""Numbers as tables show them, on the terminal and on the page alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from restyle_cli.metrics.metric import Column

NOTHING = "—"
_ORDER = ("l2", "lpips", "structure", "ms_ssim", "id", "fid")
"""Of the metrics, as the papers' tables have them."""


def format_value(value: float | None, error: float | None = None) -> str:
    """`value ± error` with as many digits as its size deserves; a dash where there is no number."""
    if value is None:
        return NOTHING
    digits = 4 if abs(value) < 10 else 1
    text = f"{value:.{digits}f}"
    return text if error is None else f"{text} ± {error:.{digits}f}"


def titles(columns: Sequence[Column], missing: Sequence[str]) -> dict[str, str]:
    """The title of each key that a step has, metrics without numbers included, time last."""
    found = {column.key: column.title for column in columns} | {name: name.upper() for name in missing}
    return {key: found[key] for key in sorted(found, key=lambda key: _ORDER.index(key.split("/")[0]))}


def step_cells(method: Mapping[str, Any], place: int, keys: Sequence[str]) -> list[str]:
    """The numbers of one of a method's steps, each with its standard error."""
    step, errors = method["steps"][place], method["stderr"]
    return [format_value(step[key], errors[key][place] if errors.get(key) else None) for key in keys]
