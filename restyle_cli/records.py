"""What result files say of their making: the form it must have before it is believed.

A file may be damaged, edited, or of another program; a record that does not fit counts as no result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NUMBER = float | int
STEP = {"step": int, "method": str, "l2": _NUMBER | None, "seconds": _NUMBER}
LINK = {"method": str, "steps": int, "l2": _NUMBER, "seconds": _NUMBER, "ended": str}
RECORD: dict[str, Any] = {
    "files": [str],
    "source": {"name": str, "sha256": str},
    "alignment": {"how": str, "faces": int, "face": int, "quad": [[_NUMBER]]},
}
"""Of all results."""
STEPS: dict[str, Any] = {"steps": [STEP], "kept_step": int}
"""Of inversions."""
OPTIONAL: dict[str, Any] = {"links": [LINK], "against": [STEP]}
CHANGE: dict[str, Any] = {
    "l2": _NUMBER,
    **dict.fromkeys(("distance", "area", "broad", "way"), _NUMBER),
    "layers": dict.fromkeys(("coarse", "middle", "fine"), _NUMBER),
}
"""Of a step that a heat map shows."""


def fits(value: Any, form: Any) -> bool:
    """Whether a value of JSON has this form: a type, [the form of every item] or {key: the form of its value}.

    Tables may have more keys.
    """
    if isinstance(form, Mapping):
        return isinstance(value, Mapping) and all(key in value and fits(value[key], form[key]) for key in form)
    if isinstance(form, list):
        return isinstance(value, list) and all(fits(one, form[0]) for one in value)
    return isinstance(value, form)


def fits_steps(made: Mapping[str, Any]) -> bool:
    """Whether a record of an inversion has sound steps, among them the kept one."""
    optional = {key: form for key, form in OPTIONAL.items() if key in made}
    return fits(made, STEPS | optional) and 0 <= made["kept_step"] < len(made["steps"])
