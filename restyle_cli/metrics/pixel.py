"""L2 by the protocol of the published tables."""

from __future__ import annotations

from torch import Tensor

from restyle_cli import inversion
from restyle_cli.images import displayed, fit
from restyle_cli.metrics.metric import Column, Metric

SIZE = (256, 256)
"""Height and width at which pictures are compared, whatever their own shape."""


def compared(pictures: Tensor) -> Tensor:
    """Pictures [N, 3, any, any] as every metric compares them: as a file shows them, at 256x256, in fp32."""
    return fit(displayed(pictures.float()), SIZE)


def l2(
    x: Tensor,  # [N, 3, H, W] in [-1, 1]
    y: Tensor,  # [N, 3, H, W] in [-1, 1]
) -> Tensor:
    """Mean square difference of each pair at 256x256, [N]; four times the value that the range [0, 1] gives."""
    return inversion.l2(compared(x), compared(y))


class L2(Metric):
    """Mean square difference of the pixels."""

    name = "l2"
    columns = (Column("l2", "L2"),)
    protocol = "mean square difference on [-1, 1], four times that on [0, 1]"

    def look(self, pictures: Tensor) -> Tensor:
        """The pictures at 256x256."""
        return compared(pictures)

    def compare(self, targets: Tensor, results: Tensor) -> Tensor:
        """`l2` of each pair, [N, 1]."""
        return l2(targets, results)[:, None]
