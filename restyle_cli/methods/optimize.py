"""Base of the methods that optimize: Adam, the comparison with the target, and one step down a loss."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor

from restyle_cli.devices import without_autocast
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.images import fit
from restyle_cli.inversion import Method, State, mean_square
from restyle_cli.perceptual import Perceptual

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015) as a function: each image has its own moments and count, in `State.memory`.

    So the result of an image does not depend on the batch it is in.
    """

    rate: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def step(
        self, values: Tensors, gradients: Tensors, memory: Tensors, ramp: Tensor | float = 1.0
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """`values` [N, ...] after one step, and the memory of the next one: "count", "first.NAME", "second.NAME".

        `ramp`: factors of the learning rate, [N] or one for all.
        """
        some = next(iter(values.values()))
        count = memory.get("count", torch.zeros(len(some), dtype=torch.long, device=some.device)) + 1
        # 1 - beta^count, which corrects the bias of the moments; in this form it is exact in single precision.
        correction_first, correction_second = (-torch.expm1(count * math.log(beta)) for beta in self.betas)
        rate, norm = self.rate * ramp / correction_first, correction_second.sqrt()
        moved, remembered = {}, {"count": count}
        for name, value in values.items():
            gradient, shape = gradients[name].detach(), (-1, *[1] * (value.dim() - 1))
            first = memory.get(f"first.{name}", torch.zeros_like(gradient))
            second = memory.get(f"second.{name}", torch.zeros_like(gradient))
            first = first + (1 - self.betas[0]) * (gradient - first)
            second = second + (1 - self.betas[1]) * (gradient.square() - second)
            moved[name] = value - rate.view(shape) * first / (second.sqrt() / norm.view(shape) + self.epsilon)
            remembered |= {f"first.{name}": first, f"second.{name}": second}
        return moved, remembered


def steps_made(state: State) -> Tensor:
    """The number of steps of Adam behind each image, [N]."""
    return state.memory.get("count", torch.zeros(len(state.w), dtype=torch.long, device=state.w.device))


def gradients_of(loss: Tensor, leaves: Tensors) -> dict[str, Tensor]:
    """The gradients of `loss` [N] by name; zero for a leaf on which it does not depend."""
    found = torch.autograd.grad(loss.sum(), tuple(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def as_leaves(values: Tensors) -> dict[str, Tensor]:
    """The values in fp32, ready for gradients."""
    return {name: value.detach().float().requires_grad_(True) for name, value in values.items()}


def random_numbers(seed: int, step: int) -> torch.Generator:
    """The random numbers of a step: the same for every image of a batch, others for another seed."""
    return torch.Generator().manual_seed(seed * 2**20 + step)


class Comparison:
    """The target of a loss, prepared once: resized, with its perceptual features and the weights of its pixels.

    Images are compared at the size of the generator, or with `perceptual_side` px along the longer side by the
    perceptual network, but never at more than the size of the target. Losses are computed in fp32.
    """

    def __init__(
        self,
        x: Tensor,  # [N, 3, H, W] in [-1, 1]
        mask: Tensor | None,  # [N, 1, H, W], the weight of each pixel
        size: tuple[int, int],  # (height, width) of the generator
        perceptual: Perceptual,
        perceptual_side: int | None = None,
    ) -> None:
        self.x, self.mask, self.size = x, mask, size
        self.perceptual, self.perceptual_side = perceptual, perceptual_side

    def pixel_distance(self, image: Tensor) -> Tensor:
        """Mean square difference, weighted by the mask: [N]."""
        with without_autocast(image.device):
            target, weight = self._pixels
            return mean_square(fit(image.float(), (target.shape[-2], target.shape[-1])), target, weight)

    def perceptual_distance(self, image: Tensor) -> Tensor:
        """[N]. With a mask, both images are multiplied by its root: the distance is quadratic in differences."""
        with without_autocast(image.device):
            size, root, features = self._seen
            image = fit(image.float(), size)
            return self.perceptual.distances(
                self.perceptual.features(image if root is None else root * image), features
            )

    @cached_property
    def _pixels(self) -> tuple[Tensor, Tensor | None]:
        return self._resized(max(self.size))

    @cached_property
    def _seen(self) -> tuple[tuple[int, int], Tensor | None, list[Tensor]]:
        """The size of the images, the root of the mask and the features of the target."""
        target, mask = self._resized(self.perceptual_side or max(self.size))
        root = None if mask is None else mask.sqrt()
        with torch.no_grad():
            features = self.perceptual.features(target if root is None else root * target)
        return (target.shape[-2], target.shape[-1]), root, features

    def _resized(self, side: int) -> tuple[Tensor, Tensor | None]:
        """The target and the mask with at most `side` px along the longer side, in the shape of the generator."""
        height, width = self.size
        longer = max(self.size)
        scale = min(longer, max(self.x.shape[-2:]), side) / longer
        size = (round(height * scale), round(width * scale))
        return fit(self.x.float(), size), None if self.mask is None else fit(self.mask.float(), size)


class Optimization(Method):
    """Base of the methods that optimize. Without a previous method they start from the average latent."""

    compares = True
    takes_mask = True
    own_perceptual: ClassVar[str | None] = "lpips-alex"
    perceptual_side: ClassVar[int | None] = None  # see `Comparison`
    default_steps = 1000
    max_steps = 10_000

    def __init__(self, name: str, generator: StyleGenerator, perceptual: Perceptual) -> None:
        super().__init__(name, generator)
        self.perceptual = perceptual
        self.steps = self.default_steps  # over which a schedule extends
        self._comparison: Comparison | None = None

    def over(self, steps: int) -> Self:
        """The method with its schedule, if it has one, laid out over so many steps."""
        if not self.has_schedule:
            return self
        method = copy.copy(self)
        method.steps = steps
        return method

    def comparison(self, x: Tensor, state: State) -> Comparison:
        """The comparison with the target of `state`, or with x if it has no larger version; kept between steps."""
        x, mask = x if state.target.full is None else state.target.full, state.target.mask
        known = self._comparison
        if known is None or known.x is not x or known.mask is not mask:
            known = Comparison(x, mask, self.generator.size, self.perceptual, self.perceptual_side)
            self._comparison = known
        return known

    def descend(self, state: State, values: Tensors, loss: Callable[[State], Tensor], adam: Adam) -> State:
        """`state` after one step of Adam on `values`: "w", or changes of the generator by their names in a patch.

        `loss`: from a state, with the graph of its image, to [N]. Changes are rounded to fp16, as files store them;
        Adam continues from the exact ones, since small steps would be lost. The gradients at the new image serve the
        next step, so that a step renders once.
        """
        gradients = {name: state.memory[f"gradient.{name}"] for name in values if f"gradient.{name}" in state.memory}
        if not gradients:
            _, gradients = self._evaluate(state, values, loss)
        values, memory = adam.step(values, gradients, state.memory)
        w = values.get("w", state.w)
        rounded = {name: change.half() for name, change in values.items() if name != "w"}
        after = State(w, state.image, {**state.patch, **rounded}, memory)
        image, gradients = self._evaluate(after, {"w": w} if "w" in values else rounded, loss)
        memory |= {f"gradient.{name}": gradient for name, gradient in gradients.items()}
        memory |= {f"change.{name}": values[name] for name in rounded}
        return State(w, image, after.patch, memory)

    def _evaluate(
        self, state: State, values: Tensors, loss: Callable[[State], Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The image of `state` with `values`, and the gradients of its loss."""
        leaves = as_leaves(values)
        with torch.enable_grad():
            w = leaves.get("w", state.w)
            patch = {**state.patch, **{name: leaf for name, leaf in leaves.items() if name != "w"}}
            image = self.generator(w, patch=patch).float()
            gradients = gradients_of(loss(State(w, image, patch, state.memory)), leaves)
        return image.detach(), gradients


def exact_changes(state: State, tensors: Tensors) -> dict[str, Tensor]:
    """The changes of these tensors of the generator before they were rounded for the patch: [N, *shape] each."""
    changes = {}
    for name, tensor in tensors.items():
        change = state.memory.get(f"change.{name}", state.patch.get(name))
        changes[name] = tensor.new_zeros(len(state.w), *tensor.shape) if change is None else change.to(tensor.dtype)
    return changes
