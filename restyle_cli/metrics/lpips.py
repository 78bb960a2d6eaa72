"""LPIPS by the protocol of the published tables."""

from __future__ import annotations

from torch import Tensor

from restyle_cli.metrics.metric import Column, NetworkMetric
from restyle_cli.metrics.pixel import compared


class LPIPSDistance(NetworkMetric):
    """Perceptual distance: how differently AlexNet sees two pictures."""

    name = "lpips"
    columns = (Column("lpips", "LPIPS"),)
    protocol = "AlexNet, version 0.1, on [-1, 1]"
    entry_name = "lpips-alex"

    def look(self, pictures: Tensor) -> list[Tensor]:
        """AlexNet's maps of the pictures at 256x256."""
        return self.network.features(compared(pictures))

    def compare(self, targets: list[Tensor], results: list[Tensor]) -> Tensor:
        """The distance of each pair, [N, 1]."""
        return self.network.distances(targets, results)[:, None]
