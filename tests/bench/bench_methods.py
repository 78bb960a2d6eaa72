"""What one step of each method costs with the embedded networks: the seconds on the pages of `restyle methods NAME`.

    OMP_NUM_THREADS=1 python tests/bench/bench_methods.py [--repeats 12] [--methods psp,pti]

One picture of 256 px, the generator's 128 px, one thread. What counts is the processor's time of the middle step, so
that another program on the machine disturbs little. Where a method's network is not embedded, one that its recipe
describes is made, untrained: a step costs the same. For methods with neither there is no number.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from restyle_cli.encoders.small import SmallEncoder, SmallEncoderConfig
from restyle_cli.encoders.small_hyper import SmallHyperConfig, SmallHyperNetwork, choose_targets
from restyle_cli.inversion import Method, iterate, over
from restyle_cli.loading import installed, load_method
from restyle_cli.methods import METHODS
from restyle_cli.train.config import Recipe, read_recipe, recipe_names
from restyle_cli.train.portraits import HELD_OUT, draw, sample_z

DOMAIN = "portrait"


def ready(method: str) -> Method | None:
    """The method with its embedded network, or with an untrained one of its recipe; None where there is neither."""
    name = f"{method}-{DOMAIN}"
    if name in installed(method):
        return load_method(name)
    return untrained(read_recipe(name)) if name in recipe_names() else None


def untrained(recipe: Recipe) -> Method:
    """The method of a recipe, with a network that was not trained."""
    made = METHODS.load(str(recipe.method))
    generator = load_method(f"image2stylegan-{recipe.generator}").generator
    like = {"styles": generator.layers, "w_dim": generator.config.w_dim, "input_channels": made.input_channels}
    if recipe.family == "small-hyper":
        like |= choose_targets(generator.conv_shapes())
        encoder = SmallHyperNetwork(SmallHyperConfig.from_dict(recipe.network | like))
    else:
        encoder = SmallEncoder(SmallEncoderConfig.from_dict(recipe.network | like))
    return made(recipe.name, encoder.eval().requires_grad_(False), generator)


def step_seconds(x: Tensor, method: Method, repeats: int) -> float:
    """Processor seconds of the middle one of `repeats` steps; the first is not among them."""
    steps = min(method.max_steps, repeats + 1)
    taken = [seconds for _ in range(1 if steps > 1 else repeats + 1) for seconds in _timed(x, method, steps)]
    return statistics.median(taken[1:])


def _timed(x: Tensor, method: Method, steps: int) -> Iterator[float]:
    first = [] if not method.needs_start else [load_method(f"psp-{DOMAIN}")]
    with torch.no_grad():
        states = iterate(x, [*first, *[over(method, steps)] * steps])
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
            print(f"{name:18} no embedded network, and no recipe", flush=True)
            continue
        print(f"{name:18} {step_seconds(x, method, options.repeats):8.4f} s a step", flush=True)


if __name__ == "__main__":
    main()
