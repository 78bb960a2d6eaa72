"""What all metrics have in common: a picture is looked at once, then compared as often as needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.metrics.missing import Missing
from restyle_cli.store import catalog, fetch
from restyle_cli.store.catalog import Entry
from restyle_cli.store.files import read_module


@dataclass(frozen=True)
class Column:
    """One number of a metric: `key` in files, `title` in tables, and which way is better."""

    key: str
    title: str
    higher: bool = False  # is better
    equal: float = 0.0  # what equal pictures have


class Metric(ABC):
    """Compares pairs of pictures, each pair by itself. `protocol` says in a line how."""

    name: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    protocol: ClassVar[str]

    def __init__(self, device: str | torch.device = "cpu") -> None:
        """Ready on `device`; Missing when its network is not installed."""
        self.device = device

    @property
    def networks(self) -> tuple[tuple[Entry, Path], ...]:
        """The networks that it judges by, with their files."""
        return ()

    @abstractmethod
    def look(self, pictures: Tensor) -> Any:
        """What is compared of pictures [N, 3, H, W] in [-1, 1]: for a target, found once for all steps."""

    @abstractmethod
    def compare(self, targets: Any, results: Any) -> Tensor:
        """Two that were looked at -> [N, columns]."""

    def __call__(self, targets: Tensor, results: Tensor) -> Tensor:
        """Pictures [N, 3, any, any] in [-1, 1], twice -> [N, columns]."""
        return self.compare(self.look(targets), self.look(results))


class NetworkMetric(Metric):
    """A metric by a network of the catalog, `entry_name`, which is read when the metric is made."""

    entry_name: ClassVar[str]

    def __init__(self, device: str | torch.device = "cpu") -> None:
        super().__init__(device)
        self.entry = catalog.find(self.entry_name)
        try:
            self.path = fetch.installed_path(self.entry)
        except RestyleError as error:
            raise Missing(f"{self.name} cannot be measured: {error.message}", error.hint) from error
        self.network: Any = read_module(self.path, device, role="perceptual")

    @property
    def networks(self) -> tuple[tuple[Entry, Path], ...]:
        return ((self.entry, self.path),)


def cosines(
    a: Tensor,  # [N, D]
    b: Tensor,  # [N, D]
) -> Tensor:
    """Cosine of each pair, [N] in float64: exactly 1 for equal vectors, which their product is not.

    On the CPU: Apple's GPUs have no float64.
    """
    a, b = (torch.nn.functional.normalize(vectors.cpu().double(), dim=1) for vectors in (a, b))
    return 1 - (a - b).square().sum(dim=1) / 2
