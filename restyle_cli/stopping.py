"""When an inversion leaves a method: after its steps, on a plateau, or when the time is used up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the names of methods and qualities are listed without importing torch
    from torch import Tensor

PLATEAUED = "plateaued"
ALL_STEPS = "all steps"
OUT_OF_TIME = "out of time"


@dataclass(frozen=True)
class Stop:
    """The step after which an image left a method, and why."""

    step: int
    why: str


@dataclass(frozen=True)
class Patience:
    """How long a method runs: at most `steps`, while its last `window` steps lower the L2 by the share `least`.

    `first` is the cost of its first step in encoder steps; it tells whether a budget still allows to begin.
    """

    steps: int
    window: int
    least: float
    first: float = 1.0


class StopRule:
    """Decides about one batch. This one never stops early; subclasses see the L2 of every step.

    `restart_from_best`: each method after the first continues from an image's best state instead of its last.
    """

    restart_from_best = False

    def start(self, l2: Tensor) -> None:
        """The L2 [N] of the first guess."""

    def begin(self, link: int, last: bool) -> bool:
        """A method of the chain begins; `last` when none follows. False when there is no time for it."""
        return True

    def observe(self, rows: Tensor, l2: Tensor) -> Tensor:
        """The L2 [n] of the images `rows` [n] after a step; which of them have plateaued, [n]."""
        return rows.new_zeros(len(rows)).bool()

    def has_time(self) -> bool:
        """Whether another step of the same method may be made."""
        return True


class Tolerance(StopRule):
    """Stops an image once a step of the last method lowers its L2 by less than `tolerance`."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def start(self, l2: Tensor) -> None:
        """The L2 [N] of the first guess."""
        self._before = l2.clone()

    def begin(self, link: int, last: bool) -> bool:
        """Steps of earlier methods never stop an image."""
        self._last = last
        return True

    def observe(self, rows: Tensor, l2: Tensor) -> Tensor:
        """Which of the images `rows` have plateaued."""
        gain, self._before[rows] = self._before[rows] - l2, l2
        return (gain < self.tolerance) & self._last


class Plateau(StopRule):
    """Each method runs while it pays (`Patience`), the next one continues from the best state.

    `budget` is in seconds for each image; the batch has N times as much, counted from the construction of the rule. No
    step begins that would probably end later, except the very first.
    """

    restart_from_best = True

    def __init__(
        self,
        patience: Sequence[Patience],
        budget: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._patience, self._budget, self._clock = patience, budget, clock
        self._began = self._observed = clock()
        self._took, self._longest, self._link = 0.0, 0.0, 0

    def start(self, l2: Tensor) -> None:
        """The L2 [N] of the first guess."""
        self._lowest = l2.nan_to_num(nan=math.inf)
        self._images, self._observed = len(l2), self._clock()

    def begin(self, link: int, last: bool) -> bool:
        """False when the first step of the method would probably end too late."""
        cost = self._longest * max(self._patience[link].first / self._patience[self._link].first, 1.0)
        self._link, self._history = link, [self._lowest]
        return link == 0 or self._allows(cost)

    def observe(self, rows: Tensor, l2: Tensor) -> Tensor:
        """Which of the images `rows` the last steps have lowered too little; none before there were enough steps."""
        now = self._clock()
        self._took, self._observed = now - self._observed, now
        self._longest = max(self._longest, self._took)
        self._lowest = self._lowest.clone()
        self._lowest[rows] = l2.where(l2 < self._lowest[rows], self._lowest[rows])
        patience = self._patience[self._link]
        self._history = [*self._history, self._lowest][-patience.window - 1 :]
        if len(self._history) <= patience.window:
            return rows.new_zeros(len(rows)).bool()
        first, last = self._history[0][rows], self._history[-1][rows]
        return (last >= first) | (last > first * (1 - patience.least))

    def has_time(self) -> bool:
        """Whether a step as long as the last one would end in time."""
        return self._allows(self._took)

    def _allows(self, seconds: float) -> bool:
        return self._budget is None or self._observed + seconds <= self._began + self._images * self._budget
