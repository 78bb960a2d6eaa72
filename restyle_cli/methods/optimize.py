"""What methods share that find a code by descending the gradient of a loss: one step is one step of Adam.

Adam (Kingma and Ba 2015) is written as a function: its moments and counts travel in `State.memory`, one for each
picture, so that a picture's course does not depend on the batch it is in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from restyle_cli.images import fit
from restyle_cli.inversion import MASK, TARGET, Method, State, mean_square
from restyle_cli.methods.encoder import target_size

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
        return image.detach(), gradients_of(loss, leaves)


def gradients_of(loss: Tensor, leaves: Values) -> dict[str, Tensor]:
    """The gradients of the `loss` [N] for `leaves`, by name; zero for what it does not depend on."""
    found = torch.autograd.grad(loss.sum(), list(leaves.values()), allow_unused=True)
    pairs = zip(leaves.items(), found, strict=True)
    return {name: torch.zeros_like(leaf) if slope is None else slope for (name, leaf), slope in pairs}


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


def full_size(methods: Sequence[Method]) -> tuple[int, int] | None:
    """The (height, width) in which `methods` want the photo beside the size of the first: the generator's, if larger.

    None where none of them compares images at more than that.
    """
    sizes = [method.generator.size for method in methods if getattr(method, "compares", False)]
    largest = max(sizes, default=(0, 0))
    return largest if largest > methods[0].size else None


def random_of(seed: int, step: int) -> torch.Generator:
    """The random numbers of a method's step, the same for every picture of a batch; others for another seed."""
    return torch.Generator().manual_seed(seed * 2**20 + step)


class Optimisation:
    """A method without an encoder: alone it begins at the generator's average, in a chain at the code before.

    Subclasses say what a step is. `key` begins the names of what they remember.
    """

    needs_encoder = False
    takes_mask = True
    needs_start = False
    compares = True
    keeps_last = False
    own_perceptual: ClassVar[str] = "lpips-alex"
    """The network of the catalog that the original compares by; another that stands in for it is announced."""
    perceptual_side: ClassVar[int | None] = None
    """The longer side at which the original compares images by that network; None: the generator's full size."""
    is_random: ClassVar[bool] = False
    """Whether a step uses random numbers, which are then those of `seed`."""
    default_steps = 1000
    max_steps = 10_000
    seed = 0
    key: str

    def __init__(self, name: str, generator: nn.Module, perceptual: Perceptual) -> None:
        """`generator`: codes [N, L, 512] and patch -> [N, 3, H, W]; `perceptual` compares pictures."""
        self.name = name
        self.generator = generator
        self.perceptual = perceptual
        self.size = target_size(generator)
        self._average: Tensor | None = None
        self._target: _Target | None = None

    def start(self, x: Tensor) -> State:
        """The average code and its image, which is drawn once and serves every picture."""
        if self._average is None or self._average.device != x.device:
            with torch.no_grad():
                self._average = self.generator(self.generator.start(1)).float()
        return State(self.generator.start(len(x)), self._average.expand(len(x), -1, -1, -1))

    def differences(self, x: Tensor, image: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """How far `image` is from x: by perceptual distance, [N], and by the mean square of pixels, [N]."""
        return self.perceptual_distance(x, image, mask), self.pixel_distance(x, image, mask)

    def perceptual_distance(self, x: Tensor, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """[N], at the size where the original looks, in fp32 in whatever format the generator computes.

        `mask` [N, 1, H, W]: how much each pixel counts. Perceptual distances are quadratic in small differences, so
        images are multiplied by the root of the mask.
        """
        with torch.autocast(x.device.type, enabled=False):
            size, weight, features = self._target_of(x, mask).seen
            image = fit(image.float(), size)
            return self.perceptual.distances(
                self.perceptual.features(image if weight is None else weight * image), features
            )

    def pixel_distance(self, x: Tensor, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """[N], the mean square at the generator's full size, where each pixel weighs what `mask` says."""
        with torch.autocast(x.device.type, enabled=False):
            target, weight = self._target_of(x, mask).pixels
            return mean_square(fit(image.float(), (target.shape[-2], target.shape[-1])), target, weight)

    def target_and_mask(self, x: Tensor, state: State) -> tuple[Tensor, Tensor | None]:
        """What `state` is compared with: x, at full size where that is given, and the mask, if there is one."""
        return state.memory.get(TARGET, x), state.memory.get(MASK)

    def drawn(self, w: Tensor, patch: Mapping[str, Tensor], memory: Mapping[str, Tensor]) -> State:
        """The state of the code w [N, L, 512], drawn with `patch`."""
        return State(w, self.generator(w, patch=patch).float(), patch, memory)

    def _target_of(self, x: Tensor, mask: Tensor | None) -> _Target:
        """Prepared once, not at each step."""
        if self._target is None or self._target.x is not x or self._target.mask is not mask:
            self._target = _Target(x, mask, self.generator.size, self.perceptual_side, self.perceptual)
        return self._target


@dataclass(eq=False)
class _Target:
    """Pictures to compare with, at the sizes where they are compared; never larger than they are themselves."""

    x: Tensor  # [N, 3, H, W]
    mask: Tensor | None  # [N, 1, H, W]
    full: tuple[int, int]
    perceptual_side: int | None
    perceptual: Perceptual

    @cached_property
    def pixels(self) -> tuple[Tensor, Tensor | None]:
        """The pictures, and how much each of their pixels counts."""
        return self._at(None)

    @cached_property
    def seen(self) -> tuple[tuple[int, int], Tensor | None, list[Tensor]]:
        """The size, the factor of every pixel, and what the perceptual network sees of the pictures."""
        picture, mask = self._at(self.perceptual_side)
        weight = None if mask is None else mask.sqrt()
        with torch.no_grad():
            features = self.perceptual.features(picture if weight is None else weight * picture)
        return (picture.shape[-2], picture.shape[-1]), weight, features

    def _at(self, side: int | None) -> tuple[Tensor, Tensor | None]:
        longer = max(self.full)
        scale = min(longer, max(self.x.shape[-2:]), side or longer) / longer
        size = (round(self.full[0] * scale), round(self.full[1] * scale))
        return fit(self.x.float(), size), None if self.mask is None else fit(self.mask.float(), size)
