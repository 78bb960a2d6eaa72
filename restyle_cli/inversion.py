"""The inversion loop: a method makes a first guess of the latent and improves it step by step.

ReStyle is `[method] * n`, a single-pass encoder `[method]`, bootstrapping `[first] + [second] * n`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, groupby
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Self, overload

import torch
from torch import Tensor

from restyle_cli.generators.base import StyleGenerator
from restyle_cli.images import displayed, fit
from restyle_cli.stopping import ALL_STEPS, OUT_OF_TIME, PLATEAUED, Stop, StopRule, Tolerance

KEEP = ("best", "last")
START = "start"
"""Name of step 0, the first guess."""


@dataclass(frozen=True, eq=False)
class Target:
    """What methods compare with in addition to x, the images at the size of the encoder's input.

    `full` has the same images at the generator's size, for methods that compare there. `mask` has the weight of each
    pixel: 1 known, 0 unknown.
    """

    full: Tensor | None = None  # [N, 3, H, W] in [-1, 1]
    mask: Tensor | None = None  # [N, 1, any, any] in [0, 1]

    def rows(self, rows: Tensor) -> Target:
        """The images `rows` [n] alone."""
        full, mask = (None if values is None else _rows(values, rows) for values in (self.full, self.mask))
        return Target(full, mask)


@dataclass(frozen=True)
class State:
    """A batch after a step.

    `patch` has changes of the generator by name (see `generators.patching`); a missing one is zero. `memory` is what
    the method needs at its next step, such as the moments of Adam, so that methods themselves have no state. It ends
    with the method and is never written to a file.
    """

    w: Tensor  # [N, L, 512]
    image: Tensor  # [N, 3, H, W] at the generator's full size, nominally in [-1, 1]
    patch: Mapping[str, Tensor] = field(default_factory=dict)  # [N, ...] each
    memory: Mapping[str, Tensor] = field(default_factory=dict)  # [N, ...] each
    target: Target = Target()  # set by the loop before each step

    def __repr__(self) -> str:
        return f"State(w {list(self.w.shape)}, image {list(self.image.shape)})"

    def map(self, function: Callable[[Tensor], Tensor]) -> State:
        """The state with `function` applied to every tensor."""
        patch, memory = ({k: function(v) for k, v in values.items()} for values in (self.patch, self.memory))
        return State(function(self.w), function(self.image), patch, memory)

    def detach(self) -> State:
        """The same values without the graph that made them."""
        return self.map(Tensor.detach)

    def rows(self, rows: Tensor) -> State:
        """The images `rows` [n] alone."""
        return self if len(rows) == len(self.w) else self.map(lambda values: values[rows.to(values.device)])


class Method(ABC):
    """A way to find latents. Subclasses define `step`, the class attributes that differ, and `start` if necessary."""

    needs_encoder: ClassVar[bool] = False  # the constructor takes name, encoder and generator; else name and generator
    needs_start: ClassVar[bool] = False  # it improves the latent of another method and has no first guess
    compares: ClassVar[bool] = False  # it needs a perceptual network, and compares images at the generator's size
    takes_mask: ClassVar[bool] = False  # it compares the pixels as `Target.mask` weighs them
    is_random: ClassVar[bool] = False  # its steps use random numbers, which depend on `seed`
    has_schedule: ClassVar[bool] = False  # its settings change over its steps, so that `over` must tell their number
    input_channels: ClassVar[int] = 3  # of its encoder
    borrows: ClassVar[tuple[str, ...]] = ()  # only in other packages: methods whose encoders it uses, best first
    own_perceptual: ClassVar[str | None] = None  # the perceptual network of the original, by its name in the catalog
    default_steps: ClassVar[int] = 1
    max_steps: ClassVar[int] = 1
    keeps_last: bool = False  # the last step is selected, because the result should not equal the target
    dtype: torch.dtype = torch.float32  # in which its networks compute, where the caller has no other
    seed: int = 0
    networks: Mapping[str, Path] = MappingProxyType({})  # the files of its networks by name, if it was loaded

    def __init__(self, name: str, generator: StyleGenerator) -> None:
        self.name = name
        self.generator = generator
        self.size = target_size(generator)  # (height, width) of the images it takes
        self._first: State | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @classmethod
    def accepts(cls, channels: int) -> bool:
        """Whether an encoder with this number of input channels can be used."""
        return channels == cls.input_channels

    def over(self, steps: int) -> Self:
        """The method for a run of so many steps: itself, unless it `has_schedule`."""
        return self

    def first_w(self) -> Tensor:
        """The latent [1, L, w_dim] from which `start` begins: the generator's average."""
        return self.generator.start(1)

    def start(self, x: Tensor) -> State:
        """The first guess for x [N, 3, H, W] in [-1, 1]. Its image is rendered once per device."""
        if self._first is None or self._first.image.device != x.device:
            with torch.no_grad():
                w = self.first_w()
                self._first = State(w, self.generator(w).float())
        return self._first.map(lambda values: values.expand(len(x), *values.shape[1:]))

    @abstractmethod
    def step(self, x: Tensor, state: State) -> State:
        """A better guess for x; `state` is detached."""


TARGET_SIDE = 256
"""Longer side in px of the images that methods take. An encoder may resize them again."""


def target_size(generator: StyleGenerator) -> tuple[int, int]:
    """(height, width) of the images to invert: the generator's aspect ratio, 256 px along the longer side."""
    height, width = generator.size
    longer = max(height, width)
    return round(height * TARGET_SIDE / longer), round(width * TARGET_SIDE / longer)


def full_size(methods: Sequence[Method]) -> tuple[int, int] | None:
    """(height, width) of `Target.full` for these methods; None if none compares at more than the size of x."""
    largest = max((method.generator.size for method in methods if method.compares), default=(0, 0))
    return largest if largest > methods[0].size else None


@dataclass(frozen=True)
class Chain(Sequence[Method]):
    """Methods with their numbers of steps, and as a sequence the method of each step. The last can be changed."""

    links: tuple[tuple[Method, int], ...]

    def with_steps(self, steps: int) -> Chain:
        """The same chain with so many steps of its last method; ValueError if it does not take them."""
        *before, (last, _) = self.links
        return Chain((*before, (_as_schedule(last, steps)[0], steps)))

    @cached_property
    def methods(self) -> list[Method]:
        """The method of each step, in order."""
        return [one for method, count in self.links for one in [method.over(count)] * count]

    def __len__(self) -> int:
        return len(self.methods)

    @overload
    def __getitem__(self, index: int) -> Method: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Method]: ...
    def __getitem__(self, index: int | slice) -> Method | Sequence[Method]:
        return self.methods[index]


@dataclass(frozen=True)
class Step:
    """One step of a batch; step 0 is the first guess. `seconds` are those of the whole batch."""

    method: str
    l2: Tensor  # [N], on the CPU
    seconds: float


@dataclass(frozen=True)
class Inversion:
    """The result for a batch: `w`, `images` and `patch` are from each image's selected step.

    `interrupted`: Ctrl-C ended the loop; the images that are `finished` were done before.
    """

    w: Tensor  # [N, L, 512]
    images: Tensor  # [N, 3, H, W]
    patch: Mapping[str, Tensor]
    steps: list[Step]  # S + 1, the first guess first
    best_step: Tensor  # [N], the step of lowest L2
    kept_step: Tensor  # [N], the selected step
    last_step: Tensor  # [N], smaller than S for images that stopped earlier; later steps repeat it
    w_steps: Tensor | None  # [N, S + 1, L, 512], if asked for
    image_steps: dict[int, Tensor]  # step -> [N, 3, H, W]
    finished: Tensor  # [N]
    interrupted: bool = False
    stops: tuple[tuple[Stop, ...], ...] = ()  # N: where and why an image left each method

    def one(self, index: int) -> Inversion:
        """The image at `index` alone, on the CPU, with its own steps only and its share of the seconds."""
        n, last = len(self.w), int(self.last_step[index])
        here = slice(index, index + 1)
        return replace(
            self,
            w=self.w[here].cpu(),
            images=self.images[here].cpu(),
            patch={name: change[here].cpu() for name, change in self.patch.items()},
            steps=[Step(s.method, s.l2[here], s.seconds / n) for s in self.steps[: last + 1]],
            best_step=self.best_step[here],
            kept_step=self.kept_step[here],
            last_step=self.last_step[here],
            w_steps=None if self.w_steps is None else self.w_steps[here, : last + 1].cpu(),
            image_steps={k: images[here].cpu() for k, images in self.image_steps.items() if k <= last},
            finished=self.finished[here],
            stops=self.stops[here],
        )


def l2(
    x: Tensor,  # [N, 3, H, W]
    image: Tensor,  # [N, 3, any, any]
    mask: Tensor | None = None,  # [N, 1, H, W], the weight of each pixel
) -> Tensor:
    """Mean square difference of each pair, [N], at the size of x; on [-1, 1], so 4 times that of [0, 1]."""
    return mean_square(x.float(), fit(image.float(), (x.shape[-2], x.shape[-1])), mask)


def _displayed_l2(x: Tensor, image: Tensor, mask: Tensor | None) -> Tensor:
    """The `l2` of what files of both show, clamped to [-1, 1] before pooling; waits for the device."""
    return l2(displayed(x.float()), displayed(image.float()), mask).cpu()


def mean_square(x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
    """As `l2`, for images of one size."""
    squares = (x - y).square()
    if mask is None:
        return squares.mean(dim=(1, 2, 3))
    weight = mask.to(squares).expand_as(squares)
    return (weight * squares).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3)).clamp(min=1)


def iterate(x: Tensor, schedule: Iterable[Method], target: Target | None = None) -> Iterator[State]:
    """Yield the first guess for x [N, 3, H, W] in [-1, 1], then the state after each method of the schedule.

    Methods that optimize compare with `target` where it has more than x. A state carries the graph of its own step
    only; the caller sets the gradient mode. A schedule may be endless: it is read one method at a time.
    """
    methods = iter(schedule)
    first = next(methods, None)
    if first is None:
        raise ValueError("a schedule needs at least one method")
    state = first.start(x)
    yield state
    for method, repeated in groupby(chain([first], methods)):
        state = replace(state, memory={})
        for _ in repeated:
            state = replace(state.detach(), target=target or Target())  # frees the graph of the step before
            state = method.step(x, state)
            yield state


def invert(
    x: Tensor,  # [N, 3, H, W] in [-1, 1]
    schedule: Method | Sequence[Method],
    steps: int | None = None,
    *,
    keep: str = "best",
    tolerance: float | None = None,
    stop: StopRule | None = None,
    on_step: Callable[[int, State, Tensor], None] | None = None,
    keep_images: Collection[int] | None = None,
    keep_w: bool = False,
    target: Target | None = None,
    interruptible: bool = False,
) -> Inversion:
    """Find the latents of x and select each image's best step (or its last) among those of the last generator.

    A single method runs `steps` times. Images stop by themselves, and the others continue without them: by `tolerance`
    (`stopping.Tolerance`) or by another rule `stop`. The L2 is that of what files show, clamped to [-1, 1].
    `on_step(k, state, l2 [N])` is called after each step.
    `image_steps` has the images of the steps `keep_images`, or of all, which is much memory in a long schedule;
    `keep_w` asks for `w_steps`. With a mask the L2 is that of the known pixels. `interruptible`: Ctrl-C ends the loop,
    not the program.
    """
    if keep not in KEEP:
        raise ValueError(f"keep is one of {KEEP}, not {keep!r}")
    methods = _as_schedule(schedule, steps)
    rule = stop or (StopRule() if tolerance is None else Tolerance(tolerance))
    target = target or Target()
    batch = BatchState(keep_images, keep_w, on_step)
    interrupted = False
    try:
        with torch.no_grad():  # a method that optimizes switches gradients on for itself
            first = methods[0].start(x)
            errors = _displayed_l2(x, first.image, target.mask)
            batch.start(first, errors)
            rule.start(errors)
            _run(x, target, methods, rule, batch)
    except KeyboardInterrupt:
        if not interruptible or not batch.steps:
            raise
        interrupted = True
    return batch.inversion("last" if any(method.keeps_last for method in methods) else keep, interrupted)


def _run(x: Tensor, target: Target, methods: Sequence[Method], rule: StopRule, batch: BatchState) -> None:
    """Each method in turn, with the images that are still active in it."""
    links = [list(repeated) for _, repeated in groupby(methods)]
    everything = torch.arange(len(x))
    for index, link in enumerate(links):
        method, is_last = link[0], index == len(links) - 1
        if not rule.begin(index, is_last):
            return batch.leave(everything, OUT_OF_TIME)
        batch.begin(method, index > 0 and rule.restart_from_best)
        active, frozen = everything, everything[:0]
        active_x, active_target = x, target
        for step in range(len(link)):
            if step and not rule.has_time():
                return batch.leave(active if is_last else everything, OUT_OF_TIME)
            state = method.step(active_x, replace(batch.last.rows(active).detach(), target=active_target))
            errors = _displayed_l2(active_x, state.image, active_target.mask)
            batch.update(method.name, active, state, errors)
            plateaued = rule.observe(active, errors)
            if not plateaued.any():
                continue
            if is_last:
                batch.leave(active[plateaued], PLATEAUED)
            else:  # they wait for the others, and all enter the next method together
                frozen = torch.cat([frozen, active[plateaued]])
            active = active[~plateaued]
            if not len(active):
                break
            active_x, active_target = _rows(x, active), target.rows(active)
        batch.leave(frozen, PLATEAUED, finished=is_last)
        batch.leave(active, ALL_STEPS, finished=is_last)
    return None


class BatchState:
    """Last and best state of each image of a batch, and its steps so far."""

    last: State
    last_l2: Tensor
    best: State
    best_l2: Tensor

    def __init__(
        self,
        keep_images: Collection[int] | None = None,
        keep_w: bool = False,
        on_step: Callable[[int, State, Tensor], None] | None = None,
    ) -> None:
        self.steps: list[Step] = []
        self._keep_images, self._images = keep_images, dict[int, Tensor]()
        self._keep_w, self._w = keep_w, list[Tensor]()
        self._on_step = on_step
        self._method: Method | None = None
        self._new_generator = False
        self._recorded = time.perf_counter()

    def start(self, state: State, l2: Tensor) -> None:
        """Record the first guess."""
        self.last, self.last_l2 = state, l2
        self.best, self.best_l2 = replace(state, memory={}), l2
        self.best_step, self.last_step = (torch.zeros(len(l2), dtype=torch.long) for _ in range(2))
        self.finished = torch.zeros(len(l2), dtype=torch.bool)
        self.stops: list[list[Stop]] = [[] for _ in range(len(l2))]
        self._record(START)

    def begin(self, method: Method, from_best: bool) -> None:
        """A method begins, without memory. With another generator, its images do not compete with earlier ones."""
        self.last = replace(self.best if from_best else self.last, memory={})
        self.last_l2 = self.best_l2 if from_best else self.last_l2
        self._new_generator = self._method is not None and method.generator is not self._method.generator
        self._method = method

    def update(self, method: str, rows: Tensor, state: State, l2: Tensor) -> None:
        """Record a step of the images `rows` [n]."""
        k = len(self.steps)
        better = l2.isfinite() if self._new_generator else l2 < self.best_l2[rows]
        self._new_generator = False
        self.last = _put(self.last, rows, state)
        self.best = _put(self.best, rows[better], replace(state, memory={}).rows(better.nonzero()[:, 0]))
        self.last_l2 = self.last_l2.index_copy(0, rows, l2)
        self.best_l2 = self.best_l2.index_copy(0, rows[better], l2[better])
        self.last_step = self.last_step.index_fill(0, rows, k)
        self.best_step = self.best_step.index_fill(0, rows[better], k)
        self._record(method)

    def _record(self, method: str) -> None:
        k, now = len(self.steps), time.perf_counter()
        self.steps.append(Step(method, self.last_l2, now - self._recorded))
        self._recorded = now
        if self._keep_w:
            self._w.append(self.last.w)
        if self._keep_images is None or k in self._keep_images:
            self._images[k] = self.last.image
        if self._on_step is not None:
            self._on_step(k, replace(self.last, memory={}), self.last_l2)

    def leave(self, rows: Tensor, why: str, finished: bool = True) -> None:
        """The images `rows` leave a method after the last step; `finished` if no other method follows."""
        step = len(self.steps) - 1
        for row in rows.tolist():
            self.stops[row] = [*(stop for stop in self.stops[row] if stop.step < step), Stop(step, why)]
        if finished:
            self.finished = self.finished.index_fill(0, rows, True)

    def inversion(self, keep: str, interrupted: bool) -> Inversion:
        """The result."""
        made = int(self.last_step.max()) + 1  # Ctrl-C can come before the last step is recorded
        kept = self.best if keep == "best" else self.last
        return Inversion(
            w=kept.w,
            images=kept.image,
            patch=kept.patch,
            steps=self.steps[:made],
            best_step=self.best_step,
            kept_step=self.best_step if keep == "best" else self.last_step,
            last_step=self.last_step,
            w_steps=torch.stack(self._w[:made], dim=1) if self._keep_w else None,
            image_steps={k: image for k, image in self._images.items() if k < made},
            finished=self.finished,
            interrupted=interrupted,
            stops=tuple(map(tuple, self.stops)),
        )


def _rows(values: Tensor, rows: Tensor) -> Tensor:
    return values if len(rows) == len(values) else values[rows.to(values.device)]


def _put(state: State, rows: Tensor, part: State) -> State:
    """`state` with the images `rows` [n] replaced by those of `part`; a change that one of them lacks is zero."""
    if not len(rows):
        return state
    if len(rows) == len(state.w):
        return part

    def merged(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, Tensor]:
        like = {**old, **new}
        zero = {k: v.new_zeros(len(state.w), *v.shape[1:]) for k, v in like.items()}
        return {k: copied(old.get(k, zero[k]), new.get(k, zero[k][: len(rows)])) for k in like}

    def copied(old: Tensor, new: Tensor) -> Tensor:
        return old.index_copy(0, rows.to(old.device), new.to(old))

    patch, memory = merged(state.patch, part.patch), merged(state.memory, part.memory)
    return State(copied(state.w, part.w), copied(state.image, part.image), patch, memory)


def _as_schedule(schedule: Method | Sequence[Method], steps: int | None) -> list[Method]:
    if isinstance(schedule, Chain) and steps is not None:
        schedule, steps = schedule.with_steps(steps), None
    if isinstance(schedule, Sequence):
        if steps is not None:
            raise ValueError("a schedule has its steps already; steps belong to a single method")
        if not schedule:
            raise ValueError("a schedule needs at least one method")
        return list(schedule)
    count = schedule.default_steps if steps is None else steps
    if not 1 <= count <= schedule.max_steps:
        raise ValueError(f"{schedule.name} takes 1 to {schedule.max_steps} steps, not {count}")
    return [schedule.over(count)] * count
