"""The base classes of the metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.images import displayed, fit
from restyle_cli.metrics import Missing
from restyle_cli.store import catalog, fetch
from restyle_cli.store.catalog import Entry
from restyle_cli.store.files import read_module

SIZE = (256, 256)
"""Height and width at which images are compared, whatever their own shape."""
Better = Literal["lower", "higher"]
Features = TypeVar("Features")


def compared(images: Tensor) -> Tensor:
    """Images [N, 3, any, any] as every metric compares them: clamped to [-1, 1], at 256x256, in fp32."""
    return fit(displayed(images.float()), SIZE)


@dataclass(frozen=True)
class Column:
    """One number of a metric: `key` in files, `title` in tables, and which values are better."""

    key: str
    title: str
    better: Better = "lower"


class Metric(ABC):
    """Compares image pairs, each pair by itself.

    `name` is its key in files, `title` its heading in tables; `protocol` says in one line how it measures.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    better: ClassVar[Better] = "lower"
    protocol: ClassVar[str]

    def __init__(self, device: str | torch.device = "cpu") -> None:
        """Ready on `device`; Missing if its network is not installed."""
        self.device = device

    @property
    def columns(self) -> tuple[Column, ...]:
        """The numbers that it measures, one unless a metric overrides this."""
        return (Column(self.name, self.title, self.better),)

    @property
    def networks(self) -> tuple[tuple[Entry, Path], ...]:
        """The networks that it uses, with their files."""
        return ()

    @abstractmethod
    def measure(self, x: Tensor, y: Tensor) -> Tensor:
        """Targets x and results y [N, 3, any, any] in [-1, 1] -> [N], or [N, C] for C columns."""


class NetworkMetric(Metric, Generic[Features]):
    """A metric that compares the features of images by the catalog's network `entry_name`.

    The features of the last targets are kept, because every step of an inversion is measured against the same ones.
    """

    entry_name: ClassVar[str]

    def __init__(self, device: str | torch.device = "cpu") -> None:
        super().__init__(device)
        self.entry = catalog.find(self.entry_name)
        try:
            self.path = fetch.installed_path(self.entry)
        except RestyleError as error:
            raise Missing(f"{self.name} cannot be measured: {error.message}", error.hint) from error
        self.network: Any = read_module(self.path, device, role="perceptual")
        self._last: tuple[Tensor, Features] | None = None

    @property
    def networks(self) -> tuple[tuple[Entry, Path], ...]:
        """The network and its file."""
        return ((self.entry, self.path),)

    def measure(self, x: Tensor, y: Tensor) -> Tensor:
        """As `Metric.measure`; x must not have been changed in place since the last call."""
        if self._last is None or self._last[0] is not x:
            self._last = x, self.features(x)
        return self.compare(self._last[1], self.features(y))

    @abstractmethod
    def features(self, images: Tensor) -> Features:
        """The features of images [N, 3, any, any] in [-1, 1]."""

    @abstractmethod
    def compare(self, x: Features, y: Features) -> Tensor:
        """The features of targets and results -> [N] or [N, C]."""
