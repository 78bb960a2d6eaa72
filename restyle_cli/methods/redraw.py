"""Another generator draws what was found: codes, and changes of weights (HyperStyle, Alaluf et al. 2022).

A generator that was fine-tuned from another shares its codes, and most of its weights' meaning. So what an inversion
found with the first, in the photo's domain, is drawn in the second's: a cartoon of the same person. The photo is not
looked at again, and the last step is kept: a cartoon's distance to the photo says little.
"""

from __future__ import annotations

from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.inversion import State
from restyle_cli.methods.restyle import target_size


class Redraw:
    """The code and the changes stay as the method before left them; this generator draws them."""

    needs_encoder = False
    needs_start = True
    compares = False
    keeps_last = False
    default_steps = 1
    max_steps = 1

    def __init__(self, name: str, generator: StyleGenerator) -> None:
        """`generator`: codes [N, L, 512] and patch -> [N, 3, H, W]."""
        self.name = name
        self.generator = generator
        self.size = target_size(generator)

    def start(self, x: Tensor) -> State:
        """RestyleError: there is nothing to draw yet."""
        raise RestyleError(f"{self.name} draws what another method found", f'--via "restyle-e4e:5,{self.name}"')

    def step(self, x: Tensor, state: State) -> State:
        """The same code and changes, drawn anew; RestyleError when they are not of this generator's shape."""
        gives, takes = state.w.shape[1:], (self.generator.layers, self.generator.config.w_dim)
        if tuple(gives) != takes:
            raise RestyleError(
                f"the codes before are of {gives[0]}x{gives[1]}, {self.name} takes {takes[0]}x{takes[1]}",
                "another generator draws only what was found for one of its shape",
            )
        return State(state.w, self.generator(state.w, patch=state.patch).float(), state.patch)
