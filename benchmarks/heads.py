"""Style heads, computed together or one by one.

    python benchmarks/heads.py [--threads 2] [--images 1] [--repeats 7]

Both are timed alternately and the best run of each counts, so that another program on the machine disturbs both alike.
`--train` adds the backward pass.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from restyle_cli.encoders.heads import StyleHeads

CASES = [
    ("18 styles of a 16x16 map (ReStyle, 1024 px)", 18, 16),
    ("14 styles of a 16x16 map (ReStyle, 256 px)", 14, 16),
    ("4 styles of a 32x32 map (pSp, middle)", 4, 32),
    ("11 styles of a 64x64 map (pSp, fine)", 11, 64),
]


def best_of_each(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    """Seconds of the quickest run of each call."""
    best = [float("inf")] * len(calls)
    for _ in range(repeats + 1):  # the first round warms up
        for index, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[index] = min(best[index], time.perf_counter() - start)
    return best


def measure(styles: int, side: int, images: int, repeats: int, train: bool) -> tuple[float, float]:
    """(together, one by one) in seconds."""
    torch.manual_seed(0)
    heads = StyleHeads(styles, 512, 512, side).requires_grad_(train)
    x = torch.randn(images, 512, side, side, requires_grad=train)

    def run(compute: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], None]:
        def once() -> None:
            latents = compute(x)
            if train:
                heads.zero_grad()
                latents.square().sum().backward()

        return once

    together, alone = best_of_each([run(heads), run(heads.plain)], repeats)
    return together, alone


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--train", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name, styles, side in CASES:
        together, alone = measure(styles, side, options.images, options.repeats, options.train)
        print(
            f"{name:45} together {together * 1e3:7.1f} ms   one by one {alone * 1e3:7.1f} ms   {alone / together:.2f}x"
        )


if __name__ == "__main__":
    main()
