"""Landmarks that a person brings along: for one picture, or a table by file name.

Read are JSON, text, .npy and .npz with 68 points (as dlib numbers them) or five: left eye, right eye, nose, left and
right corner of the mouth, left being what is left in the picture. Points are x and y in pixels of the upright picture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restyle_cli.align.geometry import Points, features_of
from restyle_cli.errors import RestyleError, UsageError
from restyle_cli.io import check_regular
from restyle_cli.records import Misfit, parse_json

COUNTS = (68, 5)
_LEAST = 2.0  # px between the eyes
_MOST = 1e6  # px
_FORMS = "write [[x, y], …] with 68 points or 5, or a table of these by file name"


@dataclass(frozen=True)
class Landmarks:
    """Points [68, 2] or [5, 2] by file name, or of the one picture (`only`)."""

    file: Path
    only: Points | None
    table: Mapping[str, Points]

    def of(self, path: Path) -> Points | None:
        """The points of the picture at `path`: by its path, its name or its name without suffix, in this order."""
        if self.only is not None:
            return self.only
        return next((self.table[key] for key in _names(path) if key in self.table), None)

    def check(self, paths: Sequence[Path], others: Sequence[Path] = ()) -> list[str]:
        """The names in the table that are none of the pictures at `paths`, nor of `others` that are read beside them.

        UsageError when the points are of one picture and there are several.
        """
        if self.only is not None and len(paths) > 1:
            message = f"{str(self.file)!r} has the points of one picture, and there are {len(paths)}"
            raise UsageError(message, 'write a table of points by file name: {"a.jpg": [[x, y], …], …}')
        names = {key for path in [*paths, *others] for key in _names(path)}
        return [name for name in self.table if name not in names]


def read_landmarks(file: Path) -> Landmarks:
    """The points in `file`; RestyleError when there are none, or they are no face's."""
    try:
        check_regular(file)
        found = _READERS.get(file.suffix.lower(), _read_text)(file)
    except OSError as error:
        raise RestyleError(f"cannot read {str(file)!r}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:  # broken JSON, text that is none, arrays that hold objects
        raise RestyleError(f"{str(file)!r} cannot be read as landmarks: {error}", _FORMS) from error
    if isinstance(found, Mapping) and "landmarks" in found:  # as `restyle align` writes them
        found = found["landmarks"]
    if isinstance(found, Mapping):
        if not found:
            raise RestyleError(f"{str(file)!r} has no landmarks", _FORMS)
        return Landmarks(file, None, {str(name): _points(one, file, str(name)) for name, one in found.items()})
    return Landmarks(file, _points(found, file, None), {})


def _names(path: Path) -> tuple[str, str, str]:
    return path.as_posix(), path.name, path.stem


def _points(found: Any, file: Path, name: str | None) -> Points:
    """Checked points [68, 2] or [5, 2]."""
    of = f"{str(file)!r}" + (f", of {name!r}," if name else "")
    if isinstance(found, Mapping):
        found = found.get("landmarks", [])
    try:
        points = np.asarray(found)
    except ValueError:  # lists of different lengths
        points = np.empty(0)
    if points.ndim == 3 and len(points) == 1:
        points = points[0]
    if points.ndim == 1 and len(points) in [2 * count for count in COUNTS]:
        points = points.reshape(-1, 2)
    if points.ndim != 2 or points.shape[1:] != (2,) or len(points) not in COUNTS:
        shape = "x".join(map(str, points.shape)) or "one"
        raise RestyleError(f"the landmarks in {of} are not 68 or 5 points but {shape} numbers", _FORMS)
    numbers = np.can_cast(points.dtype, np.float64, "same_kind")
    if not (numbers and (np.abs(points) <= _MOST).all()):  # nor NaN
        raise RestyleError(f"the landmarks in {of} are not all numbers up to {_MOST:,.0f}", _FORMS)
    points = points.astype(np.float64)
    eye_left, eye_right, mouth = features_of(points)
    across, down = eye_right - eye_left, mouth - (eye_left + eye_right) / 2
    if min(np.hypot(*across), np.hypot(*down)) < _LEAST:
        raise RestyleError(
            f"the landmarks in {of} have eyes or mouth in one place", "points are pixels, not parts of 1"
        )
    if across[0] * down[1] - across[1] * down[0] <= 0:
        hint = "left is what is left in the picture, and y counts downwards"
        raise RestyleError(f"the landmarks in {of} have left and right exchanged", hint)
    return points


def _read_json(file: Path) -> Any:
    return parse_json(file.read_bytes())


def _read_numpy(file: Path) -> Any:
    with file.open("rb") as stream:  # pickled objects stay unread: they can run programs
        try:
            found = np.load(stream, allow_pickle=False)
            return found if isinstance(found, np.ndarray) else dict(found)
        except Exception as error:  # damaged archives raise whatever their reader stumbles over
            raise Misfit("it is no array of numbers, or damaged") from error


def _read_text(file: Path) -> Any:
    """A point a line; or a line for each picture, its name first, maybe below lines of titles (as CelebA's)."""
    rows = [re.split(r"[\s,;]+", line.strip()) for line in file.read_text(encoding="utf-8-sig").splitlines()]
    rows = [[cell for cell in row if cell] for row in rows]
    rows = [row for row in rows if row and not row[0].startswith("#")]
    lengths = {2 * count + 1 for count in COUNTS}
    if not any(len(row) in lengths for row in rows):
        return [[float(cell) for cell in row] for row in rows]
    while rows and not (len(rows[0]) in lengths and _are_numbers(rows[0][1:])):
        rows = rows[1:]
    if any(len(row) not in lengths for row in rows):
        raise Misfit("its lines have different lengths")
    table = {row[0]: [float(cell) for cell in row[1:]] for row in rows}
    if len(table) < len(rows):
        raise Misfit("is there twice", next(row[0] for i, row in enumerate(rows) if row[0] in (r[0] for r in rows[:i])))
    return table


def _are_numbers(cells: list[str]) -> bool:
    try:
        [float(cell) for cell in cells]
    except ValueError:
        return False
    return True


_READERS = {".json": _read_json, ".npy": _read_numpy, ".npz": _read_numpy}
