"""L2 by the protocol of the published tables."""

from __future__ import annotations

from torch import Tensor

from restyle_cli import inversion
from restyle_cli.images import fit

SIZE = (256, 256)
"""Height and width at which pictures are compared, whatever their own shape."""


def l2(
    x: Tensor,  # [N, 3, H, W] in [-1, 1]
    y: Tensor,  # [N, 3, H, W] in [-1, 1]
) -> Tensor:
    """Mean square difference of each pair at 256x256, [N]; four times the value that the range [0, 1] gives."""
    return inversion.l2(fit(x, SIZE), y)
