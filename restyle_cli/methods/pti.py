"""Pivotal tuning (Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of Real Images").

A code found before, the pivot, stays where it is; the generator's weights move until it draws the picture there. Each
step is one of Adam, of rate 3e-4, over every parameter of the synthesis network, down LPIPS (AlexNet) and the mean
square of pixels, both weighing 1 and both at the generator's full size. The paper makes 350 steps; its code may stop
sooner, where LPIPS is below 0.06. The paper's locality regularisation, which its code leaves off unless asked for, is a
method of its own here; so is its search for the pivot, `projector.PTIPivot`.

What is changed is kept as a difference in half precision: shown and stored are one and the same generator. Adam itself
goes on in full precision, where steps do not fall between two numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.generators.patching import synthesis_parameters
from restyle_cli.inversion import State
from restyle_cli.methods.optimize import Adam, Optimisation, Perceptual, adam_step, gradients_of, random_of, steps_made

TRUNCATION = 0.5
"""Of the codes towards which the regularisation looks."""


@dataclass(frozen=True)
class Locality:
    """The paper's locality regularisation: around the pivot, the tuned generator draws what it drew before.

    It looks at a point `alpha` from the pivot towards a random code, every `interval` steps. The norm is that of the
    whole W+ code, as in the published code, which leaves the regularisation off by default.
    """

    alpha: float = 30.0
    weight: float = 0.1  # of the perceptual distance and of the mean square there
    interval: int = 1


class PTI(Optimisation):
    """The code stays, the generator's weights are tuned to the picture; it needs the code of a method before it."""

    needs_start = True
    default_steps = 350
    key = "pti"
    locality: Locality | None = None

    def __init__(
        self,
        name: str,
        generator: nn.Module,
        perceptual: Perceptual,
        rate: float = 3e-4,
        locality: Locality | None = None,
    ) -> None:
        """As `Optimisation`; `rate`: the length of Adam's steps; `locality`: None stands for the class's own."""
        super().__init__(name, generator, perceptual)
        self.adam = Adam(rate=rate)
        if locality is not None:
            self.locality = locality

    def start(self, x: Tensor) -> State:
        """RestyleError: what is tuned around no picture's code fits no picture."""
        raise RestyleError(
            f"{self.name} tunes the generator around a code, and none was found",
            f'find one first: --via "restyle-psp:5,{self.name}:{self.default_steps}"',
        )

    def step(self, x: Tensor, state: State) -> State:
        """The same code, drawn with weights one step further.

        The picture shown is also the one whose gradients the next step follows, so each step draws once.
        """
        own = synthesis_parameters(self.generator)
        changes = {name: self._change(name, like, state) for name, like in own.items()}
        gradients = {name: state.memory.get(f"{self.key}.{name}.gradient") for name in own}
        if None in gradients.values():
            _, gradients = self._look(x, state, changes)
        followed = {name: state.memory[name] for name in state.memory if not name.endswith(".gradient")}
        changes, memory = adam_step(changes, gradients, followed, self.adam, self.key)
        rounded = {name: change.half() for name, change in changes.items()}
        after = State(state.w, state.image, {**state.patch, **rounded}, memory)
        image, gradients = self._look(x, after, rounded)
        memory |= {f"{self.key}.{name}.change": change for name, change in changes.items()}
        memory |= {f"{self.key}.{name}.gradient": gradient for name, gradient in gradients.items()}
        return State(state.w, image, after.patch, memory)

    def _change(self, name: str, like: Tensor, state: State) -> Tensor:
        """The change of a parameter so far, in full precision: [N, *shape]."""
        if (change := state.memory.get(f"{self.key}.{name}.change")) is not None:
            return change
        if (change := state.patch.get(name)) is not None:  # of an earlier tuning
            return change.to(like.dtype)
        return like.new_zeros(len(state.w), *like.shape)

    def _look(self, x: Tensor, state: State, changes: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The picture that `state` draws with `changes`, and the loss's gradients for these in full precision."""
        full = {name: change.float().requires_grad_(True) for name, change in changes.items()}
        target, mask = self.target_and_mask(x, state)
        with torch.enable_grad():
            patch = {**state.patch, **full}
            image = self.generator(state.w, patch=patch).float()
            perceptual, pixels = self.differences(target, image, mask)
            loss = perceptual + pixels
            if self.locality is not None:
                loss = loss + self._strayed(self.locality, state, patch)
            return image.detach(), gradients_of(loss, full)

    def _strayed(self, locality: Locality, state: State, patch: Mapping[str, Tensor]) -> Tensor:
        """How differently the tuned generator draws around the pivot, [N]; 0 at steps that are left out."""
        made = steps_made(state.memory, self.key, len(state.w), state.w.device)
        w = torch.stack([self._near(pivot, int(k), locality.alpha) for pivot, k in zip(state.w, made, strict=True)])
        parameters = synthesis_parameters(self.generator)
        untuned = {name: change for name, change in patch.items() if name not in parameters}
        with torch.no_grad():
            before = self.generator(w, noise="none", patch=untuned)
        after = self.generator(w, noise="none", patch=patch)
        with torch.autocast(w.device.type, enabled=False):
            before, after = before.float(), after.float()
            pixels = (after - before).square().mean(dim=(1, 2, 3))
            seen = self.perceptual.distances(self.perceptual.features(after), self.perceptual.features(before))
        return locality.weight * (seen + pixels) * (made % locality.interval == 0)

    def _near(self, pivot: Tensor, step: int, alpha: float) -> Tensor:
        """The point `alpha` from pivot [L, 512] towards a random code, the same for all pictures at their step."""
        drawn = torch.randn(1, self.generator.config.z_dim, generator=random_of(self.seed, step))
        code = self.generator.w_plus(self.generator.mapping(drawn.to(pivot)))
        way = self.generator.truncate(code, TRUNCATION)[0] - pivot
        return pivot + alpha * way / torch.linalg.vector_norm(way)


class LocalPTI(PTI):
    """PTI with its locality regularisation: what lies around the pivot is drawn as it was before."""

    is_random = True
    locality = Locality()
