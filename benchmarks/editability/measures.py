"""Moves in code space, and how far a code is from W and an edit from what was asked: arithmetic alone.

Looks are [N, LOOK_DIM]; what is read from pictures is in standard deviations of the looks' columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from restyle_cli.data.looks import COLUMNS, LookSpace


@dataclass(frozen=True)
class Move:
    """A change of a look: its `columns`, all by as many standard deviations. People call it `name`."""

    name: str
    columns: tuple[str, ...]
    strength: float

    @property
    def places(self) -> list[int]:
        """Where its columns are in a look."""
        return [COLUMNS.index(column) for column in self.columns]

    @property
    def title(self) -> str:
        """Such as "smile +2"."""
        return f"{self.name} {self.strength:+g}"


@dataclass(frozen=True)
class Domain:
    """The looks that are drawn."""

    space: LookSpace

    @classmethod
    def of(cls, w_dim: int) -> Domain:
        """Of codes of `w_dim` numbers."""
        return cls(LookSpace(w_dim))

    def moved(self, values: Tensor, move: Move) -> Tensor:
        """The looks after a move; where it would leave what is drawn, at the bound."""
        change = torch.zeros_like(values)
        change[:, move.places] = move.strength * self.space.spread[move.places]
        return torch.clamp(values + change, self.space.least, self.space.most)

    def apart(self, w: Tensor) -> Tensor:
        """Codes [N, L, w_dim] -> how far the layers' are from their mean, rms in W's standard deviations: [N]."""
        return self._length(w - w.mean(dim=1, keepdim=True))

    def beyond(self, w: Tensor) -> Tensor:
        """Codes [N, L, w_dim] -> how far each layer's is from the nearest of a drawn look, as `apart`: [N]."""
        return self._length(self.space.beyond(w))

    def between(self, w: Tensor, other: Tensor) -> Tensor:
        """How far codes [N, L, w_dim] are from others, as `apart`: [N]."""
        return self._length(w - other)

    def _length(self, difference: Tensor) -> Tensor:
        return (difference / self.space.deviation()).square().mean(dim=(1, 2)).sqrt()


Changes = Sequence[Tensor]
"""Of each move, in order, the changes that are read from the pictures: [N] or [N, columns]."""


def gain(changes: Changes, wanted: Changes) -> float:
    """How much of the `wanted` changes was made: the slope of the best line through zero; 1 when all."""
    made, whole = _joined(changes), _joined(wanted)
    return float((made * whole).sum() / whole.square().sum())


def miss(changes: Changes, wanted: Changes) -> float:
    """How far the changes are from those `wanted`, as a share of these (rms): 0 at best, 1 where nothing was made."""
    return float(((_joined(changes) - _joined(wanted)).square().sum() / _joined(wanted).square().sum()).sqrt())


def leak(changes: Changes, wanted: Changes) -> float:
    """How differently from what was `wanted` other traits changed, rms over all values; 0 at best."""
    return float((_joined(changes) - _joined(wanted)).square().mean().sqrt())


def doubt(measure: Callable[[Changes, Changes], float], changes: Changes, wanted: Changes) -> float:
    """The standard error of a measure over the N people: the jackknife's."""
    n = len(wanted[0])
    left = [torch.arange(n) != person for person in range(n)]
    values = torch.tensor([measure([c[rest] for c in changes], [c[rest] for c in wanted]) for rest in left])
    return float(((values - values.mean()).square().sum() * (n - 1) / n).sqrt())


def _joined(changes: Changes) -> Tensor:
    return torch.cat([change.flatten() for change in changes])
