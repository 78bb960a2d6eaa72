"""Inverts images and measures every step, or measures pairs of images.

Each course is one pass over the images, so that only one chain's models are in memory. Batches have the same images
whether or not the run was interrupted, because the last digits of the numbers depend on the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import accumulate, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.random import fork_rng

from restyle_cli.align import AlignOptions, Size, align_image, crop_quad, recrop
from restyle_cli.devices import compute, exactly
from restyle_cli.errors import RestyleError
from restyle_cli.evaluate.highlights import Highlights, side_by_side
from restyle_cli.evaluate.journal import Journal
from restyle_cli.evaluate.memory import peak_mb, reset_peak
from restyle_cli.evaluate.rows import Course, Known, Row, Skip, add_batch, add_peak, known_of, rows_of
from restyle_cli.images import open_image, to_tensor
from restyle_cli.inversion import TARGET, Method, State, invert, iterate
from restyle_cli.memory import Batches, OutOfMemory, enough_for
from restyle_cli.methods.optimize import full_size
from restyle_cli.metrics.metric import Column, Metric
from restyle_cli.metrics.pixel import SIZE, compared
from restyle_cli.run.pipeline import in_background
from restyle_cli.store.paths import sha256

Item = TypeVar("Item", "Photo", "Pair")


@dataclass(frozen=True)
class Task:
    """How images are read and measured."""

    metrics: Sequence[Metric]
    device: torch.device
    dtype: torch.dtype = torch.float32
    framing: AlignOptions = field(default_factory=AlignOptions)
    batch_size: int = 1
    note: Callable[[str], None] = lambda text: None  # receives lines for people

    @property
    def columns(self) -> list[Column]:
        """The columns of all metrics."""
        return [column for metric in self.metrics for column in metric.columns]

    @property
    def ranking(self) -> int:
        """Index of the column that ranks images as best and worst: LPIPS, else the first."""
        return next((i for i, column in enumerate(self.columns) if column.key == "lpips"), 0)


@dataclass(frozen=True)
class Outcome:
    """The outcome of an image in a course: a row, or a skip. `new`: skipped in this run, not in an earlier one."""

    input: str
    sha256: str | None
    skip: Skip | None = None
    new: bool = False


@dataclass(frozen=True)
class Photo:
    """An image to invert."""

    path: Path

    def digest(self) -> str:
        """Identifies the image: its SHA-256."""
        return sha256(self.path)


@dataclass(frozen=True)
class Pair:
    """Two images to compare; the target's `path` identifies the pair."""

    path: Path
    result: Path

    def digest(self) -> str:
        """Identifies the pair: the SHA-256 of both."""
        return f"{sha256(self.path)}:{sha256(self.result)}"


@dataclass(frozen=True)
class _Ready:
    """An image or a pair to be measured: [3, H, W] in [-1, 1] each."""

    input: str
    sha256: str
    x: Tensor
    y: Tensor | None = None
    quad: list[float] | None = None
    full: Tensor | None = None  # x at the generator's full size, if a method compares at that size


@dataclass(frozen=True)
class _Measured:
    """Results of a batch: `values` [N, S, C], `seconds` [S] of the whole batch, targets and images of the last step."""

    values: Tensor
    seconds: list[float]
    targets: Tensor  # [N, 3, H, W] in [-1, 1]
    results: Tensor


def evaluate(
    photos: Iterable[Photo], course: Course, methods: Sequence[Method], task: Task, journal: Journal
) -> Generator[Outcome, None, None]:
    """Invert every image by `methods`, measure the steps of `course`, and yield the outcomes.

    Close the iterator, or exhaust it, to end its thread.
    """
    size, full = methods[0].size, full_size(methods)

    def read(photo: Photo, digest: str, known: Known | None) -> _Ready:
        return _read(photo.path, digest, known, size, full, task)

    return _pass(photos, course, task, journal, read, _Inverter(methods, course, task))


def compare(pairs: Iterable[Pair], course: Course, task: Task, journal: Journal) -> Generator[Outcome, None, None]:
    """Measure every pair, and yield the outcomes."""
    return _pass(pairs, course, task, journal, _read_pair, lambda batch: _compare(batch, task))


def _pass(
    items: Iterable[Item],
    course: Course,
    task: Task,
    journal: Journal,
    read: Callable[[Item, str, Known | None], _Ready],
    measure: Callable[[Sequence[_Ready]], _Measured],
) -> Generator[Outcome, None, None]:
    """Read ahead, measure in batches, write each batch to the journal; images in the journal are not measured again."""
    known = known_of(journal, course)
    highlights = Highlights(task.columns[task.ranking].higher)
    done = {name: found.sha256 for name, found in known.items() if found.done}
    for row in rows_of(journal, course, done, len(task.columns)):
        highlights.add(row.input, row.values[-1][task.ranking])

    def prepare(item: Item) -> _Ready | Outcome:
        name = str(item.path)
        digest: str | None = None
        failed: RestyleError
        try:
            digest = item.digest()
            found = known.get(name)
            found = found if found and found.sha256 == digest else None
            if found and (found.done or found.skip):
                return Outcome(name, digest, found.skip)
            with enough_for(f"for {name!r}"):
                return read(item, digest, found)
        except OutOfMemory as error:  # no digest: the next run may have more memory and tries again
            digest, failed = None, error
        except OSError as error:
            failed = RestyleError(f"{name!r} cannot be read: {(error.strerror or str(error)).lower()}")
        except RestyleError as error:
            failed = error
        return Outcome(name, digest, Skip(name, digest, failed.message, failed.hint), new=True)

    worked, batches = False, Batches(str(task.device), task.note)
    reset_peak(task.device)
    with closing(in_background(prepare, items, 2 * task.batch_size)) as prepared:
        for batch in _batched(prepared, task.batch_size):
            outcomes = {item.input: item for item in batch if isinstance(item, Outcome)}
            skips = [outcome.skip for outcome in outcomes.values() if outcome.skip and outcome.new]
            rows: list[Row] = []
            thumbnails: dict[str, str] = {}
            if ready := [item for item in batch if isinstance(item, _Ready)]:
                worked = True
                for part, measured in batches.run(ready, measure):
                    if isinstance(measured, OutOfMemory):  # not in the journal: another run may have more memory
                        outcomes |= {item.input: _too_large(item, measured, course) for item in part}
                        continue
                    new, failed, small = _described(part, measured, course, task, highlights)
                    outcomes |= {row.input: Outcome(row.input, row.sha256) for row in new}
                    outcomes |= {skip.input: Outcome(skip.input, skip.sha256, skip, new=True) for skip in failed}
                    rows, skips, thumbnails = rows + new, skips + failed, thumbnails | small
            if rows or skips:
                add_batch(journal, course, rows, skips, thumbnails)
            yield from (outcomes[item.input] for item in batch)
    if worked and (peak := peak_mb(task.device)) is not None:
        add_peak(journal, course, round(peak, 1))


def _too_large(item: _Ready, error: OutOfMemory, course: Course) -> Outcome:
    skip = Skip(item.input, item.sha256, f"{item.input!r}: {error.message}", error.hint, course.chain)
    return Outcome(item.input, item.sha256, skip, new=True)


def _batched(items: Iterable[_Ready | Outcome], size: int) -> Iterator[list[_Ready | Outcome]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


# --- reading


def _read(path: Path, digest: str, known: Known | None, size: Size, full: Size | None, task: Task) -> _Ready:
    """The framed image; a face that an earlier course found is not searched again."""
    photo = open_image(path)
    if known and known.quad:
        corners = tuple((float(x), float(y)) for x, y in np.array(known.quad).reshape(4, 2))
        large = None if full is None else to_tensor(recrop(photo, corners, full, cut_out=True))
        x = to_tensor(crop_quad(photo, corners, max(size)), size)
        return _Ready(str(path), digest, x, quad=list(known.quad), full=large)
    framing = task.framing
    if known and framing.rule == "face":
        framing = replace(framing, mode="never")
    aligned = align_image(photo, framing, size, path)[0]
    cut_out = task.framing.rule == "face" and aligned.how == "aligned"
    quad = [float(value) for corner in aligned.quad for value in corner] if cut_out else None
    large = None if full is None else to_tensor(recrop(photo, aligned.quad, full, aligned.how == "aligned"))
    return _Ready(str(path), digest, to_tensor(aligned.image, size), quad=quad, full=large)


def _read_pair(pair: Pair, digest: str, known: Known | None) -> _Ready:
    x, y = (to_tensor(open_image(path), SIZE) for path in (pair.path, pair.result))
    return _Ready(str(pair.path), digest, x, y)


# --- measuring


class _Inverter:
    """Inverts and measures batches; a warm-up run before the first keeps its time comparable."""

    def __init__(self, methods: Sequence[Method], course: Course, task: Task) -> None:
        self.methods, self.steps, self.task = methods, set(course.steps), task
        self._warm = False

    def __call__(self, batch: Sequence[_Ready]) -> _Measured:
        """Invert a batch and measure its steps."""
        task = self.task
        # The same random numbers for a batch whether or not the run was interrupted before it.
        with fork_rng([task.device] if task.device.type == "cuda" else []), compute(task.device, task.dtype):
            torch.manual_seed(0)
            full = [item.full for item in batch if item.full is not None]
            inputs = {TARGET: torch.stack(full).to(task.device)} if full else {}
            return self._invert(torch.stack([item.x for item in batch]).to(task.device), inputs)

    def _invert(self, x: Tensor, inputs: Mapping[str, Tensor]) -> _Measured:
        if not self._warm:
            with torch.no_grad():
                for _ in iterate(x, list(dict.fromkeys(self.methods)), inputs):
                    pass
            self._warm = True
        meter = _Meter(x, self.task)

        def on_step(k: int, state: State, errors: Tensor) -> None:
            if k in self.steps:
                meter.add(state.image)

        inversion = invert(x, self.methods, keep="last", keep_images=(), on_step=on_step, inputs=inputs)
        passed = accumulate(step.seconds for step in inversion.steps)
        return meter.measured([seconds for k, seconds in enumerate(passed) if k in self.steps])


class _Meter:
    """Measures one batch, step by step."""

    def __init__(self, x: Tensor, task: Task) -> None:
        """`x` [N, 3, H, W] in [-1, 1]: the targets; their features are computed once."""
        self.task = task
        self.values: list[Tensor] = []
        with exactly(task.device):
            self.targets = compared(x)
            self.features = [metric.look(self.targets) for metric in task.metrics]

    def add(self, images: Tensor) -> None:
        """Compare the images [N, 3, any, any] of a step with the targets."""
        with exactly(self.task.device):
            self.results = compared(images)
            features = zip(self.task.metrics, self.features, strict=True)
            columns = [metric.compare(target, metric.look(self.results)).cpu().double() for metric, target in features]
        self.values.append(torch.cat(columns, dim=1))

    def measured(self, seconds: list[float]) -> _Measured:
        """The results of all steps; `seconds` [S]."""
        return _Measured(torch.stack(self.values, dim=1), seconds, self.targets, self.results)


def _compare(batch: Sequence[_Ready], task: Task) -> _Measured:
    meter = _Meter(torch.stack([item.x for item in batch]).to(task.device), task)
    with torch.no_grad():
        meter.add(torch.stack([item.y for item in batch if item.y is not None]).to(task.device))
    return meter.measured([])


def _described(
    batch: Sequence[_Ready], measured: _Measured, course: Course, task: Task, highlights: Highlights
) -> tuple[list[Row], list[Skip], dict[str, str]]:
    """The row or the skip of each image, and the thumbnails of those among the best or worst."""
    rows: list[Row] = []
    skips: list[Skip] = []
    thumbnails: dict[str, str] = {}
    seconds = [round(value / len(batch), 6) for value in measured.seconds]
    for index, item in enumerate(batch):
        values = measured.values[index]
        if not (values.isfinite().all() and measured.results[index].isfinite().all()):
            reason = f"{course.name} produced NaN for {item.input!r}"
            skips.append(Skip(item.input, item.sha256, reason, "use --precision fp32", course.chain))
            continue
        rows.append(Row(item.input, item.sha256, values.tolist(), seconds, item.quad))
        if highlights.add(item.input, float(values[-1, task.ranking])):
            thumbnails[item.input] = side_by_side(measured.targets[index], measured.results[index])
    return rows, skips, thumbnails
