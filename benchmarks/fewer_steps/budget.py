"""`--quality` and `--budget` against plain ReStyle at equal time, for docs/fewer-steps.md.

    python benchmarks/fewer_steps/budget.py [--people 12]

Held-out portraits, in batches of four on one thread. All seconds, also of the budget, are processor seconds. The best
step of each image counts, as in `restyle invert`.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor

from restyle_cli.data.portraits import HELD_OUT, draw, sample_z
from restyle_cli.inversion import Method, invert
from restyle_cli.models import load_method, plan_quality
from restyle_cli.stopping import Plateau

SEED = 25
BATCH = 4
PLAIN_STEPS = 40  # nothing improves after that
MODEL = "restyle-psp-portrait"
WAYS: tuple[tuple[str, float | None], ...] = (
    ("fast", None),
    ("balanced", 0.5),
    ("balanced", None),
    ("best", 0.5),
    ("best", 2.0),
    ("best", 8.0),
)
"""Qualities, and budgets in seconds per image."""


def by_quality(x: Tensor, quality: str, budget: float | None) -> tuple[str, float, float, float]:
    """The chain of a quality; seconds per image, steps and L2, on average."""
    plan, patience = plan_quality(quality, MODEL)
    methods = plan.load()
    seconds, steps, errors = 0.0, 0, 0.0
    for part in x.split(BATCH):
        before = time.process_time()
        found = invert(part, methods, stop=Plateau(patience, budget, time.process_time), keep_images=[])
        seconds += time.process_time() - before
        steps += int(found.last_step.sum())
        errors += float(_best(found.steps).sum())
    return " → ".join(model.name for model in plan.models), seconds / len(x), steps / len(x), errors / len(x)


def plain(x: Tensor, method: Method, steps: int) -> list[tuple[float, float]]:
    """After each step of plain ReStyle: seconds per image, and the mean L2 of the best step so far."""
    reached: list[list[tuple[float, float]]] = []
    for part in x.split(BATCH):
        before, moments = time.process_time(), []
        found = invert(
            part, [method] * steps, keep_images=[], on_step=lambda k, s, e, m=moments: m.append(time.process_time())
        )
        sums = [(moment - before, float(_best(found.steps[: k + 1]).sum())) for k, moment in enumerate(moments)]
        reached.append(sums)
    return [tuple(sum(values) / len(x) for values in zip(*batch, strict=True)) for batch in zip(*reached, strict=True)]


def _best(steps: list) -> Tensor:
    return torch.stack([step.l2 for step in steps]).amin(dim=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    x = draw(sample_z(options.people, HELD_OUT + SEED), 256)
    method = load_method(MODEL)
    invert(x[:BATCH], method, 1)  # the first call is slower
    alone = plain(x, method, PLAIN_STEPS)
    print("| quality | budget | steps | seconds | L2 | plain ReStyle in that time | chain |")
    print("|---|---|---|---|---|---|---|")
    for quality, budget in WAYS:
        chain, seconds, steps, error = by_quality(x, quality, budget)
        made, (_, plain_l2) = max(
            ((k, point) for k, point in enumerate(alone) if point[0] <= max(seconds, alone[1][0])),
            key=lambda one: one[0],
        )
        given = "" if budget is None else f"{budget:g} s"
        cells = (
            quality,
            given,
            f"{steps:.1f}",
            f"{seconds:.2f}",
            f"{error:.4f}",
            f"{plain_l2:.4f}, {made} steps",
            chain,
        )
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
