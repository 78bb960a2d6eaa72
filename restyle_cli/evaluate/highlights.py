"""The best and worst images of an evaluation, kept without storing the others."""

from __future__ import annotations

import base64
from bisect import insort
from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image
from torch import Tensor

from restyle_cli.images import to_image

MOST = 4
"""Number of best images, and of worst."""
SIDE = 160
"""Height and width of a thumbnail in px."""
_Ranked = tuple[float, int, str]


@dataclass
class Highlights:
    """The best and the worst of the images added so far; the earlier ones among equals."""

    higher: bool  # higher values are better
    best: list[_Ranked] = field(default_factory=list)
    worst: list[_Ranked] = field(default_factory=list)
    _count: int = 0

    def add(self, name: str, value: float) -> bool:
        """Add an image. Returns whether it is now among the best or the worst."""
        badness = -value if self.higher else value
        self._count += 1
        entries = (badness, self._count, name), (-badness, self._count, name)
        for ranking, entry in zip((self.best, self.worst), entries, strict=True):
            insort(ranking, entry)
            del ranking[MOST:]
        return entries[0] in self.best or entries[1] in self.worst

    def names(self) -> tuple[list[str], list[str]]:
        """The best, best first, and the worst, worst first; no image is in both."""
        best = [name for _, _, name in self.best]
        return best, [name for _, _, name in self.worst if name not in best]


def side_by_side(
    target: Tensor,  # [3, H, W] in [-1, 1]
    result: Tensor,  # [3, H, W] in [-1, 1]
) -> str:
    """Thumbnails of both side by side, as a base64-encoded JPEG."""
    sheet = Image.new("RGB", (2 * SIDE, SIDE))
    for index, image in enumerate((target, result)):
        sheet.paste(to_image(image).resize((SIDE, SIDE), Image.Resampling.LANCZOS), (index * SIDE, 0))
    file = BytesIO()
    sheet.save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode("ascii")
