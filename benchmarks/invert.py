"""The whole of `restyle invert`: start-up, and a folder against one image after the other.

    python benchmarks/invert.py [--images 64] [--repeats 3] [--threads 2] [--device cpu] [--model restyle-psp]

Start-up is one image in a new process, compared with a process that only imports torch. The plain form reads an image,
inverts it and writes its files before it reads the next. All forms are timed alternately and the quickest run of each
counts, so that another program on the machine disturbs all alike.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from restyle_cli import models
from restyle_cli.align import aligned_mark
from restyle_cli.data.portraits import HELD_OUT, draw, sample_z
from restyle_cli.devices import choose_device
from restyle_cli.images import save_image, to_image
from restyle_cli.run import pipeline
from restyle_cli.run.outputs import Results
from restyle_cli.run.sources import Source, find_images

KINDS = frozenset({"image", "strip", "latent"})


def best_of_each(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Seconds of the quickest run of each call; the calls alternate."""
    best = [float("inf")] * len(calls)
    for _ in range(repeats):
        for index, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[index] = min(best[index], time.perf_counter() - start)
    return best


def process(*arguments: str) -> Callable[[], object]:
    """A Python process that must succeed."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def plain(sources: Sequence[Source], task: pipeline.Task) -> None:
    """One image after the other, nothing in the background."""
    for source in sources:
        for outcome in pipeline.invert_all([source], task):
            assert outcome.status == "done", outcome.error


def overlapped(sources: Sequence[Source], task: pipeline.Task) -> None:
    """As the command does it."""
    for outcome in pipeline.invert_all(sources, task):
        assert outcome.status == "done", outcome.error


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="restyle-psp")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    plan = models.plan(options.model, 5)
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        for index, face in enumerate(draw(sample_z(options.images, HELD_OUT), 256)):
            save_image(to_image(face), here / f"faces/{index:03d}.png", aligned_mark())
        sources = find_images([here / "faces"])

        one = ["-m", "restyle_cli", "invert", str(sources[0].path), "-m", options.model, "--device", options.device]
        alone = process(*one, "-o", str(here / "one"), "--overwrite")
        import_torch, whole = best_of_each([process("-c", "import torch"), alone], options.repeats)
        print(f"{plan.chain} on {device}, {options.threads} threads, torch {torch.__version__}")
        print(f"one image: {whole:.2f} s, {whole / import_torch:.2f}x of importing torch ({import_torch:.2f} s)")

        results = Results(here / "out", KINDS, {})
        task = pipeline.Task(plan.load(device), results, device, torch.float32, overwrite=True)
        sizes = [1, 2, 4, 8, 16]
        calls = [lambda: plain(sources, task)]
        calls += [lambda size=size: overlapped(sources, replace(task, batch_size=size)) for size in sizes]
        plain_seconds, *overlapped_seconds = best_of_each(calls, options.repeats)
        count = len(sources)
        print(f"{count} images, one after the other: {plain_seconds / count * 1000:.0f} ms each")
        for size, seconds in zip(sizes, overlapped_seconds, strict=True):
            print(
                f"overlapped, batches of {size}: {seconds / count * 1000:.0f} ms each, {plain_seconds / seconds:.2f}x"
            )


if __name__ == "__main__":
    main()
