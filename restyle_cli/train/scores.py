"""Validation: the metrics of `restyle eval`, on images that no training sees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch

from restyle_cli import metrics
from restyle_cli.data.source import Batch
from restyle_cli.images import fit
from restyle_cli.inversion import Method, invert

BATCH = 16


class Scores:
    """Measures inversions of the held-out images. `identities`: the identity metrics for the domain, best first."""

    def __init__(self, held_out: Batch, device: torch.device, identities: Sequence[str]) -> None:
        self.held_out, self.device = held_out, device
        self.metrics = metrics.choose(None, device, identities).metrics

    def measure(self, schedule: Sequence[Method]) -> dict[str, float]:
        """The mean of every metric after the last step, and as "l2_0", "l2_1", … the L2 after each step."""
        sums: dict[str, float] = defaultdict(float)
        count = len(self.held_out.y)
        for first in range(0, count, BATCH):
            x, y = (images[first : first + BATCH].to(self.device) for images in (self.held_out.x, self.held_out.y))
            inversion = invert(x, schedule, keep="last", keep_images=range(len(schedule) + 1))
            steps = {k: fit(image.float(), (y.shape[-2], y.shape[-1])) for k, image in inversion.image_steps.items()}
            for metric in self.metrics:
                values = metric.measure(y, steps[len(schedule)]).view(len(y), -1).sum(dim=0)
                for column, value in zip(metric.columns, values, strict=True):
                    sums[column.key] += float(value)
                if metric.name == "l2":
                    for k, image in steps.items():
                        sums[f"l2_{k}"] += float(metric.measure(y, image).sum())
        return {name: total / count for name, total in sums.items()}
