"""Pivotal tuning (Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of Real Images")."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from restyle_cli.devices import without_autocast
from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.generators.patching import synthesis_parameters
from restyle_cli.inversion import State
from restyle_cli.methods.optimize import Adam, Optimization, exact_changes, random_numbers, steps_made
from restyle_cli.perceptual import Perceptual

TRUNCATION = 0.5
"""Of the random latents of the locality regularization."""


@dataclass(frozen=True)
class Locality:
    """The paper's locality regularization: near the pivot the tuned generator renders what it rendered before.

    The point compared is `alpha` from the pivot, in the norm of W+, towards a random latent.
    """

    alpha: float = 30.0
    weight: float = 0.1  # of the perceptual distance and of the mean square difference there
    interval: int = 1  # in steps


class PTI(Optimization):
    """Tunes the generator for each image; w, the pivot, is that of the previous method.

    A step is one of Adam on all parameters of the synthesis network, with LPIPS (AlexNet) and the mean square
    difference of pixels, both of weight 1 and at the generator's full size. The paper makes 350 steps; its code stops
    earlier if LPIPS is below 0.06.
    """

    needs_start = True
    default_steps = 350
    locality: Locality | None = None

    def __init__(
        self,
        name: str,
        generator: StyleGenerator,
        perceptual: Perceptual,
        rate: float = 3e-4,
        locality: Locality | None = None,
    ) -> None:
        """`rate`: the learning rate; `locality` None: that of the class."""
        super().__init__(name, generator, perceptual)
        self.adam = Adam(rate=rate)
        self.locality = locality or self.locality

    def start(self, x: Tensor) -> State:
        """Always RestyleError: this method has no first guess."""
        raise RestyleError(
            f"{self.name} tunes the generator around a latent, and no previous method finds one",
            f'find one first: --via "restyle-psp:5,{self.name}:{self.default_steps}"',
        )

    def step(self, x: Tensor, state: State) -> State:
        """One step of Adam on the parameters; the same w."""
        target = self.comparison(x, state)

        def loss(after: State) -> Tensor:
            total = target.perceptual_distance(after.image) + target.pixel_distance(after.image)
            return total if self.locality is None else total + self._locality_loss(after, self.locality)

        changes = exact_changes(state, synthesis_parameters(self.generator))
        return self.descend(state, changes, loss, self.adam)

    def _locality_loss(self, state: State, locality: Locality) -> Tensor:
        """The distance between images of the original and the tuned generator near the pivot, [N]."""
        made = steps_made(state)
        w = torch.stack([self.near(w, int(step), locality.alpha) for w, step in zip(state.w, made, strict=True)])
        parameters = synthesis_parameters(self.generator)
        with torch.no_grad():
            untuned = {name: change for name, change in state.patch.items() if name not in parameters}
            before = self.generator(w, noise="none", patch=untuned).float()
        after = self.generator(w, noise="none", patch=state.patch).float()
        with without_autocast(w.device):
            pixels = (after - before).square().mean(dim=(1, 2, 3))
            seen = self.perceptual.distances(self.perceptual.features(after), self.perceptual.features(before))
        return locality.weight * (seen + pixels) * (made % locality.interval == 0)

    def near(self, pivot: Tensor, step: int, alpha: float) -> Tensor:
        """The latent `alpha` from the pivot [L, w_dim] towards a random one, the same for all images at this step."""
        z = torch.randn(1, self.generator.config.z_dim, generator=random_numbers(self.seed, step))
        w = self.generator.w_plus(self.generator.mapping(z.to(pivot)))
        direction = self.generator.truncate(w, TRUNCATION)[0] - pivot
        return pivot + alpha * direction / torch.linalg.vector_norm(direction)


class LocalPTI(PTI):
    """PTI with locality regularization, which the published code leaves off by default."""

    is_random = True
    locality = Locality()
