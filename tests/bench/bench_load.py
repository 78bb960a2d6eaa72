"""Time and peak memory of opening an official-shaped file of 1.2 GB.

    python tests/bench/bench_load.py [--file FILE] [--manifest psp_ffhq_1024] [--repeats 3] [--threads 1]

Each way runs in a process of its own, which imports everything first and then opens the file; memory is what the
process had at most since then, in megabytes and as a share of the file's size. `torch.load` alone, with the same
options, is what every reader of such files needs at least; the others give networks that are ready to run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

MEASURE = """
import argparse, json, resource, sys, time
from pathlib import Path
import torch
from restyle_cli.store import files, legacy
from restyle_cli.encoders import psp, hyper, restyle, w
from restyle_cli.generators import stylegan2
from restyle_cli.store.legacy.safe import read_checkpoint

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

def whole(path):
    return [legacy.build(part, path=path) for part in legacy.open_parts(path)]

ways = {
    "torch.load": lambda path: read_checkpoint(path),
    "both networks": whole,
    "the generator alone": lambda path: files.read_module(path, role="generator"),
    "a look at what it is": legacy.describe,
}
way, path, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
before, start = peak(), time.perf_counter()
kept = ways[way](path)
print(json.dumps([time.perf_counter() - start, peak() - before]))
"""
WAYS = ("torch.load", "both networks", "the generator alone", "a look at what it is")


# In a process of its own: a child's peak begins with its parent's size.
WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import parity, torch

keys = parity.describe(sys.argv[1])["keys"]
tensors = {key: torch.full(shape, 0.01).to(getattr(torch, dtype)) for key, (shape, dtype) in keys.items()}
taps = torch.outer(*[torch.tensor([1.0, 3, 3, 1])] * 2)
tensors |= {key: taps for key in keys if key.endswith("kernel")}
parity.write_checkpoint(Path(sys.argv[2]), sys.argv[1], tensors=tensors)
"""


def run(code: str, *arguments: object) -> str:
    """What Python prints that runs `code` in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("the measured process failed")
    return done.stdout


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, help="an encoder's .pt with its decoder; one is made if not given")
    parser.add_argument("--manifest", default="psp_ffhq_1024")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = options.file or Path(name) / f"{options.manifest}.pt"
        if options.file is None:
            run(WRITE, options.manifest, path, Path(__file__).parent.parent)
        size = path.stat().st_size
        print(f"{path.name}: {size / 1e6:.0f} MB, {options.threads} threads")
        for way in WAYS:
            runs = [json.loads(run(MEASURE, way, path, options.threads)) for _ in range(options.repeats)]
            seconds, memory = (min(values) for values in zip(*runs, strict=True))
            print(f"{way}: {seconds:.2f} s, {memory / 1e6:.0f} MB at most, {memory / size:.2f}x of the file")


if __name__ == "__main__":
    main()
