"""Many images through a chain of methods: read ahead, inverted in batches, written behind."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from PIL import Image
from torch import Tensor

from restyle_cli.align import Aligned, AlignOptions, Size, align_image, matrix_of, recrop
from restyle_cli.devices import compute
from restyle_cli.errors import RestyleError
from restyle_cli.images import TURNED, open_image, to_tensor
from restyle_cli.inversion import Inversion, Method, Target, full_size, invert
from restyle_cli.io import reason_of
from restyle_cli.memory import Batches, OutOfMemory, enough_for
from restyle_cli.methods.inputs import UnfitImage
from restyle_cli.run.folder import OutputFolder, Photo
from restyle_cli.run.latents import half_patch, render
from restyle_cli.run.outputs import Inverted, Results, steps_of
from restyle_cli.run.sources import Source
from restyle_cli.stopping import StopRule
from restyle_cli.store.files import sha256

if TYPE_CHECKING:
    from restyle_cli.align.mask import Mask

Item = TypeVar("Item")
Result = TypeVar("Result")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What to do with every image; with `overwrite` also with those that are done.

    `on_step(k, l2 [N])` is called after each step of a batch. Then Ctrl-C ends the batch; its best steps so far are
    written, and no other batch begins. `compare_with` is another chain that every image goes through, for `Results` to
    show beside the first. `stop_rule` makes the rule of one batch; without it `tolerance` decides. `note` receives
    lines for people.
    """

    methods: Sequence[Method]
    results: Results
    device: torch.device
    dtype: torch.dtype
    keep: str = "best"
    tolerance: float | None = None
    align: AlignOptions = field(default_factory=AlignOptions)
    overwrite: bool = False
    batch_size: int = 1
    compare_with: Sequence[Method] = ()
    on_step: Callable[[int, Tensor], None] | None = None
    mask: Mask | None = None
    stop_rule: Callable[[], StopRule] | None = None
    note: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Outcome:
    """The outcome for an image, or one face of it; `record` is the metadata in its files."""

    path: Path
    status: Literal["done", "skipped", "failed"]
    files: dict[str, Path] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    error: RestyleError | None = None


def failed(path: Path, error: RestyleError) -> Outcome:
    """The outcome of an image that failed; the error names it."""
    return Outcome(path, "failed", error=RestyleError(f"{str(path)!r}: {error.message}", error.hint))


def invert_all(sources: Iterable[Source], task: Task) -> Generator[Outcome, None, None]:
    """Invert every image and yield the outcomes, one per face; a failure does not stop the others.

    Exhaust the iterator or close it: then no thread runs on, and no file is half-written.
    """
    ahead = 2 * task.batch_size
    size, full = task.methods[0].size, full_size([*task.methods, *task.compare_with])

    def read(item: tuple[Source, dict[str, Path] | RestyleError]) -> Sequence[Photo | Outcome]:
        return read_photos(*item, task.results, task.align, size, task.overwrite, task.mask, full)

    with closing(in_background(read, task.results.names(sources), ahead, fill=True)) as photos:
        inverted = _by_photo(_invert(chain.from_iterable(photos), task), task)
        with closing(in_background(lambda faces: _write(faces, task.results), inverted, ahead)) as outcomes:
            yield from chain.from_iterable(outcomes)


def in_background(
    work: Callable[[Item], Result], items: Iterable[Item], ahead: int, fill: bool = False
) -> Generator[Result, None, None]:
    """`work(item)` of each item in order, done by a second thread; up to `ahead` results may wait.

    With `fill` that many are started before the first is yielded, for items that cost nothing.
    """
    pending: deque[Future[Result]] = deque()
    # One thread: face detectors do not support two, and it keeps up with the models.
    executor = ThreadPoolExecutor(max_workers=1)
    executor.submit(int)  # start the thread while there is memory for its stack: the first item may take all of it
    try:
        for item in items:
            pending.append(executor.submit(work, item))
            while len(pending) > ahead or (pending and not fill and pending[0].done()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


# --- reading


def read_photos(
    source: Source,
    files: dict[str, Path] | RestyleError,
    folder: OutputFolder[Any],
    align: AlignOptions,
    size: Size,
    overwrite: bool = False,
    mask: Mask | None = None,
    full: Size | None = None,
) -> Sequence[Photo | Outcome]:
    """The crops of an image, one per face; or its outcomes if it is done or cannot be read.

    `files` are from `OutputFolder.names`. Crops have the `size` (height, width), and in addition the size `full`.
    """
    if isinstance(files, RestyleError):
        return [Outcome(source.path, "failed", error=files)]
    began = time.perf_counter()
    try:
        image = open_image(source.path)
        digest = sha256(source.path)
        if not overwrite and (earlier := folder.earlier(files, digest)):
            return [Outcome(source.path, "skipped", there, record) for there, record in earlier]
        turned = TURNED in image.info
        photos = []
        with enough_for(f"for {str(source.path)!r}"):
            for aligned in align_image(image, align, size, source.path):
                crop, known = (aligned, None) if mask is None else mask.apply(aligned, image.size, align, size)
                own = folder.of_face(files, aligned.face)
                large = None if full is None else _crop_at(full, image, aligned, align, mask)
                photos.append(Photo(source.path, own, digest, image.size, crop, turned, known, large))
        log.debug("read %s: %d crops in %.2f s", source.path, len(photos), time.perf_counter() - began)
        return photos
    except OSError as error:  # it could be opened a moment ago
        return [Outcome(source.path, "failed", error=_unreadable(source.path, error))]
    except RestyleError as error:
        return [Outcome(source.path, "failed", error=error)]


def _unreadable(path: Path, error: OSError) -> RestyleError:
    return RestyleError(f"{str(path)!r} can no longer be read: {reason_of(error)}")


def _crop_at(size: Size, image: Image.Image, aligned: Aligned, align: AlignOptions, mask: Mask | None) -> Image.Image:
    """The crop of `aligned` in another size."""
    crop = recrop(image, aligned.quad, size, aligned.how == "aligned")
    if mask is None:
        return crop
    large = replace(aligned, image=crop, matrix=matrix_of(aligned.quad, size))
    return mask.apply(large, image.size, align, size)[0].image


# --- inverting


def _invert(items: Iterable[Photo | Outcome], task: Task) -> Iterator[Inverted | Outcome]:
    """Invert the photos in batches; outcomes pass at once."""
    batches = Batches(str(task.device), task.note)
    for batch in _batched(items, task.batch_size):
        if isinstance(batch, Outcome):
            yield batch
            continue
        for part, inverted in batches.run(batch, lambda photos: _invert_batch(photos, task)):
            if isinstance(inverted, OutOfMemory):
                yield from (failed(photo.path, inverted) for photo in part)
                continue
            yield from inverted
            if any(isinstance(one, Inverted) and one.inversion.interrupted for one in inverted):
                return


def _batched(items: Iterable[Photo | Outcome], size: int) -> Iterator[list[Photo] | Outcome]:
    batch: list[Photo] = []
    for item in items:
        if isinstance(item, Outcome):
            yield item
            continue
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _invert_batch(batch: Sequence[Photo], task: Task) -> list[Inverted | Outcome]:
    began = time.perf_counter()
    x = torch.stack([photo.x for photo in batch]).to(task.device)
    full = [to_tensor(photo.full) for photo in batch if photo.full is not None]
    masks = [photo.mask for photo in batch if photo.mask is not None]
    target = Target(*(torch.stack(values).to(task.device) if values else None for values in (full, masks)))
    try:
        inversion = _run(x, task.methods, task, target, task.stop_rule)
        compared = _run(x, task.compare_with, task, target) if task.compare_with else None
    except UnfitImage as error:
        if len(batch) > 1:
            return [one for photo in batch for one in _invert_batch([photo], task)]
        return [failed(batch[0].path, error)]
    inverted: list[Inverted | Outcome] = []
    for index, photo in enumerate(batch):
        one, method = as_written(inversion.one(index), task.methods, task.dtype)
        other = None if compared is None else as_written(compared.one(index), task.compare_with, task.dtype)[0]
        compute_extra = task.results.extra
        extra = None if compute_extra is None else compute_extra(photo.x, one, method.generator, task.dtype)
        inverted.append(Inverted(photo, one, other, extra))
    seconds = (time.perf_counter() - began) / len(batch)
    log.debug("inverted %s in %.2f s each", ", ".join(str(photo.path) for photo in batch), seconds)
    return inverted


def _run(
    x: Tensor,
    methods: Sequence[Method],
    task: Task,
    target: Target,
    stop_rule: Callable[[], StopRule] | None = None,
) -> Inversion:
    on_step = task.on_step
    with compute(task.device, task.dtype):
        return invert(
            x,
            methods,
            keep=task.keep,
            tolerance=task.tolerance,
            stop=None if stop_rule is None else stop_rule(),
            on_step=None if on_step is None else lambda k, state, l2: on_step(k, l2),
            keep_images=task.results.image_steps(len(methods)),
            keep_w=task.results.needs_every_w,
            target=target,
            interruptible=on_step is not None,
        )


def as_written(one: Inversion, methods: Sequence[Method], dtype: torch.dtype) -> tuple[Inversion, Method]:
    """The inversion as its latent file will render it, and the method of the selected step.

    The image is rendered again where the patch is rounded, or where a gradient was taken and the last digits differ.
    """
    by_name = {method.name: method for method in methods}
    method = by_name.get(one.steps[int(one.kept_step)].method, methods[0])  # the start is the first method's
    if not one.patch and not method.compares:
        return one, method
    patch = half_patch(one.patch)
    return replace(one, patch=patch, images=render(method.generator, one.w, patch, dtype)), method


# --- writing


def _by_photo(items: Iterable[Inverted | Outcome], task: Task) -> Iterator[list[Inverted | Outcome]]:
    """The items one by one; the faces of one photo together if each has its own files."""
    if not task.results.numbered:
        yield from ([item] for item in items)
        return
    for _, faces in groupby(items, key=lambda item: item.photo.path if isinstance(item, Inverted) else item.path):
        yield list(faces)


def _write(items: Sequence[Inverted | Outcome], results: Results) -> list[Outcome]:
    """Write the files of a photo's faces. The first face pastes all of them into the photo."""
    faces = [item for item in items if isinstance(item, Inverted)] if len(items) > 1 else []
    pasted = [face for face in faces if results.is_finite(face) and not results.refusal(face)]
    outcomes = []
    for item in items:
        if isinstance(item, Inverted):
            if any(item is face for face in pasted):
                item = replace(item, pasted=pasted if item is pasted[0] else None)
            item = _write_one(item, results)
        outcomes.append(item)
    return outcomes


def _write_one(inverted: Inverted, results: Results) -> Outcome:
    photo, began = inverted.photo, time.perf_counter()
    if (refusal := results.refusal(inverted)) is not None:
        record = {"interrupted": True, "steps": steps_of(inverted.inversion)}
        return replace(failed(photo.path, refusal), record=record)
    try:
        with enough_for("to write the files"):
            record = results.write(inverted)
    except RestyleError as error:
        return failed(photo.path, error)
    log.debug("wrote %d files of %s in %.2f s", len(photo.files), photo.path, time.perf_counter() - began)
    return Outcome(photo.path, "done", dict(photo.files), record)
