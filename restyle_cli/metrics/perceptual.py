"""LPIPS by the protocol of the published tables, and a metric without a network."""

from __future__ import annotations

from torch import Tensor

from restyle_cli.metrics.base import Metric, NetworkMetric, compared
from restyle_cli.perceptual.structure import Structure


class LPIPSDistance(NetworkMetric[list[Tensor]]):
    """LPIPS: distance of AlexNet's features (Zhang et al. 2018)."""

    name = "lpips"
    title = "LPIPS"
    protocol = "AlexNet, version 0.1, on [-1, 1]"
    entry_name = "lpips-alex"

    def features(self, images: Tensor) -> list[Tensor]:
        """AlexNet's feature maps of the images at 256x256."""
        return self.network.features(compared(images))

    def compare(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        """The distance of each pair, [N]."""
        return self.network.distances(x, y)


class StructureDistance(Metric):
    """Distance of structure and edges at several scales. No published table has it."""

    name = "structure"
    title = "structure"
    protocol = "structure and edges at five scales, without a network; not comparable with LPIPS"

    def measure(self, x: Tensor, y: Tensor) -> Tensor:
        """`Structure` of each pair, [N]."""
        return Structure()(compared(x), compared(y))
