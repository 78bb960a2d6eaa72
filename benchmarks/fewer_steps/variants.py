"""Variants of ReStyle with fewer, bigger steps, measured by `study.py`. None is worth adding (docs/fewer-steps.md)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from restyle_cli.inversion import State, l2
from restyle_cli.methods.encoder import ReStyle

SEEN = 32
"""Side in px at which errors of images are compared: most of the L2 is larger than a pixel."""
TINY = 1e-12


class Anderson(ReStyle):
    """ReStyle with Anderson's acceleration (1965; the form of Walker and Ni 2011), for each image by itself.

    ReStyle seeks a fixed point of g(w) = w + E(x ‖ G(w)). With the corrections f = g(w) - w of the last m + 1 latents,
    the next latent is w + b f - (dW + b dF) c: dW and dF are the differences of successive latents and corrections, and
    c minimises |f - dF c|² with a ridge term.
    """

    def __init__(
        self,
        method: ReStyle,
        window: int,  # m, the number of differences
        damping: float = 1.0,  # b, the share of a mixed correction; the first step is plain
        ridge: float = 0.01,  # as a share of each difference's own square
        guarded: bool = False,  # discard the history before a step that raised the L2
        by_images: bool = False,  # c minimises the error of the image, not of the corrections
    ) -> None:
        super().__init__(f"anderson-{window}", method.encoder, method.generator)
        self.window, self.damping, self.ridge = window, damping, ridge
        self.guarded, self.by_images = guarded, by_images

    def step(self, x: Tensor, state: State) -> State:
        """The mixed step; a plain ReStyle step if there is no history."""
        pair = self._pair(x, state)
        correction = self.encoder(pair)
        seen = torch.nn.functional.adaptive_avg_pool2d(pair[:, :3] - pair[:, 3:], SEEN)
        now = {"w": state.w, "f": correction, "error": seen, "l2": l2(x, state.image), "kept": x.new_ones(len(x))}
        history = self._history(state, now)
        change = correction
        if history["w"].shape[1] > 1:
            valid = history["kept"][:, :-1, None]
            of_w, of_f, of_error = (valid * history[key].diff(dim=1).flatten(2) for key in ("w", "f", "error"))
            last = (seen if self.by_images else correction).flatten(1)
            c = least_squares(of_error if self.by_images else of_f, last, self.ridge)
            mixed = torch.einsum("nkd,nk->nd", of_w + self.damping * of_f, c)
            change = self.damping * correction - mixed.view_as(correction)
        memory = {f"anderson.{key}": values[:, -self.window :] for key, values in history.items()}
        return replace(self._generate(state.w + change, state.patch), memory=memory)

    def _history(self, state: State, now: dict[str, Tensor]) -> dict[str, Tensor]:
        """The history with `now` as the newest entry: [N, k, ...] each."""
        before = {key: state.memory.get(f"anderson.{key}") for key in now}
        history = {
            key: values[:, None] if (old := before[key]) is None else torch.cat([old, values[:, None]], dim=1)
            for key, values in now.items()
        }
        if self.guarded and history["l2"].shape[1] > 1:
            fell = (history["l2"][:, -1:] <= history["l2"][:, -2:-1]).float()
            history["kept"] = torch.cat([history["kept"][:, :-1] * fell, history["kept"][:, -1:]], dim=1)
        return history


def least_squares(rows: Tensor, target: Tensor, ridge: float) -> Tensor:
    """c [N, k] that minimises |target - c rows|² + r Σ c²|row|², for rows [N, k, d] and targets [N, d].

    The ridge r is relative to each row. A row of zeros has the coefficient 0.
    """
    gram = rows @ rows.mT
    damped = gram + torch.diag_embed(ridge * gram.diagonal(dim1=1, dim2=2) + TINY)
    return torch.linalg.solve(damped, rows @ target[:, :, None])[..., 0]


class Stretched(ReStyle):
    """ReStyle whose corrections are multiplied by `lengths` [S, L], by step and layer."""

    def __init__(self, method: ReStyle, lengths: Tensor) -> None:
        super().__init__("stretched", method.encoder, method.generator)
        self.lengths = lengths

    def step(self, x: Tensor, state: State) -> State:
        """w + a E(x ‖ y); after S steps the last lengths are used."""
        made = state.memory.get("stretched.made", torch.zeros(len(x), dtype=torch.long))
        length = self.lengths[made.clamp(max=len(self.lengths) - 1)]
        state = self._generate(state.w + length[:, :, None] * self.encoder(self._pair(x, state)), state.patch)
        return replace(state, memory={"stretched.made": made + 1})


def fit_lengths(method: ReStyle, x: Tensor, steps: int, groups: int, rounds: int = 2, batch: int = 6) -> Tensor:
    """Lengths [steps, L] that minimise the L2 of the images x after the last step, by Adam through all steps.

    The layers of each of `groups` groups, coarse to fine and of equal size, share a length.
    """
    lengths = torch.ones(steps, groups, requires_grad=True)
    optimiser = torch.optim.Adam([lengths], lr=0.08, betas=(0.8, 0.99))
    slowing = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, rounds * -(-len(x) // batch))
    each = method.generator.layers // groups
    for _ in range(rounds):
        for part in x.split(batch):
            stretched = Stretched(method, lengths.repeat_interleave(each, dim=1))
            state = stretched.start(part)
            for _ in range(steps):  # not `iterate`, which cuts the gradient between steps
                state = stretched.step(part, state)
            optimiser.zero_grad()
            (100 * l2(part, state.image).mean()).backward()
            optimiser.step()
            slowing.step()
    return lengths.detach().repeat_interleave(each, dim=1)
