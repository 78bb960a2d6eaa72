"""What the training loop asks of a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from restyle_cli.data.source import Batch, Note, Source
from restyle_cli.train.config import Stage


@dataclass(frozen=True)
class Loss:
    """What to go backward from, and what to report: the loss' value and its terms, before weighting.

    `backward` may be another number than `value`: a surrogate with the same gradient.
    """

    backward: Tensor
    value: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Sheet:
    """Images to look at, each [3, H, W] in [-1, 1]: rows of as many images as there are `captions`."""

    captions: Sequence[str]
    rows: Sequence[Sequence[Tensor]]


class Task(Protocol):
    """What differs between trainings. The loop owns device, precision, processes, optimizer, checkpoints and logs."""

    network: nn.Module
    source: Source

    def prepare(self, note: Note) -> None:
        """Make everything ready that needs time; called once, on every process."""

    def begin(self, stage: Stage, before: Stage | None) -> None:
        """A stage starts (it is not resumed)."""

    def losses(self, network: nn.Module, batch: Batch, stage: Stage, step: int) -> Iterator[Loss]:
        """The losses of a batch, one after the other: the loop goes backward from each before it asks for the next.

        `network` is `self.network`, as the loop wraps it.
        """

    def scores(self, network: nn.Module, stage: Stage) -> dict[str, float]:
        """Metrics on images that no training sees."""

    def sheet(self, network: nn.Module, stage: Stage) -> Sheet:
        """Some of these images and what the network makes of them."""

    def save(self, network: nn.Module, path: Any, trained: dict[str, Any]) -> None:
        """Write `network` as a model that the commands take; `trained` goes into its header."""

    def describe(self) -> dict[str, str]:
        """Networks and data, for people."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps apart from the network and its optimizer."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
