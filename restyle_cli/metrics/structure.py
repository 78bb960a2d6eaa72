"""How differently pictures look, by the measure that stands in for LPIPS where that is not installed."""

from __future__ import annotations

from torch import Tensor

from restyle_cli.metrics.metric import Column, Metric
from restyle_cli.metrics.pixel import compared
from restyle_cli.perceptual.structure import Structure


class StructureDistance(Metric):
    """Distance of structure and edges at several scales. No published table has it."""

    name = "structure"
    columns = (Column("structure", "structure"),)
    protocol = "structure and edges at five scales, without a network; stands in for LPIPS, and is not its number"

    def look(self, pictures: Tensor) -> list[Tensor]:
        """The pictures at 256x256 and their halvings."""
        return Structure().features(compared(pictures))

    def compare(self, targets: list[Tensor], results: list[Tensor]) -> Tensor:
        """`Structure` of each pair, [N, 1]."""
        return Structure().distances(targets, results)[:, None]
