"""Which pictures came out best and worst, without remembering the others."""

from __future__ import annotations

import base64
from bisect import insort
from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image
from torch import Tensor

from restyle_cli.images import to_picture

MOST = 4
"""Of the best, and of the worst."""
SIDE = 160
"""Pixels of a small picture's side."""
_Place = tuple[float, int, str]


@dataclass
class Highlights:
    """The best and the worst of the pictures told so far; of equal ones, those that came first."""

    higher: bool  # is better
    best: list[_Place] = field(default_factory=list)
    worst: list[_Place] = field(default_factory=list)
    _count: int = 0

    def add(self, name: str, value: float) -> bool:
        """Tell of a picture; whether it is now among the best or the worst."""
        badness = -value if self.higher else value
        self._count += 1
        places = (badness, self._count, name), (-badness, self._count, name)
        for ranks, place in zip((self.best, self.worst), places, strict=True):
            insort(ranks, place)
            del ranks[MOST:]
        return places[0] in self.best or places[1] in self.worst

    def names(self) -> tuple[list[str], list[str]]:
        """Those of the best, the best first, and of the worst, the worst first; none is in both."""
        best = [name for _, _, name in self.best]
        return best, [name for _, _, name in self.worst if name not in best]


def side_by_side(
    target: Tensor,  # [3, H, W] in [-1, 1]
    result: Tensor,  # [3, H, W] in [-1, 1]
) -> str:
    """Both, small and side by side, as base64 of a JPEG."""
    sheet = Image.new("RGB", (2 * SIDE, SIDE))
    for index, picture in enumerate((target, result)):
        sheet.paste(to_picture(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS), (index * SIDE, 0))
    file = BytesIO()
    sheet.save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode("ascii")
