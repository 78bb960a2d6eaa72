"""The changes of each step in image and latent, as arrays, stored in an .npz file."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.heatmap.measures import Floats, broad_share, half_area, lpips_maps
from restyle_cli.images import displayed, fit, to_image
from restyle_cli.inversion import Inversion
from restyle_cli.io import write_atomic
from restyle_cli.perceptual.lpips import LPIPS
from restyle_cli.records import conform, parse_json

Bytes = NDArray[np.uint8]
GROUPS = {"coarse": slice(0, 4), "middle": slice(4, 8), "fine": slice(8, None)}
"""Layer groups as in the StyleGAN papers: resolutions up to 8, up to 32, and from 64 pixels on."""
_DAMAGES = (OSError, ValueError, RecursionError, TypeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile)
_TINY = np.finfo(np.float32).tiny
_PERCENTILE = 99.5  # upper end of the colour scale, so that a single pixel does not darken the map


@dataclass(frozen=True)
class Changes:
    """S changes between S + 1 shown steps of one image, or their mean over `count` images."""

    steps: NDArray[np.int64]  # [S + 1], starts with 0; a selection in long schedules
    target: Bytes  # [H, W, 3]
    images: Bytes  # [S + 1, H, W, 3], generated images at the size of the target
    maps: Floats  # [S, H, W], LPIPS at each pixel
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
        return self.layers / np.maximum(self.layers.sum(axis=1, keepdims=True), _TINY)

    @property
    def way(self) -> Floats:
        """[S], share of each step in the whole path of the latent."""
        return self.layers.sum(axis=1) / np.maximum(self.layers.sum(), _TINY)

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
    lpips: LPIPS,
) -> Changes:
    """The changes between consecutive steps that have an image. ValueError without `w_steps`."""
    size = (x.shape[1], x.shape[2])
    steps = sorted(inversion.image_steps)
    images = torch.cat([fit(displayed(inversion.image_steps[k].float()), size) for k in steps])
    if inversion.w_steps is None:
        raise ValueError("the inversion has no w_steps")
    w = inversion.w_steps[0, steps].float()
    maps = lpips_maps(lpips, images)
    return Changes(
        steps=np.array(steps),
        target=np.asarray(to_image(x)),
        images=_to_bytes(images),
        maps=maps.astype(np.float16).astype(np.float32),  # fp16 precision halves the size of the file
        layers=(w[1:] - w[:-1]).norm(dim=2).numpy(),
        area=half_area(maps),
        broad=broad_share(images),
    )


def _to_bytes(images: Tensor) -> Bytes:
    """[N, 3, H, W] in [-1, 1] -> [N, H, W, 3]."""
    return np.stack([np.asarray(to_image(image)) for image in images])


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
        for name in ("target", "images", "maps", "layers", "area", "broad"):
            value = getattr(changes, name).astype(np.float64)
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def result(self) -> Changes:
        """The mean; ValueError if nothing was added."""
        if self._first is None:
            raise ValueError("the mean of no images")
        means: dict[str, Any] = {}
        for name, total in self._sums.items():
            kind, mean = getattr(self._first, name).dtype, total / self.count
            means[name] = (mean.round() if kind == np.uint8 else mean).astype(kind)
        return replace(self._first, count=self.count, **means)


# --- files


_ARRAYS = {name: name for name in ("steps", "target", "maps", "layers", "area", "broad")} | {"pictures": "images"}
"""The fields of `Changes` by their names in a file."""


def write_changes(path: Path, changes: Changes, record: Mapping[str, Any]) -> None:
    """Write all arrays, `distance` included, and `record` as JSON; RestyleError if that fails."""
    arrays: dict[str, Any] = {name: getattr(changes, field) for name, field in _ARRAYS.items()}
    arrays |= {"count": changes.count, "distance": changes.distance, "made": json.dumps(record)}

    def write(part: Path) -> None:
        with part.open("wb") as stream:
            np.savez_compressed(stream, **arrays)

    write_atomic(path, write)


def read_changes(path: Path) -> tuple[Changes, dict[str, Any]]:
    """The changes and the record in a file of `write_changes`; RestyleError if it is damaged or another file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            changes = Changes(**{field: file[name] for name, field in _ARRAYS.items()}, count=int(file["count"]))
            _check_shapes(changes)
            return changes, conform(parse_json(str(file["made"])), dict)
    except _DAMAGES as error:
        message = f"{str(path)!r} is damaged or not a heatmap file"
        raise RestyleError(message, "use --overwrite to write it again") from error


def _check_shapes(changes: Changes) -> None:
    """ValueError if the shapes of the arrays do not match or a value is not finite."""
    size, count = changes.target.shape[:2], len(changes.maps)
    shapes = {
        "steps": (count + 1,),
        "target": (*size, 3),
        "images": (count + 1, *size, 3),
        "maps": (count, *size),
        "layers": (count, *changes.layers.shape[1:2]),
        "area": (count,),
        "broad": (count,),
    }
    arrays = {name: getattr(changes, name) for name in shapes}
    finite = all(np.isfinite(values).all() for values in arrays.values())
    if {name: values.shape for name, values in arrays.items()} != shapes or not finite or changes.count < 1:
        raise ValueError("the arrays do not match")
