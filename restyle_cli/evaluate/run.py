"""Inverts images and measures every step, or measures pairs of images, and writes the report.

Each schedule is one pass over the images, so that only one chain's models are in memory.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.random import fork_rng

from restyle_cli.align import Quad, Size, align_image, recrop
from restyle_cli.devices import compute, exactly
from restyle_cli.errors import RestyleError
from restyle_cli.evaluate.html import page
from restyle_cli.evaluate.journal import Journal, Peak, Row, Skip
from restyle_cli.evaluate.protocol import Evaluation, protocol
from restyle_cli.evaluate.schedule import Item, Schedule
from restyle_cli.evaluate.summary import MOST, summary, write_table
from restyle_cli.images import open_image, to_image, to_tensor
from restyle_cli.inversion import Method, State, Target, full_size, invert, iterate
from restyle_cli.io import reason_of, write_atomic
from restyle_cli.memory import Batches, OutOfMemory, enough_for
from restyle_cli.metrics.base import SIZE, Metric
from restyle_cli.run.pipeline import in_background
from restyle_cli.store.paths import sha256

JOURNAL, TABLE, JSON, PAGE = "journal.jsonl", "images.csv", "report.json", "report.html"
THUMBNAIL = 160
"""Height and width of an image in a thumbnail in px."""


def evaluate(
    evaluation: Evaluation,
    items: Sequence[Item],
    overwrite: bool = False,
    on_item: Callable[[Skip | None], None] = lambda skip: None,
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Measure all items with all methods, and write the report; returns it and its files by kind.

    What the journal in the folder has is not measured again. `on_item` is called for each item and method, with the
    reason if it is skipped; an image skipped for all methods has its reason once. RestyleError if nothing was measured,
    or if the folder has the report of another run, unless `overwrite`.
    """
    folder, journal = evaluation.folder, Journal(evaluation.folder / JOURNAL, evaluation.settings())
    taken = next((folder / name for name in (PAGE, JSON, TABLE) if (folder / name).exists()), None)
    if taken is not None and not overwrite and not journal.path.exists():
        raise RestyleError(
            f"{str(taken)!r} already exists and belongs to another run",
            "choose another folder with --output, or replace it with --overwrite",
        )
    journal.open(overwrite)
    used: dict[str, str] = {}  # the SHA-256 of each measured image
    skips: dict[tuple[str, str | None], Skip] = {}
    read = _Reader(evaluation)
    for index, schedule in enumerate(evaluation.schedules):
        measure: Measure = partial(_compare, evaluation=evaluation)
        if evaluation.against is None:
            methods = evaluation.plans[index].load(evaluation.machine.device)
            read.size, read.full = methods[0].size, full_size(methods)
            measure = _inverter(methods, schedule, evaluation)
        with closing(_pass(items, schedule, evaluation, journal, read, measure, used)) as outcomes:
            for skip in outcomes:
                if skip is None or (skip.input, skip.schedule) in skips:
                    on_item(None)
                else:
                    skips[skip.input, skip.schedule] = skip
                    on_item(skip)
    if not used:
        raise RestyleError("no image could be measured", "the reasons are above")
    return _write_report(evaluation, journal, used, list(skips.values()))


def _write_report(
    evaluation: Evaluation, journal: Journal, used: Mapping[str, str], skips: Sequence[Skip]
) -> tuple[dict[str, Any], dict[str, Path]]:
    measured, thumbnails = summary(evaluation, journal, used, skips)
    notices = list(dict.fromkeys(notice for plan in evaluation.plans for notice in plan.notices))
    head = {"command": "eval", **evaluation.machine.notes, "notices": notices, "protocol": protocol(evaluation)}
    report = head | measured
    files = {kind: evaluation.folder / name for kind, name in (("page", PAGE), ("json", JSON), ("table", TABLE))}
    html = page(report, evaluation.columns, thumbnails)
    write_atomic(files["table"], lambda part: write_table(part, evaluation, journal, used))
    write_atomic(files["json"], lambda part: part.write_text(json.dumps(report, indent=2) + "\n", encoding="ascii"))
    write_atomic(files["page"], lambda part: part.write_text(html, encoding="utf-8", errors="backslashreplace"))
    return report, files


# --- one pass over the images


@dataclass(frozen=True)
class _Ready:
    """An image or a pair to be measured: [3, H, W] in [-1, 1] each."""

    input: str
    sha256: str
    x: Tensor
    y: Tensor | None = None
    full: Tensor | None = None  # x at the generator's full size, if a method compares at that size


@dataclass(frozen=True)
class _Measured:
    """Results of a batch: `values` [N, S, C], `seconds` [S] of the whole batch, targets and images of the last step."""

    values: Tensor
    seconds: list[float]
    targets: Tensor  # [N, 3, H, W] in [-1, 1]
    results: Tensor


Measure = Callable[[Sequence[_Ready]], _Measured]


def _pass(
    items: Iterable[Item],
    schedule: Schedule,
    evaluation: Evaluation,
    journal: Journal,
    read: Callable[[Item, str], _Ready],
    measure: Measure,
    used: dict[str, str],
) -> Generator[Skip | None, None, None]:
    """Read ahead, measure in batches, and write each batch to the journal; what the journal has is not measured again.

    Yields for each item the reason if it is skipped; adds the others to `used`, with their SHA-256. Close the iterator,
    or exhaust it, to end its thread.
    """
    known: dict[tuple[str, str], Skip | None] = {}  # what the journal has, by input and SHA-256; None for a row
    ranked: list[float] = []  # the values that rank the images, sorted
    for entry in journal.entries():
        if isinstance(entry, Skip) and entry.sha256 and entry.schedule in (None, schedule.key):
            known[entry.input, entry.sha256] = entry
    for row in journal.rows(schedule.key, len(schedule.steps), len(evaluation.columns)):
        known[row.input, row.sha256] = None
        insort(ranked, row.values[-1][evaluation.ranking])

    def prepare(item: Item) -> _Ready | Skip | None:
        name, digest = str(item.path), None
        try:
            digest = sha256(item.path) + (f":{sha256(item.result)}" if item.result else "")
            if (name, digest) not in known:
                with enough_for(f"for {name!r}"):
                    return read(item, digest)
            if (skip := known[name, digest]) is None:
                used[name] = digest
            return skip
        except OutOfMemory as error:  # the next run may have more memory
            return Skip(name, error.message, error.hint)
        except RestyleError as error:
            return Skip(name, error.message, error.hint, digest)
        except OSError as error:
            return Skip(name, f"{name!r} cannot be read: {reason_of(error)}", None, digest)

    machine, worked = evaluation.machine, False
    batches = Batches(str(machine.device), evaluation.note)
    _reset_peak(machine.device)
    with closing(in_background(prepare, items, 2 * machine.batch_size)) as prepared:
        for batch in _batched(prepared, machine.batch_size):
            if not isinstance(batch, list):
                if batch is not None and batch.sha256 and (batch.input, batch.sha256) not in known:
                    journal.add([batch])
                yield batch
                continue
            worked = True
            entries: list[Row | Skip] = []
            for part, measured in batches.run(batch, measure):
                if isinstance(measured, OutOfMemory):
                    reason = f"{part[0].input!r}: {measured.message}"
                    entries.append(Skip(part[0].input, reason, measured.hint, schedule=schedule.key))
                else:
                    entries += _entries(part, measured, schedule, evaluation.ranking, ranked)
            journal.add(entry for entry in entries if entry.sha256)
            used.update((entry.input, entry.sha256) for entry in entries if isinstance(entry, Row))
            yield from (entry if isinstance(entry, Skip) else None for entry in entries)
    if worked and (peak := _peak_mb(machine.device)) is not None:
        journal.add([Peak(schedule.key, round(peak, 1))])


def _batched(items: Iterable[_Ready | Skip | None], size: int) -> Iterator[list[_Ready] | Skip | None]:
    """Batches of `size` images; what is not to be measured passes at once.

    A resumed run has the batches of an uninterrupted one, because the last digits of the numbers depend on the batch.
    """
    batch: list[_Ready] = []
    for item in items:
        if not isinstance(item, _Ready):
            yield item
            continue
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _entries(
    batch: Sequence[_Ready], measured: _Measured, schedule: Schedule, ranking: int, ranked: list[float]
) -> Iterator[Row | Skip]:
    """The row of each image, with a thumbnail if it is among the best or worst so far, or its skip."""
    seconds = [round(value / len(batch), 6) for value in measured.seconds]
    for item, values, target, result in zip(batch, measured.values, measured.targets, measured.results, strict=True):
        if not (values.isfinite().all() and result.isfinite().all()):
            reason = f"{schedule.name} produced NaN for {item.input!r}"
            yield Skip(item.input, reason, "use --precision fp32", item.sha256, schedule.key)
            continue
        value = float(values[-1, ranking])
        extreme = bisect_right(ranked, value) < MOST or len(ranked) - bisect_left(ranked, value) < MOST
        insort(ranked, value)
        thumbnail = _side_by_side(target, result) if extreme else None
        yield Row(schedule.key, item.input, item.sha256, values.tolist(), seconds, thumbnail)


def _side_by_side(
    target: Tensor,  # [3, H, W] in [-1, 1]
    result: Tensor,  # [3, H, W] in [-1, 1]
) -> str:
    """Thumbnails of both side by side, as a base64-encoded JPEG."""
    sheet = Image.new("RGB", (2 * THUMBNAIL, THUMBNAIL))
    for index, image in enumerate((target, result)):
        small = to_image(image).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        sheet.paste(small, (index * THUMBNAIL, 0))
    file = BytesIO()
    sheet.save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode("ascii")


class _Reader:
    """Reads images in the `size` (height, width) of a method, and in the size `full` if the method compares there.

    The place of a face is remembered, so that the next method does not search it again.
    """

    size: Size = SIZE
    full: Size | None = None

    def __init__(self, evaluation: Evaluation) -> None:
        self.align = evaluation.align
        self._crops: dict[str, tuple[Quad, bool]] = {}

    def __call__(self, item: Item, digest: str) -> _Ready:
        """The framed image, or both images of a pair; RestyleError if it cannot be read or has no face."""
        photo = open_image(item.path)
        if item.result is not None:
            y = to_tensor(open_image(item.result), SIZE)
            return _Ready(str(item.path), digest, to_tensor(photo, SIZE), y)
        if digest not in self._crops:
            aligned = align_image(photo, self.align, self.size, item.path)[0]
            self._crops[digest] = aligned.quad, aligned.how == "aligned"
        quad, is_face = self._crops[digest]
        x = to_tensor(recrop(photo, quad, self.size, is_face))
        full = None if self.full is None else to_tensor(recrop(photo, quad, self.full, is_face))
        return _Ready(str(item.path), digest, x, full=full)


# --- measuring


def _inverter(methods: Sequence[Method], schedule: Schedule, evaluation: Evaluation) -> Measure:
    """A function that inverts and measures batches; a warm-up run before the first keeps its time comparable."""
    machine, steps, is_warm = evaluation.machine, set(schedule.steps), False
    device = machine.device

    def measure(batch: Sequence[_Ready]) -> _Measured:
        nonlocal is_warm
        x = torch.stack([item.x for item in batch]).to(device)
        full = [item.full for item in batch if item.full is not None]
        target = Target(torch.stack(full).to(device) if full else None)
        values: list[Tensor] = []

        def on_step(k: int, state: State, errors: Tensor) -> None:
            if k in steps:
                values.append(numbers(evaluation.metrics, x, state.image))

        with fork_rng([device] if device.type == "cuda" else []), compute(device, machine.dtype):
            if not is_warm:
                with torch.no_grad():
                    for _ in iterate(x, list(dict.fromkeys(methods)), target):
                        pass
                is_warm = True
            torch.manual_seed(0)  # the same random numbers for a batch whether or not the run was interrupted before it
            inversion = invert(x, methods, keep="last", keep_images=(), on_step=on_step, target=target)
        passed = accumulate(step.seconds for step in inversion.steps)
        seconds = [seconds for k, seconds in enumerate(passed) if k in steps]
        return _Measured(torch.stack(values, dim=1), seconds, x, inversion.images)

    return measure


@torch.no_grad()
def _compare(batch: Sequence[_Ready], evaluation: Evaluation) -> _Measured:
    """Measure a batch of pairs."""
    x = torch.stack([item.x for item in batch]).to(evaluation.machine.device)
    y = torch.stack([item.y for item in batch if item.y is not None]).to(evaluation.machine.device)
    return _Measured(numbers(evaluation.metrics, x, y)[:, None], [], x, y)


def numbers(
    metrics: Sequence[Metric],
    x: Tensor,  # [N, 3, H, W] in [-1, 1], the targets
    y: Tensor,  # [N, 3, any, any], the results
) -> Tensor:
    """The values of all metrics, [N, C] in float64 on the CPU."""
    with exactly(x.device):
        measured = [metric.measure(x, y) for metric in metrics]
    return torch.cat([values.cpu().double().reshape(len(x), -1) for values in measured], dim=1)


# --- memory


def _reset_peak(device: torch.device) -> None:
    """Reset what `_peak_mb` returns. On the CPU only Linux can; elsewhere the peak is that of the process so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu":
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_mb(device: torch.device) -> float | None:
    """Peak memory in MB (10^6 bytes) since `_reset_peak`: PyTorch's tensors on a CUDA device, else the whole process.

    None if the system does not report it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    with suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        if found := re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE):
            return int(found[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6
