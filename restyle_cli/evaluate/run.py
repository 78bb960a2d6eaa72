"""Pictures through methods, measured at every step; or pairs of pictures, measured as they are.

One pass over the pictures for each course, so that one method's networks are in memory at a time. A batch is always of
the same pictures, whether the run was interrupted or not, because numbers depend on it in their last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import accumulate, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.random import fork_rng

from restyle_cli.align import Framing, Size, crop_quad, frame, part_of
from restyle_cli.devices import compute, exactly
from restyle_cli.errors import RestyleError
from restyle_cli.evaluate.highlights import Highlights, side_by_side
from restyle_cli.evaluate.journal import Journal
from restyle_cli.evaluate.memory import peak_mb, reset_peak
from restyle_cli.evaluate.rows import Course, Known, Row, Skip, add_batch, add_peak, known_of, rows_of
from restyle_cli.folder import in_background
from restyle_cli.images import open_picture, to_tensor
from restyle_cli.inversion import TARGET, Method, State, invert, iterate
from restyle_cli.memory import Batches, OutOfMemory, enough_for
from restyle_cli.methods.optimise import full_size
from restyle_cli.metrics.metric import Column, Metric
from restyle_cli.metrics.pixel import SIZE, compared
from restyle_cli.store.places import sha256

Item = TypeVar("Item", "Photo", "Pair")


@dataclass(frozen=True)
class Task:
    """How pictures are read and measured."""

    metrics: Sequence[Metric]
    device: torch.device
    dtype: torch.dtype = torch.float32
    framing: Framing = field(default_factory=Framing)
    batch_size: int = 1
    note: Callable[[str], None] = lambda text: None  # receives lines for people

    @property
    def columns(self) -> list[Column]:
        """Those of all metrics."""
        return [column for metric in self.metrics for column in metric.columns]

    @property
    def ranking(self) -> int:
        """The column that says which pictures came out best: LPIPS, else the first."""
        return next((i for i, column in enumerate(self.columns) if column.key == "lpips"), 0)


@dataclass(frozen=True)
class Outcome:
    """How it went with one picture in one course: it has a row, or was skipped. `new`: only now, and not before."""

    input: str
    sha256: str | None
    skip: Skip | None = None
    new: bool = False


@dataclass(frozen=True)
class Photo:
    """A picture to be inverted."""

    path: Path

    def digest(self) -> str:
        """What tells it from every other picture."""
        return sha256(self.path)


@dataclass(frozen=True)
class Pair:
    """Two pictures to be compared as they are; the target's `path` stands for both."""

    path: Path
    result: Path

    def digest(self) -> str:
        """What tells it from every other pair."""
        return f"{sha256(self.path)}:{sha256(self.result)}"


@dataclass(frozen=True)
class _Ready:
    """A picture, or a pair, that waits to be measured: [3, H, W] in [-1, 1] each."""

    input: str
    sha256: str
    x: Tensor
    y: Tensor | None = None
    quad: list[float] | None = None
    full: Tensor | None = None  # x at the generator's full size, where a method compares there


@dataclass(frozen=True)
class _Measured:
    """What a batch came to: `values` [N, S, C], `seconds` [S] of the batch, the pictures of the last step."""

    values: Tensor
    seconds: list[float]
    targets: Tensor  # [N, 3, H, W] in [-1, 1]
    results: Tensor


def evaluate(
    photos: Iterable[Photo], course: Course, methods: Sequence[Method], task: Task, journal: Journal
) -> Iterator[Outcome]:
    """Invert every picture by `methods`, measure the steps of `course`, and yield how it went with each.

    Close the iterator, or exhaust it: then no thread runs on.
    """

    size, full = methods[0].size, full_size(methods)

    def read(photo: Photo, digest: str, known: Known | None) -> _Ready:
        return _read(photo.path, digest, known, size, full, task)

    return _pass(photos, course, task, journal, read, _Inverter(methods, course, task))


def compare(pairs: Iterable[Pair], course: Course, task: Task, journal: Journal) -> Iterator[Outcome]:
    """Measure every pair as it is, and yield how it went with each."""
    return _pass(pairs, course, task, journal, _read_pair, lambda batch: _compare(batch, task))


def _pass(
    items: Iterable[Item],
    course: Course,
    task: Task,
    journal: Journal,
    read: Callable[[Item, str, Known | None], _Ready],
    measure: Callable[[Sequence[_Ready]], _Measured],
) -> Iterator[Outcome]:
    """Read ahead, measure in batches, keep what came of each batch; what is in the journal is not done again."""
    known = known_of(journal, course)
    highlights = Highlights(task.columns[task.ranking].higher)
    done = {name: found.sha256 for name, found in known.items() if found.done}
    for row in rows_of(journal, course, done, len(task.columns)):
        highlights.add(row.input, row.values[-1][task.ranking])

    def look(item: Item) -> _Ready | Outcome:
        name, digest = str(item.path), None
        try:
            digest = item.digest()
            found = known.get(name)
            found = found if found and found.sha256 == digest else None
            if found and (found.done or found.skip):
                return Outcome(name, digest, found.skip)
            with enough_for(f"for {name!r}"):
                return read(item, digest, found)
        except OutOfMemory as error:  # with no digest, as the next run may have more memory
            digest, failed = None, error
        except OSError as error:
            failed = RestyleError(f"{name!r} cannot be read: {(error.strerror or str(error)).lower()}")
        except RestyleError as error:
            failed = error
        return Outcome(name, digest, Skip(name, digest, failed.message, failed.hint), new=True)

    worked, batches = False, Batches(str(task.device), task.note)
    reset_peak(task.device)
    with closing(in_background(look, items, 2 * task.batch_size)) as looked:
        for batch in _batched(looked, task.batch_size):
            outcomes = {item.input: item for item in batch if isinstance(item, Outcome)}
            skips = [outcome.skip for outcome in outcomes.values() if outcome.skip and outcome.new]
            rows: list[Row] = []
            pictures: dict[str, str] = {}
            if ready := [item for item in batch if isinstance(item, _Ready)]:
                worked = True
                for part, measured in batches.run(ready, measure):
                    if isinstance(measured, OutOfMemory):  # not for the journal: another run may have more memory
                        outcomes |= {item.input: _too_large(item, measured, course) for item in part}
                        continue
                    new, failed, small = _described(part, measured, course, task, highlights)
                    outcomes |= {row.input: Outcome(row.input, row.sha256) for row in new}
                    outcomes |= {skip.input: Outcome(skip.input, skip.sha256, skip, new=True) for skip in failed}
                    rows, skips, pictures = rows + new, skips + failed, pictures | small
            if rows or skips:
                add_batch(journal, course, rows, skips, pictures)
            yield from (outcomes[item.input] for item in batch)
    if worked and (peak := peak_mb(task.device)) is not None:
        add_peak(journal, course, round(peak, 1))


def _too_large(item: _Ready, error: OutOfMemory, course: Course) -> Outcome:
    skip = Skip(item.input, item.sha256, f"{item.input!r}: {error.message}", error.hint, course.chain)
    return Outcome(item.input, item.sha256, skip, new=True)


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


# --- reading


def _read(path: Path, digest: str, known: Known | None, size: Size, full: Size | None, task: Task) -> _Ready:
    """The picture framed as wished; where an earlier course has found the face, it is not searched again."""
    photo = open_picture(path)
    if known and known.quad:
        corners = tuple((float(x), float(y)) for x, y in np.array(known.quad).reshape(4, 2))
        large = None if full is None else to_tensor(part_of(photo, corners, full, cut_out=True))
        x = to_tensor(crop_quad(photo, corners, max(size)), size)
        return _Ready(str(path), digest, x, quad=list(known.quad), full=large)
    framing = task.framing
    if known and framing.rule == "face":
        framing = replace(framing, mode="never")
    aligned = frame(photo, framing, size, path)[0]
    cut_out = task.framing.rule == "face" and aligned.how == "aligned"
    quad = [float(value) for corner in aligned.quad for value in corner] if cut_out else None
    large = None if full is None else to_tensor(part_of(photo, aligned.quad, full, aligned.how == "aligned"))
    return _Ready(str(path), digest, to_tensor(aligned.picture, size), quad=quad, full=large)


def _read_pair(pair: Pair, digest: str, known: Known | None) -> _Ready:
    x, y = (to_tensor(open_picture(path), SIZE) for path in (pair.path, pair.result))
    return _Ready(str(pair.path), digest, x, y)


# --- measuring


class _Inverter:
    """Inverts batches and measures them; the first one after a run that nobody looks at, so that it takes no longer."""

    def __init__(self, methods: Sequence[Method], course: Course, task: Task) -> None:
        self.methods, self.steps, self.task = methods, set(course.steps), task
        self._warm = False

    def __call__(self, batch: Sequence[_Ready]) -> _Measured:
        """The values of every measured step."""
        task = self.task
        # The same random numbers for a batch whether the run was interrupted before it or not.
        with fork_rng([task.device] if task.device.type == "cuda" else []), compute(task.device, task.dtype):
            torch.manual_seed(0)
            full = [item.full for item in batch if item.full is not None]
            given = {TARGET: torch.stack(full).to(task.device)} if full else {}
            return self._invert(torch.stack([item.x for item in batch]).to(task.device), given)

    def _invert(self, x: Tensor, given: Mapping[str, Tensor]) -> _Measured:
        if not self._warm:
            with torch.no_grad():
                for _ in iterate(x, list(dict.fromkeys(self.methods)), given):
                    pass
            self._warm = True
        judge = _Judge(x, self.task)

        def look(k: int, state: State, errors: Tensor) -> None:
            if k in self.steps:
                judge.look(state.image)

        inversion = invert(x, self.methods, keep="last", keep_images=(), on_step=look, inputs=given)
        passed = accumulate(step.seconds for step in inversion.steps)
        return judge.measured([seconds for k, seconds in enumerate(passed) if k in self.steps])


class _Judge:
    """Measures one batch, step by step."""

    def __init__(self, x: Tensor, task: Task) -> None:
        """`x` [N, 3, H, W] in [-1, 1]: the targets, which are looked at once."""
        self.task = task
        self.values: list[Tensor] = []
        with exactly(task.device):
            self.targets = compared(x)
            self.seen = [metric.look(self.targets) for metric in task.metrics]

    def look(self, images: Tensor) -> None:
        """Compare images [N, 3, any, any] with the targets."""
        with exactly(self.task.device):
            self.results = compared(images)
            seen = zip(self.task.metrics, self.seen, strict=True)
            columns = [metric.compare(target, metric.look(self.results)).cpu().double() for metric, target in seen]
        self.values.append(torch.cat(columns, dim=1))

    def measured(self, seconds: list[float]) -> _Measured:
        """All that was looked at."""
        return _Measured(torch.stack(self.values, dim=1), seconds, self.targets, self.results)


def _compare(batch: Sequence[_Ready], task: Task) -> _Measured:
    judge = _Judge(torch.stack([item.x for item in batch]).to(task.device), task)
    with torch.no_grad():
        judge.look(torch.stack([item.y for item in batch if item.y is not None]).to(task.device))
    return judge.measured([])


def _described(
    batch: Sequence[_Ready], measured: _Measured, course: Course, task: Task, highlights: Highlights
) -> tuple[list[Row], list[Skip], dict[str, str]]:
    """Each picture's row, or why it has none; and the small pictures of those that are among the best or worst."""
    rows: list[Row] = []
    skips: list[Skip] = []
    pictures: dict[str, str] = {}
    seconds = [round(value / len(batch), 6) for value in measured.seconds]
    for index, item in enumerate(batch):
        values = measured.values[index]
        if not (values.isfinite().all() and measured.results[index].isfinite().all()):
            reason = f"{course.name} came to no numbers for {item.input!r}"
            skips.append(Skip(item.input, item.sha256, reason, "use --precision fp32", course.chain))
            continue
        rows.append(Row(item.input, item.sha256, values.tolist(), seconds, item.quad))
        if highlights.add(item.input, float(values[-1, task.ranking])):
            pictures[item.input] = side_by_side(measured.targets[index], measured.results[index])
    return rows, skips, pictures
