"""Many pictures through one schedule: read ahead, computed in batches, written behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from restyle_cli.align import Framing, Size, frame
from restyle_cli.devices import compute
from restyle_cli.errors import RestyleError
from restyle_cli.images import TURNED, Source, open_picture
from restyle_cli.inversion import MASK, Inversion, Method, invert
from restyle_cli.latents import half_patch, render
from restyle_cli.masks import Mask
from restyle_cli.methods.inputs import UnfitPicture
from restyle_cli.results import Inverted, Photo, Results, steps_of
from restyle_cli.stopping import StopRule
from restyle_cli.store.files import sha256

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Task:
    """What is done to every picture; `overwrite`: also to those that are done.

    `on_step` is told each step of a batch with its L2 [N]. Then Ctrl-C ends the batch with the steps that it has
    made, which are written, and no other is begun.

    `against`: another schedule that every picture goes through too, for `Results` to compare.

    `stop_rule` makes the rule of one batch; without it, `tolerance` decides alone.
    """

    methods: Sequence[Method]
    results: Results
    device: torch.device
    dtype: torch.dtype
    keep: str = "best"
    tolerance: float | None = None
    framing: Framing = field(default_factory=Framing)
    overwrite: bool = False
    batch_size: int = 1
    against: Sequence[Method] = ()
    on_step: Callable[[int, Tensor], None] | None = None
    mask: Mask | None = None
    stop_rule: Callable[[], StopRule] | None = None


@dataclass(frozen=True)
class Outcome:
    """How it went with a picture, or one face of it. `made` is the description that its files carry; see `Results`."""

    path: Path
    status: Literal["done", "skipped", "failed"]
    files: dict[str, Path] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    error: RestyleError | None = None


def invert_all(sources: Iterable[Source], task: Task) -> Iterator[Outcome]:
    """Invert every picture, and yield how it went with each; one that fails does not stop the others.

    Of several faces that are wished, each has an outcome of its own.

    Close the iterator, or exhaust it: then no thread runs on, and no file is half-written.
    """
    ahead = 2 * task.batch_size
    named = task.results.names(sources)
    with closing(in_background(lambda item: _read(*item, task), named, ahead, fill=True)) as photos:
        inverted = _invert(chain.from_iterable(photos), task)
        with closing(in_background(lambda item: _write(item, task), inverted, ahead)) as outcomes:
            yield from outcomes


def in_background(
    work: Callable[[Item], Result], items: Iterable[Item], ahead: int, fill: bool = False
) -> Iterator[Result]:
    """`work(item)` of each item in order, done by one thread beside the caller's; `ahead` results may wait.

    With `fill`, so many are begun before the first is given, which makes sense for items that cost nothing.
    """
    pending: deque[Future[Result]] = deque()
    # One thread: face detectors do not bear two, and it keeps up with the networks.
    executor = ThreadPoolExecutor(max_workers=1)
    try:
        for item in items:
            pending.append(executor.submit(work, item))
            while len(pending) > ahead or (pending and not fill and pending[0].done()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def read_photos(
    source: Source,
    files: dict[str, Path] | RestyleError,
    results: Results,
    framing: Framing,
    size: Size,
    overwrite: bool = False,
    mask: Mask | None = None,
) -> list[Photo | Outcome]:
    """What is to be done for one picture: a photo for each face wished, or how it went already.

    `files` are as `Results.names` gives them; `size` (height, width) is what photos are framed to.
    """
    if isinstance(files, RestyleError):
        return [Outcome(source.path, "failed", error=files)]
    try:
        picture = open_picture(source.path)
        digest = sha256(source.path)
        if not overwrite and (earlier := results.earlier(files, digest)):
            return [Outcome(source.path, "skipped", here, made) for here, made in earlier]
        turned = TURNED in picture.info
        photos = []
        for aligned in frame(picture, framing, size, source.path):
            masked = (aligned, None) if mask is None else mask.put_on(aligned, picture.size, framing, size)
            here = results.of_face(files, aligned.face)
            photos.append(Photo(source.path, here, digest, picture.size, masked[0], turned, masked[1]))
        return photos
    except OSError as error:  # it could be opened a moment ago
        changed = RestyleError(f"{str(source.path)!r} cannot be read any more: {error.strerror or error}")
        return [Outcome(source.path, "failed", error=changed)]
    except RestyleError as error:
        return [Outcome(source.path, "failed", error=error)]


def _read(source: Source, files: dict[str, Path] | RestyleError, task: Task) -> list[Photo | Outcome]:
    size = task.methods[0].size
    return read_photos(source, files, task.results, task.framing, size, task.overwrite, task.mask)


def _invert(items: Iterable[Photo | Outcome], task: Task) -> Iterator[Inverted | Outcome]:
    """Gather batches and run them; what needs no computing passes at once."""
    batch: list[Photo] = []
    for item in items:
        if isinstance(item, Outcome):
            yield item
            continue
        batch.append(item)
        if len(batch) == task.batch_size:
            inverted = _invert_batch(batch, task)
            yield from inverted
            if any(isinstance(one, Inverted) and one.inversion.interrupted for one in inverted):
                return
            batch = []
    if batch:
        yield from _invert_batch(batch, task)


def _invert_batch(batch: list[Photo], task: Task) -> list[Inverted | Outcome]:
    try:
        x = torch.stack([photo.x for photo in batch]).to(task.device)
        masks = [photo.mask for photo in batch if photo.mask is not None]
        inputs = {MASK: torch.stack(masks).to(task.device)} if masks else {}
        inversion = _through(x, task.methods, task, inputs, task.stop_rule)
        against = _through(x, task.against, task, inputs) if task.against else None
    except UnfitPicture as error:
        if len(batch) > 1:
            return [one for photo in batch for one in _invert_batch([photo], task)]
        path = batch[0].path
        return [Outcome(path, "failed", error=RestyleError(f"{str(path)!r}: {error.message}", error.hint))]
    except torch.OutOfMemoryError as error:
        fewer = f"--batch-size {len(batch) // 2}" if len(batch) > 1 else "--device cpu"
        message = f"{task.device} has not enough memory for {len(batch)} pictures at once"
        raise RestyleError(message, f"use {fewer}") from error
    return [
        _inverted(photo, inversion.one(index), against.one(index) if against else None, task)
        for index, photo in enumerate(batch)
    ]


def _inverted(photo: Photo, one: Inversion, against: Inversion | None, task: Task) -> Inverted:
    method = _kept_by(one, task.methods)
    kept = _as_kept(one, method, task.dtype)
    other = None if against is None else _as_kept(against, _kept_by(against, task.against), task.dtype)
    return Inverted(photo, kept, other, task.results.beside(kept, method.generator, task.dtype))


def _through(
    x: Tensor,
    methods: Sequence[Method],
    task: Task,
    inputs: Mapping[str, Tensor],
    stop_rule: Callable[[], StopRule] | None = None,
) -> Inversion:
    with compute(task.device, task.dtype):
        pictures = task.results.pictures(len(methods))
        return invert(
            x,
            methods,
            keep=task.keep,
            tolerance=task.tolerance,
            stop=None if stop_rule is None else stop_rule(),
            on_step=None if task.on_step is None else lambda k, state, errors: task.on_step(k, errors),
            keep_images=pictures,
            keep_w=task.results.keeps_codes,
            inputs=inputs,
            interruptible=task.on_step is not None,
        )


def _kept_by(one: Inversion, methods: Sequence[Method]) -> Method:
    """The method whose step is kept; the start is the first's."""
    by_name = {method.name: method for method in methods}
    return by_name.get(one.steps[int(one.kept_step)].method, methods[0])


def _as_kept(one: Inversion, method: Method, dtype: torch.dtype) -> Inversion:
    """With changes of the generator as files keep them, and the picture that files draw.

    That is drawn anew where these changes are rounded, or where a gradient was taken and the last digits are others.
    """
    if not one.patch and not method.compares:
        return one
    patch = half_patch(one.patch)
    return replace(one, patch=patch, images=render(method.generator, one.w, patch, dtype))


def _write(item: Inverted | Outcome, task: Task) -> Outcome:
    if isinstance(item, Outcome):
        return item
    photo = item.photo
    if (lost := task.results.lost(item)) is not None:
        named = RestyleError(f"{str(photo.path)!r}: {lost.message}", lost.hint)
        return Outcome(photo.path, "failed", made={"interrupted": True, "steps": steps_of(item.inversion)}, error=named)
    try:
        made = task.results.write(item)
    except RestyleError as error:
        named = RestyleError(f"{str(photo.path)!r}: {error.message}", error.hint)
        return Outcome(photo.path, "failed", error=named)
    return Outcome(photo.path, "done", dict(photo.files), made)
