"""Ways to make ReStyle's steps fewer and bigger, as methods of the one loop; `study.py` measures them.

They stay out of the package: none is worth a name there (docs/fewer-steps.md).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from restyle_cli.inversion import State, l2
from restyle_cli.methods.encoder import ReStyle

SEEN = 32
"""Side in px at which errors of pictures are compared: what moves L2 is mostly larger than a pixel."""
TINY = 1e-12


class Anderson(ReStyle):
    """ReStyle with Anderson's acceleration (1965; the form of Walker and Ni 2011), for each picture by itself.

    ReStyle looks for a code that g(w) = w + E(x ‖ G(w)) leaves where it is. From the corrections f = g(w) - w at the
    last m + 1 codes, next is w + b f - (dW + b dF) c: dW and dF hold the differences of successive codes and
    corrections, and c minimises |f - dF c|², with a ridge.
    """

    def __init__(
        self,
        method: ReStyle,
        window: int,  # m, differences that are kept
        damping: float = 1.0,  # b, the part of a mixed correction that is made; the first step is plain
        ridge: float = 0.01,  # as a share of each difference's own square
        guarded: bool = False,  # where a step has raised the L2, what was before it is forgotten
        by_pictures: bool = False,  # c minimises what remains of the error of pictures, not of the corrections
    ) -> None:
        super().__init__(f"anderson-{window}", method.encoder, method.generator)
        self.window, self.damping, self.ridge = window, damping, ridge
        self.guarded, self.by_pictures = guarded, by_pictures

    def step(self, x: Tensor, state: State) -> State:
        """The mixed step; plain ReStyle's as long as there is nothing to mix it with."""
        pair = self._pair(x, state)
        correction = self.encoder(pair)
        seen = torch.nn.functional.adaptive_avg_pool2d(pair[:, :3] - pair[:, 3:], SEEN)
        now = {"w": state.w, "f": correction, "error": seen, "l2": l2(x, state.image), "kept": x.new_ones(len(x))}
        held = self._history(state, now)
        change = correction
        if held["w"].shape[1] > 1:
            valid = held["kept"][:, :-1, None]
            of_w, of_f, of_error = (valid * held[key].diff(dim=1).flatten(2) for key in ("w", "f", "error"))
            last = (seen if self.by_pictures else correction).flatten(1)
            c = least_squares(of_error if self.by_pictures else of_f, last, self.ridge)
            mixed = torch.einsum("nkd,nk->nd", of_w + self.damping * of_f, c)
            change = self.damping * correction - mixed.view_as(correction)
        memory = {f"anderson.{key}": values[:, -self.window :] for key, values in held.items()}
        return replace(self._generate(state.w + change, state.patch), memory=memory)

    def _history(self, state: State, now: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is remembered and what is `now`, [N, k, ...] each, the newest last."""
        before = {key: state.memory.get(f"anderson.{key}") for key in now}
        held = {
            key: values[:, None] if (old := before[key]) is None else torch.cat([old, values[:, None]], dim=1)
            for key, values in now.items()
        }
        if self.guarded and held["l2"].shape[1] > 1:
            fell = (held["l2"][:, -1:] <= held["l2"][:, -2:-1]).float()
            held["kept"] = torch.cat([held["kept"][:, :-1] * fell, held["kept"][:, -1:]], dim=1)
        return held


def least_squares(rows: Tensor, target: Tensor, ridge: float) -> Tensor:
    """c [N, k] that minimises |target - c rows|² + r Σ c²|row|², for rows [N, k, d] and targets [N, d].

    So the ridge r weighs on long and short rows alike. A row of zeros gets none.
    """
    gram = rows @ rows.mT
    damped = gram + torch.diag_embed(ridge * gram.diagonal(dim1=1, dim2=2) + TINY)
    return torch.linalg.solve(damped, rows @ target[:, :, None])[..., 0]


class Stretched(ReStyle):
    """ReStyle whose corrections are made `lengths` [S, L] times: step by step and layer by layer."""

    def __init__(self, method: ReStyle, lengths: Tensor) -> None:
        super().__init__("stretched", method.encoder, method.generator)
        self.lengths = lengths

    def step(self, x: Tensor, state: State) -> State:
        """w + a E(x ‖ y); after S steps the last lengths stay."""
        made = state.memory.get("stretched.made", torch.zeros(len(x), dtype=torch.long))
        length = self.lengths[made.clamp(max=len(self.lengths) - 1)]
        drawn = self._generate(state.w + length[:, :, None] * self.encoder(self._pair(x, state)), state.patch)
        return replace(drawn, memory={"stretched.made": made + 1})


def fit_lengths(method: ReStyle, x: Tensor, steps: int, groups: int, rounds: int = 2, batch: int = 6) -> Tensor:
    """Lengths [steps, L] of least L2 of the pictures x after the last of the steps, by Adam through all of them.

    The layers are divided into so many `groups` of equal size, coarse to fine, that share a length.
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
