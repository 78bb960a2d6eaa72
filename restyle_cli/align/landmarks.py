"""Landmarks that the user provides, for one image or for several by file name.

Files are JSON, text, .npy or .npz with 68 points (in dlib's order) or five: left eye, right eye, nose, left and right
corner of the mouth, as seen in the image. Points are x and y in pixels of the upright image.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restyle_cli.align.geometry import Points, features_of
from restyle_cli.errors import RestyleError, UsageError
from restyle_cli.io import check_regular, reason_of
from restyle_cli.records import RecordError, parse_json

COUNTS = (68, 5)
_MIN_DISTANCE = 2.0  # px between the eyes, and from the eyes to the mouth
_MAX = 1e6  # px
_FORMS = "write [[x, y], …] with 68 or 5 points, or a table of these by file name"


@dataclass(frozen=True)
class Landmarks:
    """Landmarks [68, 2] or [5, 2] read from `file`: of a `single` image, or a `table` by file name."""

    file: Path
    single: Points | None
    table: Mapping[str, Points]

    def of(self, path: Path) -> Points | None:
        """The landmarks of the image at `path`: by its path, its name, or its name without suffix, in this order."""
        if self.single is not None:
            return self.single
        return next((self.table[key] for key in _keys(path) if key in self.table), None)

    def check(self, paths: Sequence[Path], others: Sequence[Path] = ()) -> list[str]:
        """The names in the table that match none of the images at `paths` and `others`.

        UsageError if the landmarks are of a single image and there are several `paths`.
        """
        if self.single is not None and len(paths) > 1:
            message = f"{str(self.file)!r} has the landmarks of one image, but there are {len(paths)} images"
            raise UsageError(message, 'write a table by file name: {"a.jpg": [[x, y], …], …}')
        names = {key for path in [*paths, *others] for key in _keys(path)}
        return [name for name in self.table if name not in names]


def read_landmarks(file: Path) -> Landmarks:
    """Read landmarks; RestyleError if there are none, or they are not those of a face."""
    try:
        check_regular(file)
        content = _READERS.get(file.suffix.lower(), _read_text)(file)
    except OSError as error:
        raise RestyleError(f"cannot read {str(file)!r}: {reason_of(error)}") from error
    except ValueError as error:  # invalid JSON, binary data, arrays of objects
        raise RestyleError(f"{str(file)!r} cannot be read as landmarks: {error}", _FORMS) from error
    if isinstance(content, Mapping) and "landmarks" in content:  # written by `restyle align`
        content = content["landmarks"]
    if not isinstance(content, Mapping):
        return Landmarks(file, _checked(content, repr(str(file))), {})
    if not content:
        raise RestyleError(f"{str(file)!r} has no landmarks", _FORMS)
    table = {str(name): _checked(one, f"{str(file)!r} of {str(name)!r},") for name, one in content.items()}
    return Landmarks(file, None, table)


def _keys(path: Path) -> tuple[str, str, str]:
    return path.as_posix(), path.name, path.stem


def _checked(content: Any, where: str) -> Points:
    """The content as points [68, 2] or [5, 2]."""
    if isinstance(content, Mapping):
        content = content.get("landmarks", [])
    try:
        points = np.asarray(content)
    except ValueError:  # lists of different lengths
        points = np.empty(0)
    if points.ndim == 3 and len(points) == 1:
        points = points[0]
    if points.ndim == 1 and len(points) in [2 * count for count in COUNTS]:
        points = points.reshape(-1, 2)
    if points.ndim != 2 or points.shape[1:] != (2,) or len(points) not in COUNTS:
        shape = "x".join(map(str, points.shape)) or "one"
        raise RestyleError(f"the landmarks in {where} are not 68 or 5 points but {shape} numbers", _FORMS)
    if not (np.can_cast(points.dtype, np.float64, "same_kind") and (np.abs(points) <= _MAX).all()):  # also NaN
        raise RestyleError(f"the landmarks in {where} are not all numbers up to {_MAX:,.0f}", _FORMS)
    points = points.astype(np.float64)
    eye_left, eye_right, mouth = features_of(points)
    across, down = eye_right - eye_left, mouth - (eye_left + eye_right) / 2
    if min(np.hypot(*across), np.hypot(*down)) < _MIN_DISTANCE:
        hint = "coordinates are pixels, not fractions of the image"
        raise RestyleError(f"the landmarks in {where} have eyes or mouth in the same place", hint)
    if across[0] * down[1] - across[1] * down[0] <= 0:
        hint = "left is the left side of the image, and y counts downwards"
        raise RestyleError(f"the landmarks in {where} have left and right swapped", hint)
    return points


def _read_json(file: Path) -> Any:
    return parse_json(file.read_bytes())


def _read_numpy(file: Path) -> Any:
    with file.open("rb") as stream:  # pickled objects are refused: they can run programs
        try:
            content = np.load(stream, allow_pickle=False)
            return content if isinstance(content, np.ndarray) else dict(content)
        except Exception as error:  # for damaged archives, NumPy raises errors of many kinds
            raise RecordError("it is not an array of numbers, or it is damaged") from error


def _read_text(file: Path) -> Any:
    """One point per line, or one image per line with its name first, perhaps below lines of titles (as in CelebA)."""
    rows = [re.split(r"[\s,;]+", line.strip()) for line in file.read_text(encoding="utf-8-sig").splitlines()]
    rows = [[cell for cell in row if cell] for row in rows]
    rows = [row for row in rows if row and not row[0].startswith("#")]
    lengths = {2 * count + 1 for count in COUNTS}
    if not any(len(row) in lengths for row in rows):
        return [[float(cell) for cell in row] for row in rows]
    while rows and not (len(rows[0]) in lengths and _are_numbers(rows[0][1:])):
        rows = rows[1:]
    if any(len(row) not in lengths for row in rows):
        raise RecordError("its lines have different lengths")
    ((name, times),) = Counter(row[0] for row in rows).most_common(1) or [("", 0)]
    if times > 1:
        raise RecordError("appears twice", name)
    return {row[0]: [float(cell) for cell in row[1:]] for row in rows}


def _are_numbers(cells: list[str]) -> bool:
    try:
        [float(cell) for cell in cells]
    except ValueError:
        return False
    return True


_READERS = {".json": _read_json, ".npy": _read_numpy, ".npz": _read_numpy}
