"""What docs/bundled-models.md says beyond the L2 of a folder: true latents, and bootstrapping against true toons.

python benchmarks/bundled_models.py [people]
"""

import argparse

import torch
from torch import Tensor

from restyle_cli.data.looks import LookSpace, looks, sample_z
from restyle_cli.data.portraits import HELD_OUT, draw_looks
from restyle_cli.inversion import Method, iterate, l2
from restyle_cli.models import load_method, plan

SEED = 7
BATCH = 20


def main(people: int) -> None:
    """Mean L2 at 256 px over the people of `restyle samples --seed 7`, held out from training."""
    portraits, toons = load_method("restyle-psp-portrait"), load_method("restyle-psp-toon")
    restyle_e4e, with_hyperstyle = "restyle-e4e-portrait:5", "restyle-e4e-portrait:5,hyperstyle-portrait:5"
    toon_chains = [plan("", via=f"{chain},toon").load() for chain in (restyle_e4e, with_hyperstyle)]
    generator = portraits.generator
    space = LookSpace(generator.config.w_dim)
    values = looks(sample_z(people, HELD_OUT + SEED))
    names = ("true latents, portraits", "bootstrapped, 2 steps", "from the average, 2 steps")
    sums = dict.fromkeys((*names, f"{restyle_e4e},toon", f"{with_hyperstyle},toon"), 0.0)
    with torch.no_grad():
        for part in values.split(BATCH):
            x, toon = (draw_looks(part, 256, style) for style in ("portrait", "toon"))
            errors = (
                l2(x, generator(generator.w_plus(space.embed(part)))),
                _last(x, toon, [portraits, toons, toons]),
                _last(x, toon, [toons, toons]),
                *(_last(x, toon, schedule) for schedule in toon_chains),
            )
            for name, error in zip(sums, errors, strict=True):
                sums[name] += float(error.sum())
    for name, total in sums.items():
        print(f"{name:54} {total / people:.4f}")


def _last(x: Tensor, toon: Tensor, schedule: list[Method]) -> Tensor:
    *_, state = iterate(x, schedule)
    return l2(toon, state.image)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=int, nargs="?", default=100)
    main(parser.parse_args().people)
