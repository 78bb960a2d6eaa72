"""The changes of each step in image and latent as arrays, stored in an .npz file."""

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
"""Layer groups as in the StyleGAN papers: resolutions up to 8, up to 32, and from 64 pixels on."""
_DAMAGES = (OSError, ValueError, RecursionError, TypeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile)
_PERCENTILE = 99.5  # upper end of the colour scale, so that a single pixel does not darken the map


@dataclass(frozen=True)
class Changes:
    """S changes between S + 1 shown steps of one image, or their mean over `count` images."""

    steps: NDArray[np.int64]  # [S + 1], starts with 0; a selection in long schedules
    target: Bytes  # [H, W, 3]
    pictures: Bytes  # [S + 1, H, W, 3], generated images at the size of the target
    maps: Floats  # [S, H, W], change by the measure
    layers: Floats  # [S, L], L2 norm of each layer's move
    area: Floats  # [S], smallest share of the image that has half of the change
    broad: Floats  # [S], see `broad_share`
    count: int = 1

    @property
    def distance(self) -> Floats:
        """[S], the mean of each map."""
        return self.maps.mean(axis=(1, 2))

    @property
    def top(self) -> float:
        """A large change: the maximum over the maps of their 99.5th percentile."""
        return float(np.percentile(self.maps, _PERCENTILE, axis=(1, 2)).max(initial=0))

    @property
    def shares(self) -> Floats:
        """[S, L], share of each layer in the move of its step; 0 if nothing moved."""
        return _shares(self.layers, self.layers.sum(axis=1, keepdims=True))

    @property
    def way(self) -> Floats:
        """[S], share of each step in the whole path of the latent."""
        return _shares(self.layers.sum(axis=1), self.layers.sum())

    def groups(self, index: int) -> dict[str, float]:
        """Share of the coarse, middle and fine layers in the move of change `index`."""
        return {name: float(self.shares[index, layers].sum()) for name, layers in GROUPS.items()}

    def add_to(self, record: dict[str, Any]) -> None:
        """Add the changes to those of the record's steps that are shown."""
        changes = dict(self.described())
        record["steps"] = [step | changes.get(step["step"], {}) for step in record["steps"]]

    def described(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """For each change its step and its record for JSON."""
        for index, step in enumerate(self.steps[1:]):
            values: dict[str, Any] = {"since": int(self.steps[index])}
            for name in ("distance", "area", "broad", "way"):
                values[name] = float(getattr(self, name)[index])
            yield int(step), values | {"layers": self.groups(index)}


def changes_of(
    x: Tensor,  # [3, H, W] in [-1, 1], the target
    inversion: Inversion,  # of one image, with the images of step 0 and some later steps, and all w_steps
    measure: Measure,
) -> Changes:
    """The changes between consecutive steps that have an image. ValueError without `w_steps`."""
    size = (x.shape[1], x.shape[2])
    steps = sorted(inversion.image_steps)
    pictures = torch.cat([fit(displayed(inversion.image_steps[k].float()), size) for k in steps])
    if inversion.w_steps is None:
        raise ValueError("the inversion has no w_steps")
    w = inversion.w_steps[0, steps].float()
    maps = measure.maps(pictures)
    return Changes(
        steps=np.array(steps),
        target=as_bytes(x[None])[0],
        pictures=as_bytes(pictures),
        maps=maps.astype(np.float16).astype(np.float32),  # fp16 precision halves the size of the file
        layers=(w[1:] - w[:-1]).norm(dim=2).numpy(),
        area=half_area(maps),
        broad=broad_share(pictures),
    )


def as_bytes(pictures: Tensor) -> Bytes:
    """[N, 3, H, W] in [-1, 1] -> [N, H, W, 3], rounded as by `images.to_image`."""
    values = ((pictures.float() + 1) / 2).clamp(0, 1) * 255
    return values.byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()


class Mean:
    """A running mean of the changes of images with the same schedule."""

    def __init__(self) -> None:
        self.count = 0
        self._first: Changes | None = None
        self._sums: dict[str, NDArray[np.float64]] = {}

    def add(self, changes: Changes) -> None:
        """Add an image."""
        self._first = self._first or changes
        self.count += changes.count
        for name in ("target", "pictures", "maps", "layers", "area", "broad"):
            value = getattr(changes, name).astype(np.float64)
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def result(self) -> Changes:
        """The mean; ValueError if nothing was added."""
        if self._first is None:
            raise ValueError("the mean of no images")
        means = {name: total / self.count for name, total in self._sums.items()}
        rounded: dict[str, Any] = {name: means[name].astype(np.float32) for name in ("maps", "layers", "area", "broad")}
        rounded |= {name: np.round(means[name]).astype(np.uint8) for name in ("target", "pictures")}
        return replace(self._first, count=self.count, **rounded)


# --- files


def write_changes(path: Path, changes: Changes, record: dict[str, Any]) -> None:
    """Write all arrays, `distance` included, and `record` as JSON; RestyleError if that fails."""
    names = ("steps", "target", "pictures", "maps", "layers", "area", "broad", "count", "distance")
    arrays: dict[str, Any] = {name: np.asarray(getattr(changes, name)) for name in names}
    arrays["made"] = np.array(json.dumps(record))

    def write(part: Path) -> None:
        with part.open("wb") as stream:
            np.savez_compressed(stream, **arrays)

    write_atomic(path, write)


def read_changes(path: Path) -> Changes:
    """The changes in a file of `write_changes`; RestyleError if it is damaged or another kind of file."""
    with _opened(path) as file:
        names = ("steps", "target", "pictures", "maps", "layers", "area", "broad")
        changes = Changes(**{name: file[name] for name in names}, count=int(file["count"]))
        _check_shapes(changes)
        return changes


def _check_shapes(changes: Changes) -> None:
    """ValueError if the shapes of the arrays do not match or a value is not finite."""
    size, count = changes.target.shape[:2], len(changes.maps)
    shapes = [changes.target.shape, changes.pictures.shape, changes.maps.shape, changes.layers.shape[:1]]
    fitting = [(*size, 3), (count + 1, *size, 3), (count, *size), (count,)]
    each = changes.area.shape == changes.broad.shape == (count,) and changes.steps.shape == (count + 1,)
    numbers = all(np.isfinite(values).all() for values in (changes.maps, changes.layers, changes.area, changes.broad))
    if not (shapes == fitting and each and numbers and changes.layers.ndim == 2 and changes.count > 0):
        raise ValueError("the arrays do not match")


def read_record(path: Path) -> dict[str, Any]:
    """The record in a file of `write_changes`; RestyleError if it is damaged or another kind of file."""
    with _opened(path) as file:
        return conform(parse_json(str(file["made"])), dict)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The arrays of an .npz file; RestyleError if it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except _DAMAGES as error:
        raise RestyleError(
            f"{str(path)!r} is damaged or not a heatmap file", "use --overwrite to write it again"
        ) from error


def _shares(values: Floats, of: Any) -> Floats:
    return np.divide(values, of, out=np.zeros_like(values), where=of > 0)
