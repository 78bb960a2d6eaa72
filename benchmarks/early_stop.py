"""Early stop: the cost of a step in a batch from which settled images are removed.

    python benchmarks/early_stop.py [--images 16] [--threads 1] [--tolerance 5e-4] [--via restyle-psp:10]

"a step" is the time of a run divided by the steps of its images. If settled images cost nothing, it does not grow with
the batch size. "without removal" is the number of steps if every batch ran until its last image had settled.
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
    """Seconds, the steps of all images, and their steps if no image could leave its batch."""
    made, without_removal = 0, 0
    start = time.process_time()
    for part in x.split(size):
        last = invert(part, schedule, tolerance=tolerance, keep_images=[]).last_step
        made, without_removal = made + int(last.sum()), without_removal + int(last.max()) * len(part)
    return time.process_time() - start, made, without_removal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tolerance", type=float, default=5e-4)
    parser.add_argument("--via", default="restyle-psp:10")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x = draw(sample_z(options.images, HELD_OUT), 256)
    schedule = plan("", via=options.via).load()
    for size in (1, 4, 8, 16):
        seconds, made, without_removal = run(x, schedule, size, options.tolerance)
        each = f"{1000 * seconds / made:6.1f} ms a step"
        print(f"batches of {size:2}: {seconds:6.2f} s, {made} steps, {without_removal} without removal, {each}")


if __name__ == "__main__":
    main()
