"""Early stop: what a batch costs when pictures leave it as they settle, against the same steps made one by one.

    python benchmarks/early_stop.py [--pictures 16] [--threads 1] [--tolerance 5e-4] [--via restyle-psp:10]

"a step" is the time of a batch's run over all steps that its pictures made: if those that have settled cost nothing
any more, it is the same for every batch size, or less where batches are cheaper. "kept in" is what the steps would be
if every batch ran until its last picture had settled.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor

from restyle_cli.data.portraits import HELD_OUT, draw, sample_z
from restyle_cli.inversion import Method, invert
from restyle_cli.models import plan


def run(x: Tensor, schedule: list[Method], size: int, tolerance: float) -> tuple[float, int, int]:
    """Seconds, the steps that the pictures made, and those of all if none could leave its batch."""
    made, kept_in = 0, 0
    start = time.process_time()
    for part in x.split(size):
        last = invert(part, schedule, tolerance=tolerance, keep_images=[]).last_step
        made, kept_in = made + int(last.sum()), kept_in + int(last.max()) * len(part)
    return time.process_time() - start, made, kept_in


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tolerance", type=float, default=5e-4)
    parser.add_argument("--via", default="restyle-psp:10")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x = draw(sample_z(options.pictures, HELD_OUT), 256)
    schedule = plan("", via=options.via).load()
    for size in (1, 4, 8, 16):
        seconds, made, kept_in = run(x, schedule, size, options.tolerance)
        each = f"{1000 * seconds / made:6.1f} ms a step"
        print(f"batches of {size:2}: {seconds:6.2f} s, {made} steps, {kept_in} kept in, {each}")


if __name__ == "__main__":
    main()
