"""The one loop: a method makes a first guess of the code and corrects it; the rest is what one looks at.

ReStyle is `[method] * n`, a single-pass encoder `[method]`, bootstrapping `[first] + [second] * n`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from restyle_cli.images import fit

KEEP = ("best", "last")
START = "start"
"""What stands in the place of a method's name for step 0, the first guess."""


@dataclass(frozen=True)
class State:
    """Where a batch has come to. `patch` holds changes of the generator by name; one not there is zero."""

    w: Tensor  # [N, L, 512]
    image: Tensor  # [N, 3, H, W], the generator's full size, nominally in [-1, 1]
    patch: Mapping[str, Tensor] = field(default_factory=dict)  # each [N, ...]

    def detach(self) -> State:
        """The same values, without the graph that made them."""
        patch = {name: change.detach() for name, change in self.patch.items()}
        return State(self.w.detach(), self.image.detach(), patch)


class Method(Protocol):
    """One way to find codes. `size` is the (height, width) of the pictures that it takes."""

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
class Step:
    """One step of a batch: step 0 is the first guess. `seconds` are those of the whole batch."""

    method: str
    l2: Tensor  # [N], on the CPU
    seconds: float


@dataclass(frozen=True)
class Inversion:
    """What came of a batch: `w`, `images` and `patch` are each picture's kept step."""

    w: Tensor  # [N, L, 512]
    images: Tensor  # [N, 3, H, W]
    patch: Mapping[str, Tensor]
    steps: list[Step]  # S + 1, the first guess first
    best_step: Tensor  # [N], the step of lowest L2
    kept_step: Tensor  # [N], the step that `w` is from
    last_step: Tensor  # [N], smaller than S where `tolerance` stopped a picture; later steps repeat it
    w_steps: Tensor  # [N, S + 1, L, 512]
    image_steps: dict[int, Tensor]  # step -> [N, 3, H, W]

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
            w_steps=self.w_steps[here, : last + 1].cpu(),
            image_steps={k: images[here].cpu() for k, images in self.image_steps.items() if k <= last},
        )


def l2(
    x: Tensor,  # [N, 3, H, W]
    image: Tensor,  # [N, 3, any, any]
) -> Tensor:
    """Mean square difference of each pair, [N], at the size of x; on [-1, 1], so 4 times that of [0, 1]."""
    return (x.float() - fit(image.float(), (x.shape[-2], x.shape[-1]))).square().mean(dim=(1, 2, 3))


def iterate(x: Tensor, schedule: Sequence[Method]) -> Iterator[State]:
    """Yield the first guess for x [N, 3, H, W] in [-1, 1], then the state after each method of the schedule.

    Each state carries its own step's graph only. Whether there is one is up to the caller's gradient mode.
    """
    if not schedule:
        raise ValueError("a schedule needs at least one method")
    state = schedule[0].start(x)
    yield state
    for method in schedule:
        state = method.step(x, state.detach())
        yield state


def invert(
    x: Tensor,  # [N, 3, H, W] in [-1, 1]
    schedule: Method | Sequence[Method],
    steps: int | None = None,
    *,
    keep: str = "best",
    tolerance: float | None = None,
    on_step: Callable[[int, State, Tensor], None] | None = None,
    pictures: Collection[int] | None = None,
) -> Inversion:
    """Find the codes of x and keep each picture's best step (or its last).

    A single method runs `steps` times. A picture stops once a step lowers its L2 by less than `tolerance`.
    `on_step(k, state, l2 [N])` is called after each. `image_steps` keeps the images of the steps
    in `pictures`, or all: much memory in a long schedule.
    """
    if keep not in KEEP:
        raise ValueError(f"keep is one of {KEEP}, not {keep!r}")
    methods = _as_schedule(schedule, steps)
    records: list[Step] = []
    codes: list[Tensor] = []
    images: dict[int, Tensor] = {}
    last_step = torch.zeros(len(x), dtype=torch.long)
    best_step = last_step.clone()
    settled = torch.zeros(len(x), dtype=torch.bool)
    before = time.perf_counter()
    with torch.no_grad():  # around the consumption; a method that optimises switches gradients on for itself
        for k, state in enumerate(iterate(x, methods)):
            errors = l2(x, state.image).cpu()  # waits for the device, so that the clock tells the truth
            seconds = time.perf_counter() - before
            if k == 0:
                last, last_l2, best, best_l2 = state, errors, state, errors
            else:
                last_step[~settled] = k
                gain = last_l2 - errors
                last, last_l2 = _choose(settled, last, state), torch.where(settled, last_l2, errors)
                better = last_l2 < best_l2
                best, best_l2 = _choose(better, last, best), torch.where(better, last_l2, best_l2)
                best_step[better] = k
                settled = settled | (gain < tolerance) if tolerance is not None else settled
            records.append(Step(methods[k - 1].name if k else START, last_l2, seconds))
            codes.append(last.w)
            if pictures is None or k in pictures:
                images[k] = last.image
            if on_step is not None:
                on_step(k, last, last_l2)
            if settled.all():
                break
            before = time.perf_counter()
    kept = best if keep == "best" else last
    return Inversion(
        w=kept.w,
        images=kept.image,
        patch=kept.patch,
        steps=records,
        best_step=best_step,
        kept_step=best_step if keep == "best" else last_step,
        last_step=last_step,
        w_steps=torch.stack(codes, dim=1),
        image_steps=images,
    )


def _as_schedule(schedule: Method | Sequence[Method], steps: int | None) -> list[Method]:
    if isinstance(schedule, Sequence):
        if steps is not None:
            raise ValueError("a schedule has its steps already; steps belong to a single method")
        return list(schedule)
    count = schedule.default_steps if steps is None else steps
    if not 1 <= count <= schedule.max_steps:
        raise ValueError(f"{schedule.name} takes 1 to {schedule.max_steps} steps, not {count}")
    return [schedule] * count


def _choose(mask: Tensor, yes: State, no: State) -> State:
    """Each picture's state from `yes` where mask [N] says so, else from `no`."""
    if mask.all():
        return yes
    if not mask.any():
        return no
    zero = torch.zeros(())
    names = [*yes.patch, *(name for name in no.patch if name not in yes.patch)]
    return State(
        _where(mask, yes.w, no.w),
        _where(mask, yes.image, no.image),
        {name: _where(mask, yes.patch.get(name, zero), no.patch.get(name, zero)) for name in names},
    )


def _where(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`yes` or `no`, one of which may be a single number, by mask [N]."""
    like = yes if yes.dim() else no
    return torch.where(mask.to(like.device).view(-1, *[1] * (like.dim() - 1)), yes.to(like), no.to(like))
