"""Many pictures through one schedule: read ahead, computed in batches, written behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from PIL import Image
from torch import Tensor

from restyle_cli.align import Aligned, AlignOptions, Size, align_image, matrix_of, recrop
from restyle_cli.align.mask import Mask
from restyle_cli.devices import compute
from restyle_cli.errors import RestyleError
from restyle_cli.images import TURNED, open_image, to_tensor
from restyle_cli.inversion import MASK, TARGET, Inversion, Method, invert
from restyle_cli.io import reason_of
from restyle_cli.memory import Batches, OutOfMemory, enough_for
from restyle_cli.methods.inputs import UnfitPicture
from restyle_cli.methods.optimize import full_size
from restyle_cli.run.latents import half_patch, render
from restyle_cli.run.outputs import Inverted, Photo, Results, steps_of
from restyle_cli.run.sources import Source
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

    `note` receives lines for people.
    """

    methods: Sequence[Method]
    results: Results
    device: torch.device
    dtype: torch.dtype
    keep: str = "best"
    tolerance: float | None = None
    framing: AlignOptions = field(default_factory=AlignOptions)
    overwrite: bool = False
    batch_size: int = 1
    against: Sequence[Method] = ()
    on_step: Callable[[int, Tensor], None] | None = None
    mask: Mask | None = None
    stop_rule: Callable[[], StopRule] | None = None
    note: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Outcome:
    """How it went with a picture, or one face of it. `made` is the description that its files carry; see `Results`."""

    path: Path
    status: Literal["done", "skipped", "failed"]
    files: dict[str, Path] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    error: RestyleError | None = None


def invert_all(sources: Iterable[Source], task: Task) -> Generator[Outcome, None, None]:
    """Invert every picture, and yield how it went with each; one that fails does not stop the others.

    Of several faces that are wished, each has an outcome of its own.

    Close the iterator, or exhaust it: then no thread runs on, and no file is half-written.
    """
    ahead = 2 * task.batch_size
    named = task.results.names(sources)
    with closing(in_background(lambda item: _read(*item, task), named, ahead, fill=True)) as photos:
        inverted = _by_photo(_invert(chain.from_iterable(photos), task), task)
        with closing(in_background(lambda faces: _write(faces, task), inverted, ahead)) as outcomes:
            yield from chain.from_iterable(outcomes)


def in_background(
    work: Callable[[Item], Result], items: Iterable[Item], ahead: int, fill: bool = False
) -> Generator[Result, None, None]:
    """`work(item)` of each item in order, done by one thread beside the caller's; `ahead` results may wait.

    With `fill`, so many are begun before the first is given, which makes sense for items that cost nothing.
    """
    pending: deque[Future[Result]] = deque()
    # One thread: face detectors do not bear two, and it keeps up with the networks.
    executor = ThreadPoolExecutor(max_workers=1)
    executor.submit(int)  # starts it while there is memory for its stack: computing the first item may take all
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
    framing: AlignOptions,
    size: Size,
    overwrite: bool = False,
    mask: Mask | None = None,
    full: Size | None = None,
) -> list[Photo | Outcome]:
    """What is to be done for one picture: a photo for each face wished, or how it went already.

    `files` are as `Results.names` gives them; `size` (height, width) is what photos are framed to, `full` another size
    in which they are wanted too.
    """
    if isinstance(files, RestyleError):
        return [Outcome(source.path, "failed", error=files)]
    try:
        picture = open_image(source.path)
        digest = sha256(source.path)
        if not overwrite and (earlier := results.earlier(files, digest)):
            return [Outcome(source.path, "skipped", here, made) for here, made in earlier]
        turned = TURNED in picture.info
        photos = []
        with enough_for(f"for {str(source.path)!r}"):
            for aligned in align_image(picture, framing, size, source.path):
                masked = (aligned, None) if mask is None else mask.put_on(aligned, picture.size, framing, size)
                here = results.of_face(files, aligned.face)
                large = None if full is None else _at(full, picture, aligned, framing, mask)
                photos.append(Photo(source.path, here, digest, picture.size, masked[0], turned, masked[1], large))
        return photos
    except OSError as error:  # it could be opened a moment ago
        changed = RestyleError(f"{str(source.path)!r} cannot be read any more: {reason_of(error)}")
        return [Outcome(source.path, "failed", error=changed)]
    except RestyleError as error:
        return [Outcome(source.path, "failed", error=error)]


def _at(size: Size, photo: Image.Image, aligned: Aligned, framing: AlignOptions, mask: Mask | None) -> Image.Image:
    """What was framed of the photo, in another size."""
    picture = recrop(photo, aligned.quad, size, aligned.how == "aligned")
    if mask is None:
        return picture
    large = replace(aligned, image=picture, matrix=matrix_of(aligned.quad, size))
    return mask.put_on(large, photo.size, framing, size)[0].image


def _read(source: Source, files: dict[str, Path] | RestyleError, task: Task) -> list[Photo | Outcome]:
    size, full = task.methods[0].size, full_size([*task.methods, *task.against])
    return read_photos(source, files, task.results, task.framing, size, task.overwrite, task.mask, full)


def _invert(items: Iterable[Photo | Outcome], task: Task) -> Iterator[Inverted | Outcome]:
    """Gather batches and run them; what needs no computing passes at once."""
    batches = Batches(str(task.device), task.note)
    for batch in _gathered(items, task.batch_size):
        if isinstance(batch, Outcome):
            yield batch
            continue
        for part, inverted in batches.run(batch, lambda photos: _invert_batch(photos, task)):
            if isinstance(inverted, OutOfMemory):
                yield from (Outcome(photo.path, "failed", error=_naming(photo.path, inverted)) for photo in part)
                continue
            yield from inverted
            if any(isinstance(one, Inverted) and one.inversion.interrupted for one in inverted):
                return


def _gathered(items: Iterable[Photo | Outcome], size: int) -> Iterator[list[Photo] | Outcome]:
    """The photos in lists of `size`; what needs no computing passes at once."""
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
    try:
        x = torch.stack([photo.x for photo in batch]).to(task.device)
        masks = [photo.mask for photo in batch if photo.mask is not None]
        inputs = {MASK: torch.stack(masks).to(task.device)} if masks else {}
        if full := [to_tensor(photo.full) for photo in batch if photo.full is not None]:
            inputs[TARGET] = torch.stack(full).to(task.device)
        inversion = _through(x, task.methods, task, inputs, task.stop_rule)
        against = _through(x, task.against, task, inputs) if task.against else None
    except UnfitPicture as error:
        if len(batch) > 1:
            return [one for photo in batch for one in _invert_batch([photo], task)]
        path = batch[0].path
        return [Outcome(path, "failed", error=_naming(path, error))]
    return [
        _inverted(photo, inversion.one(index), against.one(index) if against else None, task)
        for index, photo in enumerate(batch)
    ]


def _naming(path: Path, error: RestyleError) -> RestyleError:
    """The error with the picture that it is about."""
    return RestyleError(f"{str(path)!r}: {error.message}", error.hint)


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


def _by_photo(items: Iterable[Inverted | Outcome], task: Task) -> Iterator[list[Inverted | Outcome]]:
    """The items one by one; faces of one photo together, where each has results of its own."""
    if not task.results.numbered:
        yield from ([item] for item in items)
        return
    for _, faces in groupby(items, key=lambda item: item.photo.path if isinstance(item, Inverted) else item.path):
        yield list(faces)


def _write(items: Sequence[Inverted | Outcome], task: Task) -> list[Outcome]:
    """Write a photo's results, and into one photo all faces that have some."""
    if len(items) == 1:
        return [_write_one(items[0], task)]
    results, inverted = task.results, [item for item in items if isinstance(item, Inverted)]
    faces = [face for face in inverted if results.has_numbers(face) and not results.lost(face)]
    pasted = {id(face): faces if face is faces[0] else None for face in faces}
    return [_write_one(replace(item, pasted=pasted[id(item)]) if id(item) in pasted else item, task) for item in items]


def _write_one(item: Inverted | Outcome, task: Task) -> Outcome:
    if isinstance(item, Outcome):
        return item
    photo = item.photo
    if (lost := task.results.lost(item)) is not None:
        made = {"interrupted": True, "steps": steps_of(item.inversion)}
        return Outcome(photo.path, "failed", made=made, error=_naming(photo.path, lost))
    try:
        with enough_for("to write what was found"):
            made = task.results.write(item)
    except RestyleError as error:
        return Outcome(photo.path, "failed", error=_naming(photo.path, error))
    return Outcome(photo.path, "done", dict(photo.files), made)
