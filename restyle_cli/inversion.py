"""The one loop: a method makes a first guess of the code and corrects it; the rest is what one looks at.

ReStyle is `[method] * n`, a single-pass encoder `[method]`, bootstrapping `[first] + [second] * n`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import chain, count
from operator import attrgetter
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from restyle_cli.images import displayed, fit

KEEP = ("best", "last")
MASK = "mask"
"""Among what is given beside pictures: [N, 1, H, W] from 0, not known, to 1."""
TARGET = "target"
"""Among what is given beside pictures: [N, 3, H, W], the same pictures at the generator's full size, for methods that
compare there."""
START = "start"
"""What stands in the place of a method's name for step 0, the first guess."""


@dataclass(frozen=True)
class State:
    """Where a batch has come to. `patch` holds changes of the generator by name; one not there is zero.

    `memory`: what a method must know at its next step (an optimiser's moments, how many steps it has made), so that
    methods have no state of their own. Names begin with the method's. It ends with the method's last step in a row,
    and is never written.
    """

    w: Tensor  # [N, L, 512]
    image: Tensor  # [N, 3, H, W], the generator's full size, nominally in [-1, 1]
    patch: Mapping[str, Tensor] = field(default_factory=dict)  # each [N, ...]
    memory: Mapping[str, Tensor] = field(default_factory=dict)  # each [N, ...]

    def detach(self) -> State:
        """The same values, without the graph that made them."""
        patch, memory = ({name: tensor.detach() for name, tensor in held.items()} for held in (self.patch, self.memory))
        return State(self.w.detach(), self.image.detach(), patch, memory)

    def rows(self, rows: Tensor) -> State:
        """The pictures at the places `rows` [n] alone."""
        patch, memory = (_rows(held, rows) for held in (self.patch, self.memory))
        return State(_row(self.w, rows), _row(self.image, rows), patch, memory)


class Method(Protocol):
    """One way to find codes. `size` is the (height, width) of the pictures that it takes.

    `needs_encoder`: it is made of an encoder and a generator, else of a generator alone. `needs_start`: it goes on from
    another method's code, and has no first guess. `compares`: it is given a perceptual distance too. One that
    `keeps_last` makes something else of a picture, so that what comes nearest to it is not what is wanted.
    """

    needs_encoder: bool
    needs_start: bool
    compares: bool
    name: str
    generator: nn.Module
    size: tuple[int, int]
    default_steps: int
    max_steps: int

    def start(self, x: Tensor) -> State:
        """The first guess for x [N, 3, H, W] in [-1, 1]."""

    def step(self, x: Tensor, state: State) -> State:
        """A better guess; `state` comes detached."""


@dataclass(frozen=True)
class Chain(Sequence[Method]):
    """Methods in turn, each with its steps: a schedule whose last link's steps can still be chosen."""

    links: tuple[tuple[Method, int], ...]

    def with_steps(self, steps: int) -> Chain:
        """The same chain with so many steps of its last method; ValueError as a single method has it."""
        *before, (last, _) = self.links
        return Chain((*before, (_as_schedule(last, steps)[0], steps)))

    @cached_property
    def methods(self) -> list[Method]:
        """The method of every step, in order."""
        laid_out = [(over(method, count), count) for method, count in self.links]
        return [method for method, count in laid_out for _ in range(count)]

    def __len__(self) -> int:
        return len(self.methods)

    def __getitem__(self, index: Any) -> Any:
        return self.methods[index]


@runtime_checkable
class Scheduled(Protocol):
    """A method some of whose settings change over its steps, so that it must know how many there will be."""

    def over(self, steps: int) -> Self:
        """The same method, its settings laid out over `steps`."""


@dataclass(frozen=True)
class Turn:
    """What may be sent to `iterate` between two steps: how it goes on.

    With the pictures at the places `rows` [n] alone, if they are given; from `state`, of these pictures, and not from
    the last one, if that is.
    """

    rows: Tensor | None = None
    state: State | None = None


@dataclass(frozen=True)
class Stop:
    """Where a part of a picture's way ended, and why."""

    step: int
    why: str


@runtime_checkable
class Pace(Protocol):
    """A schedule that is decided as it goes: an iterator of methods, for one batch.

    It is told the L2 after each state, and says which pictures stop. As long as one goes on there is a next method.
    """

    method: Method  # of the step that is being made
    afresh: bool  # the next step goes on from each picture's best state, not from its last
    waits: Tensor | None  # [n], those on their way that only wait for others: the next step leaves them as they are

    def __iter__(self) -> Iterator[Method]:
        """Itself."""

    def __next__(self) -> Method:
        """The method of the next step; it becomes `method`."""

    def look(self, l2: Tensor) -> Tensor:
        """The L2 [n] of the pictures that are on their way, first of their start -> which of them stop there, [n]."""

    def stops(self) -> tuple[tuple[Stop, ...], ...]:
        """Of each picture of the batch, where and why the parts of its way ended; nothing if nobody asks."""


@dataclass(frozen=True)
class Step:
    """One step of a batch: step 0 is the first guess. `seconds` are those of the whole batch."""

    method: str
    l2: Tensor  # [N], on the CPU
    seconds: float


@dataclass(frozen=True)
class Inversion:
    """What came of a batch: `w`, `images` and `patch` are each picture's kept step.

    `interrupted`: Ctrl-C ended it, and this is how far it had come; the pictures that are `finished` had been done.
    """

    w: Tensor  # [N, L, 512]
    images: Tensor  # [N, 3, H, W]
    patch: Mapping[str, Tensor]
    steps: list[Step]  # S + 1, the first guess first
    best_step: Tensor  # [N], the step of lowest L2
    kept_step: Tensor  # [N], the step that `w` is from
    last_step: Tensor  # [N], smaller than S where `tolerance` stopped a picture; later steps repeat it
    w_steps: Tensor | None  # [N, S + 1, L, 512], if asked for
    image_steps: dict[int, Tensor]  # step -> [N, 3, H, W]
    finished: Tensor  # [N], whether the way of a picture came to its end
    interrupted: bool = False
    stops: tuple[tuple[Stop, ...], ...] = ()  # N, where the schedule was a `Pace` that tells

    def one(self, index: int) -> Inversion:
        """The picture at `index` alone, on the CPU, with its own steps only and its share of the seconds."""
        n, last = len(self.w), int(self.last_step[index])
        here = slice(index, index + 1)
        return Inversion(
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
            interrupted=self.interrupted,
            stops=self.stops[here],
        )


def l2(
    x: Tensor,  # [N, 3, H, W]
    image: Tensor,  # [N, 3, any, any]
    mask: Tensor | None = None,  # [N, 1, H, W], how much each pixel counts
) -> Tensor:
    """Mean square difference of each pair, [N], at the size of x; on [-1, 1], so 4 times that of [0, 1]."""
    return mean_square(x.float(), fit(image.float(), (x.shape[-2], x.shape[-1])), mask)


def mean_square(x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
    """As `l2`, of pictures of one size."""
    squares = (x - y).square()
    if mask is None:
        return squares.mean(dim=(1, 2, 3))
    weight = mask.to(squares).expand_as(squares)
    return (weight * squares).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3)).clamp(min=1)


def iterate(
    x: Tensor, schedule: Iterable[Method], given: Mapping[str, Tensor] | None = None
) -> Generator[State, Turn | None, None]:
    """Yield the first guess for x [N, 3, H, W] in [-1, 1], then the state after each method of the schedule.

    Each state carries its own step's graph only. Whether there is one is up to the caller's gradient mode.
    A method's memory reaches its next step, but no other method. `given`, [N, ...] each: what every step finds there.
    The schedule is asked for a method when its step is due, after what the caller `send`s, if anything, was heeded.
    """
    methods = iter(schedule)
    first = next(methods, None)
    if first is None:
        raise ValueError("a schedule needs at least one method")
    given, before = given or {}, first
    state = first.start(x)
    turn = yield state
    for method in chain([first], methods):
        if turn is not None and turn.rows is not None:
            x, state, given = _row(x, turn.rows), state.rows(turn.rows), _rows(given, turn.rows)
        if turn is not None and turn.state is not None:
            state = turn.state
        state = replace(state, memory=state.memory if method is before else {}).detach()
        state, before = method.step(x, replace(state, memory={**state.memory, **given})), method
        turn = yield state


def invert(
    x: Tensor,  # [N, 3, H, W] in [-1, 1]
    schedule: Method | Sequence[Method] | Pace,
    steps: int | None = None,
    *,
    keep: str = "best",
    tolerance: float | None = None,
    on_step: Callable[[int, State, Tensor], None] | None = None,
    pictures: Collection[int] | None = None,
    codes: bool = False,
    given: Mapping[str, Tensor] | None = None,
    interruptible: bool = False,
) -> Inversion:
    """Find the codes of x and keep each picture's best step (or its last), of those that the last generator drew.

    A single method runs `steps` times. A picture stops once a step of the schedule's last method lowers its L2 by less
    than `tolerance`, and the others go on without it; a `Pace` decides both by itself.
    L2 is that of what files show, cut to [-1, 1]. `on_step(k, state, l2 [N])` is called after each step. `image_steps`
    keeps the images of the steps in `pictures`, or all: much memory in a long schedule. `codes`: keep those of all
    steps, `w_steps`. `given` is as `iterate` has it; with a MASK, L2 is that of what is known. `interruptible`: Ctrl-C
    ends the loop, not the program.
    """
    if keep not in KEEP:
        raise ValueError(f"keep is one of {KEEP}, not {keep!r}")
    pace = _as_pace(schedule, steps, tolerance)
    keep = "last" if getattr(pace, "keeps_last", False) else keep
    log = _Log(pictures, codes)
    courses: tuple[_Course, ...] = ()
    interrupted, mask = False, (given or {}).get(MASK)
    before = time.perf_counter()
    try:
        with torch.no_grad():  # around the consumption; a method that optimises switches gradients on for itself
            states, here, turn, drawing = iterate(x, pace, given), x, None, pace.method.generator
            for k in count():
                state, waits = states.send(turn), pace.waits
                # What files of both show; `cpu` waits for the device, so that the clock tells the truth.
                errors = l2(displayed(here.float()), displayed(state.image.float()), mask).cpu()
                if waits is not None and courses:
                    state, errors = courses[-1].held(waits, state, errors)
                seconds = time.perf_counter() - before
                settled = pace.look(errors)
                anew, drawing = pace.method.generator is not drawing, pace.method.generator
                last = courses[-1].after(k, state, errors, settled, anew) if courses else _first(state, errors)
                after = (*courses[:-1], last)
                log.add(k, pace.method.name if k else START, after, seconds)
                courses = after
                if on_step is not None:
                    on_step(k, _joined_state(after, "last"), log.steps[-1].l2)
                if last.settled.all():
                    break
                if (going := last.going()) is not None:
                    courses, here = (*after[:-1], *last.parted()), _row(here, going)
                    mask = None if mask is None else _row(mask, going)
                start = courses[-1].best if pace.afresh else None if waits is None else courses[-1].last
                turn = Turn(going, start)
                before = time.perf_counter()
    except KeyboardInterrupt:
        if not interruptible or not courses:
            raise
        interrupted = True
    last_step, best_step = _joined(courses, "last_step"), _joined(courses, "best_step")
    made = int(last_step.max()) + 1  # Ctrl-C may come between a step's record and the step
    kept = _joined_state(courses, keep)
    return Inversion(
        w=kept.w,
        images=kept.image,
        patch=kept.patch,
        steps=log.steps[:made],
        best_step=best_step,
        kept_step=best_step if keep == "best" else last_step,
        last_step=last_step,
        w_steps=torch.stack(log.codes[:made], dim=1) if log.codes is not None else None,
        image_steps={k: image for k, image in log.images.items() if k < made},
        finished=_joined(courses, "settled"),
        interrupted=interrupted,
        stops=pace.stops(),
    )


class _Listed:
    """The pace of a list of methods: one after the other, until a step of the last one lowers the L2 too little."""

    afresh = False
    waits = None

    def __init__(self, methods: Sequence[Method], tolerance: float | None) -> None:
        self.keeps_last = any(getattr(method, "keeps_last", False) for method in methods)
        self.method, self._last = methods[0], methods[-1]
        self._left = iter(methods)
        self._steps, self._made = len(methods), -1
        self._tolerance = tolerance
        self._before: Tensor | None = None  # the L2 [n] of those that are on their way

    def __iter__(self) -> Iterator[Method]:
        return self

    def __next__(self) -> Method:
        self.method = next(self._left)
        return self.method

    def look(self, l2: Tensor) -> Tensor:
        self._made += 1
        settled = torch.full(l2.shape, self._made == self._steps)
        if self._tolerance is not None and self._before is not None and self.method is self._last:
            settled |= self._before - l2 < self._tolerance
        self._before = l2[~settled]
        return settled

    def stops(self) -> tuple[tuple[Stop, ...], ...]:
        return ()


class _Log:
    """What is kept of every step, of all pictures in their order."""

    def __init__(self, pictures: Collection[int] | None, codes: bool) -> None:
        self.steps: list[Step] = []
        self.images: dict[int, Tensor] = {}
        self.codes: list[Tensor] | None = [] if codes else None
        self._pictures = pictures

    def add(self, k: int, method: str, courses: Sequence[_Course], seconds: float) -> None:
        self.steps.append(Step(method, _joined(courses, "last_l2"), seconds))
        if self.codes is not None:
            self.codes.append(_joined(courses, "last.w"))
        if self._pictures is None or k in self._pictures:
            self.images[k] = _joined(courses, "last.image")


@dataclass(frozen=True)
class _Course:
    """How far those pictures of a batch have come that are still on their way, or that stopped at one step."""

    places: Tensor  # [n], in the batch
    last: State
    last_l2: Tensor  # [n]
    last_step: Tensor
    best: State  # without memory: nothing goes on from it
    best_l2: Tensor
    best_step: Tensor
    settled: Tensor

    def after(self, k: int, state: State, errors: Tensor, settled: Tensor, anew: bool) -> _Course:
        """After step k, which led to `state` with the L2 `errors` [n], and where those `settled` [n] stop.

        `anew`: drawn by another generator than before, whose pictures are no rivals of these.
        """
        better = errors.isfinite() if anew else errors < self.best_l2
        return _Course(
            self.places,
            last=state,
            last_l2=errors,
            last_step=torch.full_like(self.last_step, k),
            best=_choose(better, replace(state, memory={}), self.best),
            best_l2=torch.where(better, errors, self.best_l2),
            best_step=self.best_step.masked_fill(better, k),
            settled=settled,
        )

    def held(self, waits: Tensor, state: State, errors: Tensor) -> tuple[State, Tensor]:
        """`state` and its L2 `errors` [n], but the pictures that `waits` [n] says are as they were."""
        return _choose(waits, self.last, state), torch.where(waits, self.last_l2, errors)

    def going(self) -> Tensor | None:
        """Where those are that go on; None if all do."""
        return (~self.settled).nonzero()[:, 0] if self.settled.any() else None

    def parted(self) -> tuple[_Course, _Course]:
        """Those that have stopped, and those that go on."""
        stopped = replace(self, last=replace(self.last, memory={}))._rows(self.settled.nonzero()[:, 0])
        return stopped, self._rows((~self.settled).nonzero()[:, 0])

    def _rows(self, rows: Tensor) -> _Course:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return _Course(**{k: v.rows(rows) if isinstance(v, State) else v[rows] for k, v in values.items()})


def _first(state: State, errors: Tensor) -> _Course:
    step = torch.zeros(len(errors), dtype=torch.long)
    best = replace(state, memory={})
    settled = torch.zeros(len(errors), dtype=torch.bool)
    return _Course(torch.arange(len(errors)), state, errors, step, best, errors, step, settled)


def _joined(courses: Sequence[_Course], name: str) -> Tensor:
    """The values called `name` ("last.w") of all pictures, in the order of the batch."""
    return _in_order(courses, [attrgetter(name)(course) for course in courses])


def _joined_state(courses: Sequence[_Course], name: str) -> State:
    """The states called `name`, without what is remembered; a change that one has not is zero."""
    states: list[State] = [getattr(course, name) for course in courses]
    if len(states) == 1:
        return replace(states[0], memory={})
    like = {key: change for state in states for key, change in state.patch.items()}
    patch = {
        key: _in_order(courses, [s.patch.get(key, change.new_zeros(len(s.w), *change.shape[1:])) for s in states])
        for key, change in like.items()
    }
    return State(_in_order(courses, [s.w for s in states]), _in_order(courses, [s.image for s in states]), patch)


def _in_order(courses: Sequence[_Course], values: Sequence[Tensor]) -> Tensor:
    if len(values) == 1:
        return values[0]
    places = torch.cat([course.places for course in courses]).argsort()
    return _row(torch.cat(list(values)), places)


def _row(values: Tensor, rows: Tensor) -> Tensor:
    return values[rows.to(values.device)]


def _rows(held: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    return {name: _row(values, rows) for name, values in held.items()}


def _as_pace(schedule: Method | Sequence[Method] | Pace, steps: int | None, tolerance: float | None) -> Pace:
    if isinstance(schedule, Pace):
        if steps is not None or tolerance is not None:
            raise ValueError("a pace decides about steps and stops by itself")
        return schedule
    methods = _as_schedule(schedule, steps)
    if not methods:
        raise ValueError("a schedule needs at least one method")
    return _Listed(methods, tolerance)


def _as_schedule(schedule: Method | Sequence[Method], steps: int | None) -> list[Method]:
    if isinstance(schedule, Chain) and steps is not None:
        schedule, steps = schedule.with_steps(steps), None
    if isinstance(schedule, Sequence):
        if steps is not None:
            raise ValueError("a schedule has its steps already; steps belong to a single method")
        return list(schedule)
    count = schedule.default_steps if steps is None else steps
    if not 1 <= count <= schedule.max_steps:
        raise ValueError(f"{schedule.name} takes 1 to {schedule.max_steps} steps, not {count}")
    return [over(schedule, count)] * count


def over(method: Method, steps: int) -> Method:
    """The method, told how many steps of it there will be, if it is one that wants to know."""
    return method.over(steps) if isinstance(method, Scheduled) else method


def _choose(mask: Tensor, yes: State, no: State) -> State:
    """Each picture's state from `yes` where mask [N] says so, else from `no`."""
    if mask.all():
        return yes
    if not mask.any():
        return no
    patch, memory = (_merged(mask, *held) for held in ((yes.patch, no.patch), (yes.memory, no.memory)))
    return State(_where(mask, yes.w, no.w), _where(mask, yes.image, no.image), patch, memory)


def _merged(mask: Tensor, yes: Mapping[str, Tensor], no: Mapping[str, Tensor]) -> dict[str, Tensor]:
    zero = torch.zeros(())
    names = [*yes, *(name for name in no if name not in yes)]
    return {name: _where(mask, yes.get(name, zero), no.get(name, zero)) for name in names}


def _where(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`yes` or `no`, one of which may be a single number, by mask [N]."""
    like = yes if yes.dim() else no
    return torch.where(mask.to(like.device).view(-1, *[1] * (like.dim() - 1)), yes.to(like), no.to(like))
