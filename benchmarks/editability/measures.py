"""Moves in latent space, the distance of a latent from W, and the effect of an edit compared with the wanted one.

Looks are [N, LOOK_DIM]; traits read from images are in standard deviations of the looks' columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from restyle_cli.data.looks import COLUMNS, LookSpace


@dataclass(frozen=True)
class Move:
    """A change of a look: all of its `columns` by `strength` standard deviations."""

    name: str
    columns: tuple[str, ...]
    strength: float

    @property
    def places(self) -> list[int]:
        """The indices of its columns in a look."""
        return [COLUMNS.index(column) for column in self.columns]

    @property
    def title(self) -> str:
        """Such as "smile +2"."""
        return f"{self.name} {self.strength:+g}"


@dataclass(frozen=True)
class Domain:
    """The looks of synthetic portraits."""

    space: LookSpace

    @classmethod
    def of(cls, w_dim: int) -> Domain:
        """For latents of `w_dim` numbers."""
        return cls(LookSpace(w_dim))

    def moved(self, values: Tensor, move: Move) -> Tensor:
        """The looks after a move, clamped to the range of synthetic portraits."""
        change = torch.zeros_like(values)
        change[:, move.places] = move.strength * self.space.spread[move.places]
        return torch.clamp(values + change, self.space.least, self.space.most)

    def spread(self, w: Tensor) -> Tensor:
        """Latents [N, L, w_dim] -> distance of the layers from their mean, rms in standard deviations of W: [N]."""
        return self._length(w - w.mean(dim=1, keepdim=True))

    def off_w(self, w: Tensor) -> Tensor:
        """Latents [N, L, w_dim] -> distance from the nearest latent of a valid look, in the unit of `spread`: [N]."""
        return self._length(self.space.beyond(w))

    def between(self, w: Tensor, other: Tensor) -> Tensor:
        """Distance between latents [N, L, w_dim], in the unit of `spread`: [N]."""
        return self._length(w - other)

    def _length(self, difference: Tensor) -> Tensor:
        return (difference / self.space.deviation()).square().mean(dim=(1, 2)).sqrt()


Changes = Sequence[Tensor]
"""For each move, the changes read from the images: [N] or [N, columns]."""


def gain(changes: Changes, wanted: Changes) -> float:
    """The effect relative to the `wanted` changes: the slope of the best line through zero. 1 is the full effect."""
    found, whole = _joined(changes), _joined(wanted)
    return float((found * whole).sum() / whole.square().sum())


def miss(changes: Changes, wanted: Changes) -> float:
    """The rms difference to the `wanted` changes, relative to their rms: 0 at best, 1 without any effect."""
    return float(((_joined(changes) - _joined(wanted)).square().sum() / _joined(wanted).square().sum()).sqrt())


def leak(changes: Changes, wanted: Changes) -> float:
    """The rms difference of other traits to their `wanted` changes; 0 at best."""
    return float((_joined(changes) - _joined(wanted)).square().mean().sqrt())


def standard_error(measure: Callable[[Changes, Changes], float], changes: Changes, wanted: Changes) -> float:
    """The jackknife standard error of a measure over the N portraits."""
    n = len(wanted[0])
    others = [torch.arange(n) != person for person in range(n)]
    values = torch.tensor([measure([c[rest] for c in changes], [c[rest] for c in wanted]) for rest in others])
    return float(((values - values.mean()).square().sum() * (n - 1) / n).sqrt())


def _joined(changes: Changes) -> Tensor:
    return torch.cat([change.flatten() for change in changes])
