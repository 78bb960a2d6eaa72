"""What the steps of an inversion changed, as numbers: in the picture and in the code, kept in an .npz file."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.heatmap.measures import Floats, Measure, broad_share, half_area
from restyle_cli.images import displayed, fit
from restyle_cli.inversion import Inversion
from restyle_cli.io import write_atomic
from restyle_cli.records import conform, parse_json

Bytes = NDArray[np.uint8]
GROUPS = {"coarse": slice(0, 4), "middle": slice(4, 8), "fine": slice(8, None)}
"""The layers by what they draw, as the papers name them: up to 8, up to 32, and from 64 pixels on."""
_DAMAGES = (OSError, ValueError, RecursionError, TypeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile)
_PERCENTILE = 99.5  # of a map: where its colours end, so that a single place does not darken all others


@dataclass(frozen=True)
class Changes:
    """S changes between S + 1 shown states of one picture, or on average over several (`count`)."""

    steps: NDArray[np.int64]  # [S + 1], the first is 0; in long schedules not all
    target: Bytes  # [H, W, 3], the photo
    pictures: Bytes  # [S + 1, H, W, 3], the generator's, at the photo's size
    maps: Floats  # [S, H, W], by the measure
    layers: Floats  # [S, L], how far the code of each layer moved
    area: Floats  # [S], the least part of the picture that holds half of the change
    broad: Floats  # [S], the part of the change that is broad; see `broad_share`
    count: int = 1

    @property
    def distance(self) -> Floats:
        """[S], the mean of each map."""
        return self.maps.mean(axis=(1, 2))

    @property
    def top(self) -> float:
        """What is large in these maps: the highest 99.5th percentile of one."""
        return float(np.percentile(self.maps, _PERCENTILE, axis=(1, 2)).max(initial=0))

    @property
    def shares(self) -> Floats:
        """[S, L], each layer's part of what its step moved; where nothing moved, 0."""
        return _parts(self.layers, self.layers.sum(axis=1, keepdims=True))

    @property
    def way(self) -> Floats:
        """[S], each step's part of all that was moved."""
        return _parts(self.layers.sum(axis=1), self.layers.sum())

    def groups(self, index: int) -> dict[str, float]:
        """The part of what change `index` moved that fell on the coarse, middle and fine layers."""
        return {name: float(self.shares[index, layers].sum()) for name, layers in GROUPS.items()}

    def described(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """For each change, the step that it led to and what it was, as JSON has it."""
        for index, step in enumerate(self.steps[1:]):
            values: dict[str, Any] = {"since": int(self.steps[index])}
            for name in ("distance", "area", "broad", "way"):
                values[name] = float(getattr(self, name)[index])
            yield int(step), values | {"layers": self.groups(index)}


def changes_of(
    x: Tensor,  # [3, H, W] in [-1, 1], the photo
    inversion: Inversion,  # of this photo alone, with pictures of the first and some further steps
    measure: Measure,
) -> Changes:
    """What happened from each step with a picture to the next one."""
    size = (x.shape[1], x.shape[2])
    steps = sorted(inversion.image_steps)
    pictures = torch.cat([fit(displayed(inversion.image_steps[k].float()), size) for k in steps])
    w = inversion.w_steps[0, steps].float()
    maps = measure.maps(pictures)
    return Changes(
        steps=np.array(steps),
        target=as_bytes(x[None])[0],
        pictures=as_bytes(pictures),
        maps=maps.astype(np.float16).astype(np.float32),  # three digits are enough, and the file half as large
        layers=(w[1:] - w[:-1]).norm(dim=2).numpy(),
        area=half_area(maps),
        broad=broad_share(pictures),
    )


def as_bytes(pictures: Tensor) -> Bytes:
    """[N, 3, H, W] in [-1, 1] -> [N, H, W, 3], as `images.to_picture` has it."""
    values = ((pictures.float() + 1) / 2).clamp(0, 1) * 255
    return values.byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()


class Mean:
    """The average over pictures of one schedule, of which none is kept."""

    def __init__(self) -> None:
        self.count = 0
        self._first: Changes | None = None
        self._sums: dict[str, NDArray[np.float64]] = {}

    def add(self, changes: Changes) -> None:
        """Take in one more."""
        self._first = self._first or changes
        self.count += changes.count
        for name in ("target", "pictures", "maps", "layers", "area", "broad"):
            value = getattr(changes, name).astype(np.float64)
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def result(self) -> Changes:
        """Their average; ValueError when there are none."""
        if self._first is None:
            raise ValueError("an average of nothing")
        means = {name: total / self.count for name, total in self._sums.items()}
        made = {name: means[name].astype(np.float32) for name in ("maps", "layers", "area", "broad")}
        made |= {name: np.round(means[name]).astype(np.uint8) for name in ("target", "pictures")}
        return replace(self._first, count=self.count, **made)


# --- files


def write_changes(path: Path, changes: Changes, made: dict[str, Any]) -> None:
    """Write all arrays by their names, the distances too, and `made` as JSON; RestyleError where that fails."""
    names = ("steps", "target", "pictures", "maps", "layers", "area", "broad", "count", "distance")
    arrays = {name: np.asarray(getattr(changes, name)) for name in names}

    def write(aside: Path) -> None:
        with aside.open("wb") as stream:
            np.savez_compressed(stream, **arrays, made=np.array(json.dumps(made)))

    write_atomic(path, write)


def read_changes(path: Path) -> Changes:
    """What `write_changes` wrote; RestyleError when the file is damaged or another."""
    with _opened(path) as file:
        names = ("steps", "target", "pictures", "maps", "layers", "area", "broad")
        changes = Changes(**{name: file[name] for name in names}, count=int(file["count"]))
        _check_shapes(changes)
        return changes


def _check_shapes(changes: Changes) -> None:
    """ValueError where the arrays do not belong together."""
    size, count = changes.target.shape[:2], len(changes.maps)
    shapes = [changes.target.shape, changes.pictures.shape, changes.maps.shape, changes.layers.shape[:1]]
    fitting = [(*size, 3), (count + 1, *size, 3), (count, *size), (count,)]
    each = changes.area.shape == changes.broad.shape == (count,) and changes.steps.shape == (count + 1,)
    numbers = all(np.isfinite(values).all() for values in (changes.maps, changes.layers, changes.area, changes.broad))
    if not (shapes == fitting and each and numbers and changes.layers.ndim == 2 and changes.count > 0):
        raise ValueError("arrays of other shapes")


def read_made(path: Path) -> dict[str, Any]:
    """The description that `write_changes` wrote; RestyleError when the file is damaged or another."""
    with _opened(path) as file:
        return conform(parse_json(str(file["made"])), dict)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The arrays of an .npz file; whatever is wrong with it becomes one RestyleError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except _DAMAGES as error:
        raise RestyleError(f"{str(path)!r} holds no changes, or is damaged", "--overwrite makes it again") from error


def _parts(values: Floats, of: Any) -> Floats:
    return np.divide(values, of, out=np.zeros_like(values), where=of > 0)
