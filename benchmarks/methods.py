"""Seconds of one step of each method with the bundled models, as shown by `restyle methods NAME`.

    OMP_NUM_THREADS=1 python benchmarks/methods.py [--repeats 12] [--methods psp,pti]

One image of 256 px, the generator's 128 px, one thread; the median of the steps' processor times, which depends little
on other programs. A method without a bundled model has no number.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from restyle_cli.data.portraits import HELD_OUT, draw, sample_z
from restyle_cli.inversion import Method, iterate
from restyle_cli.methods import METHODS, borrows
from restyle_cli.models import installed, load_method

DOMAIN = "portrait"


def ready(method: str) -> Method | None:
    """The method with its bundled model, or with a generator alone; None if there is none."""
    name = f"{method}-{DOMAIN}"
    served = name in installed(method) or any(f"{lender}-{DOMAIN}" in installed(lender) for lender in borrows(method))
    return load_method(name) if served else None


def step_seconds(x: Tensor, method: Method, repeats: int) -> float:
    """Median processor seconds of `repeats` steps, without the first."""
    steps = min(method.max_steps, repeats + 1)
    taken = [seconds for _ in range(1 if steps > 1 else repeats + 1) for seconds in _timed(x, method, steps)]
    return statistics.median(taken[1:])


def _timed(x: Tensor, method: Method, steps: int) -> Iterator[float]:
    first = [] if not method.needs_start else [load_method(f"psp-{DOMAIN}")]
    with torch.no_grad():
        states = iterate(x, [*first, *[method.over(steps)] * steps])
        for _ in range(1 + len(first)):
            next(states)
        while True:
            began = time.process_time()
            if next(states, None) is None:
                return
            yield time.process_time() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--methods", default=",".join(METHODS.names()))
    options = parser.parse_args()
    torch.set_num_threads(1)
    x = draw(sample_z(1, HELD_OUT), 256)
    for name in options.methods.split(","):
        method = ready(name)
        if method is None:
            print(f"{name:18} no bundled model", flush=True)
            continue
        print(f"{name:18} {step_seconds(x, method, options.repeats):8.4f} s a step", flush=True)


if __name__ == "__main__":
    main()
