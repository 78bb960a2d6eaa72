"""What training reads: sources of images, and batches of them that depend on the step alone.

A step's images and its random numbers follow from the seed and the step's number. So a training that was stopped
continues with the batches it would have seen, and several processes share one batch without talking to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

Note = Callable[[str], None]


@dataclass(frozen=True)
class Batch:
    """`x` [N, C, H, W], what the encoder sees; `y` [N, 3, H, W] in [-1, 1], what it should become.

    `w` [N, L, w_dim]: the latents of y where they are known. `names`: one per image, for messages.
    """

    x: Tensor
    y: Tensor
    names: Sequence[str]
    w: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on `device`."""
        move = lambda values: values.to(device, non_blocking=True)  # noqa: E731
        return Batch(move(self.x), move(self.y), self.names, None if self.w is None else move(self.w))

    def split(self, parts: int) -> list[Batch]:
        """The batch in `parts` parts of equal size; all its images, if it has fewer."""
        rows = [range(k * len(self.y) // parts, (k + 1) * len(self.y) // parts) for k in range(parts)]
        return [
            Batch(
                self.x[r.start : r.stop],
                self.y[r.start : r.stop],
                self.names[r.start : r.stop],
                None if self.w is None else self.w[r.start : r.stop],
            )
            for r in rows
            if r
        ]


class Source(Protocol):
    """Images to train on, and some that no training sees."""

    length: int | None  # number of images; None: there is no end to them

    def prepare(self, note: Note) -> None:
        """Find, align or render the images; RestyleError if there are too few."""

    def batch(self, indices: Sequence[int], rngs: Sequence[np.random.Generator]) -> Batch:
        """The images of these indices, each with its own random numbers (flips, noise)."""

    def validation(self, count: int) -> Batch:
        """Up to `count` images that no training sees, always the same."""


class Batches:
    """Endless batches of `size` images for the steps from `start`; process `rank` of `world` gets its share.

    The next batch is read in a thread while the current one is used.
    """

    def __init__(self, source: Source, size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.source, self.size, self.seed = source, size, seed
        self.rows = range(rank * size // world, (rank + 1) * size // world)

    def of_step(self, step: int) -> Batch:
        """This process's share of the batch of one step."""
        positions = [step * self.size + row for row in self.rows]
        rngs = [np.random.default_rng([self.seed, 1, position]) for position in positions]
        return self.source.batch([self._index(position) for position in positions], rngs)

    def starting_at(self, step: int) -> Iterator[Batch]:
        """The batches of `step`, `step` + 1, …"""
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self.of_step, step)
            while True:
                step += 1
                batch, ahead = ahead.result(), reader.submit(self.of_step, step)
                yield batch

    def _index(self, position: int) -> int:
        """Every image once per epoch, in another order in each."""
        if self.source.length is None:
            return position
        epoch, offset = divmod(position, self.source.length)
        return int(_order(self.seed, epoch, self.source.length)[offset])


@lru_cache(maxsize=2)  # a batch may span two epochs
def _order(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(length)
