"""What methods share that find a code by descending the gradient of a loss: one step is one step of Adam.

Adam (Kingma and Ba 2015) is written as a function: its moments and counts travel in `State.memory`, one for each
picture, so that a picture's course does not depend on the batch it is in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from restyle_cli.images import fit
from restyle_cli.inversion import State, mean_square
from restyle_cli.methods.restyle import target_size

Values = Mapping[str, Tensor]
"""What is optimised, by name, [N, ...] each."""


class Perceptual(Protocol):
    """How differently pictures look: LPIPS, or what stands in for it. `name` says which, for people to read."""

    name: str

    def features(self, x: Tensor) -> list[Tensor]:
        """What is compared of pictures [N, 3, H, W] in [-1, 1]."""

    def distances(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        """The features of two pictures -> distances [N]."""


@dataclass(frozen=True)
class Adam:
    """The settings of Adam; `rate` is the step's length."""

    rate: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8


def descend(
    values: Values,
    loss: Callable[[dict[str, Tensor]], Tensor],
    memory: Mapping[str, Tensor],
    adam: Adam,
    key: str,
    ramp: Tensor | None = None,  # [N], factors on the rate
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """`values` after one step of Adam down `loss` (values -> [N], each picture's own), and `memory` after it.

    `key` begins the names of what is remembered. Gradients are switched on in here, whatever the caller's mode.
    """

    def look(leaves: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        found = loss(leaves)
        return found, found

    return adam_step(values, _gradients(values, look)[1], memory, adam, key, ramp)


def descend_and_draw(
    values: Values,
    look: Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]],
    memory: Mapping[str, Tensor],
    adam: Adam,
    key: str,
) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """As `descend`, where `look` gives a picture [N, 3, H, W] beside the loss [N]: the new values, theirs, the memory.

    The picture that is shown is also the one whose gradients the next step follows, so each step draws once.
    """
    names = {name: f"{key}.{name}.gradient" for name in values}
    gradients = {name: memory[kept] for name, kept in names.items() if kept in memory}
    if len(gradients) < len(names):
        _, gradients = _gradients(values, look)
    others = {name: kept for name, kept in memory.items() if name not in names.values()}
    values, memory = adam_step(values, gradients, others, adam, key)
    image, gradients = _gradients(values, look)
    return values, image, memory | {names[name]: gradient for name, gradient in gradients.items()}


def _gradients(
    values: Values, look: Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]]
) -> tuple[Tensor, dict[str, Tensor]]:
    leaves = {name: value.detach().clone().requires_grad_(True) for name, value in values.items()}
    with torch.enable_grad():
        image, loss = look(leaves)
        found = torch.autograd.grad(loss.sum(), list(leaves.values()))
    return image.detach(), dict(zip(leaves, found, strict=True))


def adam_step(
    values: Values,
    gradients: Values,
    memory: Mapping[str, Tensor],
    adam: Adam,
    key: str,
    ramp: Tensor | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """As `descend`, for gradients that are known already."""
    n, device = len(next(iter(values.values()))), next(iter(values.values())).device
    count = steps_made(memory, key, n, device) + 1
    remembered = {**memory, f"{key}.count": count}
    rate = adam.rate if ramp is None else adam.rate * ramp
    # Moments begin at 0 and are too small at first, by 1 - beta^count: written so, it is exact in single precision.
    shrunk = [-torch.expm1(count * math.log(beta)) for beta in adam.betas]
    factor, norm = rate / shrunk[0], shrunk[1].sqrt()
    moved = {}
    for name, value in values.items():
        gradient, shape = gradients[name].detach(), (-1, *[1] * (value.dim() - 1))
        first = memory.get(f"{key}.{name}.first", torch.zeros_like(gradient))
        second = memory.get(f"{key}.{name}.second", torch.zeros_like(gradient))
        first = first + (1 - adam.betas[0]) * (gradient - first)
        second = second + (1 - adam.betas[1]) * (gradient.square() - second)
        moved[name] = value - factor.view(shape) * first / (second.sqrt() / norm.view(shape) + adam.epsilon)
        remembered |= {f"{key}.{name}.first": first, f"{key}.{name}.second": second}
    return moved, remembered


def steps_made(memory: Mapping[str, Tensor], key: str, n: int, device: torch.device | str) -> Tensor:
    """How many steps each of n pictures has behind it, [n]."""
    return memory.get(f"{key}.count", torch.zeros(n, dtype=torch.long, device=device))


class Optimisation:
    """A method without an encoder: alone it begins at the generator's average, in a chain at the code before.

    Subclasses say what a step is. `key` begins the names of what they remember.
    """

    needs_encoder = False
    takes_mask = True
    needs_start = False
    compares = True
    keeps_last = False
    own_perceptual: str | None = None  # the network of the catalog that the paper compares by, if another than LPIPS
    default_steps = 1000
    max_steps = 10_000
    key: str

    def __init__(self, name: str, generator: nn.Module, perceptual: Perceptual) -> None:
        """`generator`: codes [N, L, 512] and patch -> [N, 3, H, W]; `perceptual` compares pictures."""
        self.name = name
        self.generator = generator
        self.perceptual = perceptual
        self.size = target_size(generator)
        height, width = generator.size
        self.compared = (min(height, self.size[0]), min(width, self.size[1]))
        self._average: Tensor | None = None
        self._target: tuple[Tensor, Tensor, list[Tensor]] | None = None

    def start(self, x: Tensor) -> State:
        """The average code and its image, which is drawn once and serves every picture."""
        if self._average is None or self._average.device != x.device:
            with torch.no_grad():
                self._average = self.generator(self.generator.start(1)).float()
        return State(self.generator.start(len(x)), self._average.expand(len(x), -1, -1, -1))

    def differences(self, x: Tensor, image: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """How far `image` is from x: by perceptual distance, [N], and by the mean square of pixels, [N].

        At the smaller of both sizes, in fp32 in whatever format the generator computes. Of `mask` [N, 1, H, W] only
        what is white is seen.
        """
        with torch.autocast(x.device.type, enabled=False):
            image = fit(image.float(), self.compared)
            if mask is None:
                target, features = self._look_at(x)
            else:
                mask = fit(mask.float(), self.compared)
                target, image = mask * fit(x.float(), self.compared), mask * image
                with torch.no_grad():
                    features = self.perceptual.features(target)
            pixels = mean_square(image, target, mask)
            return self.perceptual.distances(self.perceptual.features(image), features), pixels

    def _look_at(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Pictures and what is compared of them; looked at once, not at each step."""
        if self._target is None or self._target[0] is not x:
            target = fit(x.float(), self.compared)
            with torch.no_grad():
                self._target = (x, target, self.perceptual.features(target))
        _, target, features = self._target
        return target, features

    def drawn(self, w: Tensor, patch: Mapping[str, Tensor], memory: Mapping[str, Tensor]) -> State:
        """The state of the code w [N, L, 512], drawn with `patch`."""
        return State(w, self.generator(w, patch=patch).float(), patch, memory)
