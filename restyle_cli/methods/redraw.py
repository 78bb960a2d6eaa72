"""Render a latent and its weight deltas with another generator (domain adaptation of HyperStyle, Alaluf et al. 2022).

A generator fine-tuned from another shares its latent space and the meaning of most weights. So a photo inverted with
the first can be rendered in the domain of the second, as a cartoon of the same person. The photo is not used again, and
the last step is selected, because the distance of a cartoon to the photo says little.
"""

from __future__ import annotations

from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.inversion import Method, State


class Redraw(Method):
    """Render the w and patch of the previous method with this generator."""

    needs_start = True

    def start(self, x: Tensor) -> State:
        """Always RestyleError: this method has no first guess."""
        raise RestyleError(f"{self.name} renders the latent of another method", f'--via "restyle-e4e:5,{self.name}"')

    def step(self, x: Tensor, state: State) -> State:
        """The same w and patch with the new image; RestyleError if they do not fit this generator."""
        shape, expected = tuple(state.w.shape[1:]), (self.generator.layers, self.generator.config.w_dim)
        if shape != expected:
            raise RestyleError(
                f"the latent is {shape[0]}x{shape[1]}, {self.name} takes {expected[0]}x{expected[1]}",
                "use a generator that shares the latent space of the previous method",
            )
        return State(state.w, self.generator(state.w, patch=state.patch).float(), state.patch)
