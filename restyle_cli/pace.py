"""Schedules that are decided by progress: each method of a chain goes on while it pays, within a budget of time.

Progress is what the loop measures anyway, the L2. A method pays as long as its last few steps have lowered it by a
certain part. Then the next method goes on from the best that was reached, and after the last the picture is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from restyle_cli.inversion import Method, Stop
from restyle_cli.loading import Patience

NO_LONGER_PAYING = "no longer paying"
ALL_STEPS = "all its steps"
END = "end of chain"
BUDGET = "budget"


class ByProgress:
    """The `Pace` of one batch of n pictures, which is to begin at once.

    The pictures go from one method to the next together, when none of them is paid any more, and wait for each other as
    they are, so that who else is in the batch changes nothing; in the last method each stops by itself. A `budget` in
    seconds is each picture's: the batch has n times as much, and no step is begun that would probably end later. The
    first step is always made.
    """

    def __init__(
        self,
        n: int,
        links: Sequence[tuple[Method, Patience]],
        budget: float | None = None,
        clock: Callable[[], float] = time.perf_counter,  # seconds
    ) -> None:
        self.method = links[0][0]
        self.afresh = False
        self._links = links
        self._link = 0
        self._clock, self._looked = clock, clock()
        self._end = None if budget is None else self._looked + n * budget
        self._longest = 0.0  # step so far, in seconds
        self._step, self._begun = -1, 0  # the last step, and that after which this method began
        self._places = torch.arange(n)  # of those that are on their way
        self._stops: list[list[Stop]] = [[] for _ in range(n)]
        self._bests: list[Tensor] = []  # lowest L2 so far, [those on their way]: before this method, after each step
        self._tired = torch.zeros(n, dtype=torch.bool)  # this method does not pay any more

    def __iter__(self) -> Iterator[Method]:
        return self

    def __next__(self) -> Method:
        self.method = self._links[self._link][0]
        return self.method

    @property
    def waits(self) -> Tensor | None:
        """[n], the pictures on their way that this method no longer pays for, as long as another is to come."""
        return self._tired if self._link + 1 < len(self._links) else None

    def stops(self) -> tuple[tuple[Stop, ...], ...]:
        """Of each picture where and why each method ended that it was given to."""
        return tuple(map(tuple, self._stops))

    def look(self, l2: Tensor) -> Tensor:
        """The L2 [n] of the pictures on their way -> which of them stop here, [n]."""
        now = self._clock()
        took, self._looked = now - self._looked, now
        self._step += 1
        before = self._bests[-1] if self._bests else torch.full_like(l2, torch.inf)
        self._bests.append(torch.where(l2 < before, l2, before))  # so that what is no number is never the best
        self.afresh = False
        if self._step == 0:
            return torch.zeros(len(l2), dtype=torch.bool)
        self._longest = max(self._longest, took)
        self._tired |= self._just_tired()
        settled = self._leave() if self._link + 1 < len(self._links) else self._finish()
        next_takes = self._first_of_next() if self.afresh else took
        if self._end is not None and now + next_takes > self._end:
            self._note(~settled, BUDGET)
            return torch.ones_like(settled)
        self._places, self._tired = self._places[~settled], self._tired[~settled]
        self._bests = [best[~settled] for best in self._bests]
        return settled

    def _first_of_next(self) -> float:
        """The seconds that the first step of the method just come to will probably take."""
        before, here = (patience.first for _, patience in self._links[self._link - 1 : self._link + 1])
        return self._longest * max(here / before, 1.0)

    def _just_tired(self) -> Tensor:
        """Which pictures the last steps have lowered too little; none before there were enough."""
        patience = self._links[self._link][1]
        if len(self._bests) <= patience.window:
            return torch.zeros_like(self._tired)
        del self._bests[: -patience.window - 1]
        first, last = self._bests[0], self._bests[-1]
        return (last >= first) | (last > first * (1 - patience.least))

    def _leave(self) -> Tensor:
        """On to the next method, if this one pays for none any more or all its steps are made; nobody stops."""
        if self._made_all() or self._tired.all():
            self._note(self._tired, NO_LONGER_PAYING)
            self._note(~self._tired, ALL_STEPS)
            self._link, self._begun, self.afresh = self._link + 1, self._step, True
            self._bests, self._tired = self._bests[-1:], torch.zeros_like(self._tired)
        return torch.zeros_like(self._tired)

    def _finish(self) -> Tensor:
        """Who stops in the last method."""
        self._note(self._tired, NO_LONGER_PAYING)
        if not self._made_all():
            return self._tired
        self._note(~self._tired, END)
        return torch.ones_like(self._tired)

    def _made_all(self) -> bool:
        return self._step - self._begun >= self._links[self._link][1].most

    def _note(self, which: Tensor, why: str) -> None:
        """The parts of these pictures' ways that end here; of two reasons the later one counts."""
        for place in self._places[which].tolist():
            stops = self._stops[place]
            stops[:] = [*(stop for stop in stops if stop.step < self._step), Stop(self._step, why)]


def by_progress(
    methods: Sequence[Method], steps: Sequence[int], patience: Sequence[Patience], budget: float | None = None
) -> Callable[[int], ByProgress]:
    """What makes the pace of a batch of n pictures.

    `methods`: of every step of a chain, of whose links each has its number in `steps` and its `patience`. `budget`:
    the seconds for each picture.
    """
    begins = [0, *accumulate(steps[:-1])]
    return partial(
        ByProgress, links=[(methods[k], one) for k, one in zip(begins, patience, strict=True)], budget=budget
    )
