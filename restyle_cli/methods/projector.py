"""StyleGAN2's projector (Karras et al. 2020, section 5 and appendix D): one vector for all layers (W), by Adam.

It begins at the average code. While it looks for the right place, noise is added to the vector whenever the loss is
measured, ever less of it: 0.05 sigma t^2, where t falls from 1 to 0 over the first three quarters of the steps, and
sigma^2 is the mean squared distance of codes from their average, over 10,000 of them. Adam's rate is 0.1; it rises from
0 over the first 5 % of the steps and falls to 0 again, as a cosine, over the last 25 %. The loss is a perceptual
distance alone: LPIPS (VGG-16) of images that are averaged over areas down to 256 px, as in the published code.

The noise maps are found together with the vector, where the generator has any. So that they do not become a second
picture, each map's correlation with itself, one pixel on, is driven to 0 at all scales down to 8 px, weighing 1e5, and
after every step each is brought back to zero mean and unit variance.

PTI (Roich et al. 2021) finds its pivots by the same projection with settings of its own: `PTIPivot`.
"""

from __future__ import annotations

import copy
import math
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.generators.patching import noise_maps
from restyle_cli.inversion import State
from restyle_cli.methods.optimize import Adam, Optimisation, Perceptual, descend, random_of, steps_made

SAMPLES, SEED = 10_000, 123
"""Random codes by which the spread of W is known."""
PIVOT_SAMPLES = 600
"""Of PTI's pivot."""
NOISE, NOISE_UNTIL = 0.05, 0.75
"""Noise on the vector at first, in spreads of W, and the part of the steps after which there is none."""
RISE, FALL = 0.05, 0.25
"""The parts of the steps in which the rate rises and falls."""
UNLIKE_ITSELF = 1e5
"""The weight of the noise maps' regularisation."""
SMALLEST = 8
"""Pixels of the smallest scale at which a noise map is regularised."""


class Projector(Optimisation):
    """W by Adam, and the noise maps with it; the generator stays."""

    own_perceptual: ClassVar[str] = "lpips-vgg"
    perceptual_side: ClassVar[int | None] = 256
    is_random = True
    default_steps = 1000
    key = "projector"
    adam = Adam(rate=0.1)
    noise_gain: ClassVar[float] = 2.0
    """Of a noise map when it is halved: the paper's keeps the variance at 1."""

    def __init__(self, name: str, generator: nn.Module, perceptual: Perceptual) -> None:
        super().__init__(name, generator, perceptual)
        self.steps = self.default_steps
        self._spread: Tensor | None = None

    def over(self, steps: int) -> Projector:
        """The same method, its ramps laid out over `steps`."""
        laid = copy.copy(self)
        laid.steps = steps
        return laid

    def step(self, x: Tensor, state: State) -> State:
        """Vector and noise maps one step down the loss; a code of several vectors becomes their mean."""
        stored = noise_maps(self.generator)
        made = steps_made(state.memory, self.key, len(x), x.device)
        shift = self._shift(made) * self.spread(x.device)
        target, mask = self.target_and_mask(x, state)

        def loss(values: dict[str, Tensor]) -> Tensor:
            patch = {**state.patch, **{name: values[name] - stored[name] for name in stored}}
            image = self.generator(self.generator.w_plus(values["w"] + shift), patch=patch)
            perceptual = self.perceptual_distance(target, image, mask)
            return perceptual + UNLIKE_ITSELF * sum(self_likeness(values[name], self.noise_gain) for name in stored)

        values = {"w": state.w.mean(dim=1), **self._noises(state, stored)}
        values, memory = descend(values, loss, state.memory, self.adam, self.key, rate_ramp(made / self.steps))
        noises = {name: normalised(values[name]) for name in stored}
        memory |= {f"{self.key}.{name}": noise for name, noise in noises.items()}
        patch = {**state.patch, **self.noise_changes(noises, stored)}
        return self.drawn(self.generator.w_plus(values["w"]), patch, memory)

    def noise_changes(self, noises: dict[str, Tensor], stored: dict[str, Tensor]) -> dict[str, Tensor]:
        """How the result changes the generator's `stored` noise maps."""
        return {name: (noise - stored[name]).half() for name, noise in noises.items()}

    def first_noises(self, state: State, stored: dict[str, Tensor]) -> dict[str, Tensor]:
        """The noise maps before the first step, [N or 1, 1, h, w]."""
        zero = {name: noise.new_zeros(1) for name, noise in stored.items()}
        return {name: noise + state.patch.get(name, zero[name]).to(noise.dtype) for name, noise in stored.items()}

    def samples(self) -> Tensor:
        """The random z by which the spread of W is known."""
        return torch.randn(SAMPLES, self.generator.config.z_dim, generator=torch.Generator().manual_seed(SEED))

    def spread(self, device: torch.device) -> Tensor:
        """sigma: the root of the mean squared distance between random codes and their mean."""
        if self._spread is None or self._spread.device != device:
            with torch.no_grad():
                w = self.generator.mapping(self.samples().to(device)).float()
            self._spread = (w - w.mean(dim=0)).square().sum(dim=-1).mean().sqrt()
        return self._spread

    def _shift(self, made: Tensor) -> Tensor:
        """Noise for vectors with `made` [N] steps behind them, in spreads: [N, w_dim]; the same in any batch."""
        size = NOISE * (1 - made / self.steps / NOISE_UNTIL).clamp(min=0).square()
        width = self.generator.config.w_dim
        drawn = [torch.randn(width, generator=random_of(self.seed, k)) for k in made.tolist()]
        return size[:, None] * torch.stack(drawn).to(size)

    def _noises(self, state: State, stored: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each picture's own noise maps as they are now, in full precision: [N, 1, h, w]."""
        first, n = self.first_noises(state, stored), len(state.w)
        return {name: state.memory.get(f"{self.key}.{name}", first[name].expand(n, -1, -1, -1)) for name in stored}


class PTIPivot(Projector):
    """The pivot as PTI's published code finds it: the projector with a rate of 0.01, 450 steps, from a mean of its own.

    The mean and the spread of W are those of 600 codes. Noise maps begin as fresh noise, are moved with the vector and
    are then dropped: the pivot is one vector, drawn with the generator's own noise.
    """

    default_steps = 450
    key = "pti-pivot"
    adam = Adam(rate=0.01)
    noise_gain = 1.0  # the published code has no factor

    def __init__(self, name: str, generator: nn.Module, perceptual: Perceptual) -> None:
        super().__init__(name, generator, perceptual)
        self._mean: tuple[Tensor, Tensor] | None = None

    def start(self, x: Tensor) -> State:
        """The mean of 600 codes and its image."""
        if self._mean is None or self._mean[0].device != x.device:
            with torch.no_grad():
                mean = self.generator.mapping(self.samples().to(x.device)).float().mean(dim=0)
                w = mean[None] if mean.dim() == 2 else self.generator.w_plus(mean[None])
                self._mean = w, self.generator(w).float()
        w, image = self._mean
        return State(w.expand(len(x), -1, -1), image.expand(len(x), -1, -1, -1))

    def noise_changes(self, noises: dict[str, Tensor], stored: dict[str, Tensor]) -> dict[str, Tensor]:
        """None: the noise maps are dropped."""
        return {}

    def first_noises(self, state: State, stored: dict[str, Tensor]) -> dict[str, Tensor]:
        """Fresh noise, the same for every picture."""
        fresh = random_of(self.seed, SEED)
        return {name: torch.randn(noise.shape, generator=fresh).to(noise) for name, noise in stored.items()}

    def samples(self) -> Tensor:
        """NumPy's random z of the published code, 600 of them."""
        z = np.random.RandomState(SEED).randn(PIVOT_SAMPLES, self.generator.config.z_dim)
        return torch.from_numpy(z).float()


def rate_ramp(
    t: Tensor,  # [N], the part of the steps that is behind
) -> Tensor:
    """What Adam's rate is multiplied by, [N]."""
    fall = ((1 - t) / FALL).clamp(max=1)
    return (0.5 - 0.5 * torch.cos(fall * math.pi)) * (t / RISE).clamp(max=1)


def self_likeness(
    noise: Tensor,  # [N, 1, h, w]
    gain: float = 2.0,  # of each halving
) -> Tensor:
    """How much each map is like itself one pixel on, down and across, round its edges, at all scales: [N]."""
    total = noise.new_zeros(len(noise))
    while True:
        for axis in (2, 3):
            total = total + (noise * noise.roll(1, dims=axis)).mean(dim=(1, 2, 3)).square()
        if min(noise.shape[-2:]) <= SMALLEST:
            return total
        noise = gain * F.avg_pool2d(noise, 2)


def normalised(noise: Tensor) -> Tensor:
    """Each map of [N, 1, h, w] with zero mean and unit variance; one that is the same everywhere becomes zero."""
    noise = noise - noise.mean(dim=(1, 2, 3), keepdim=True)
    variance = noise.square().mean(dim=(1, 2, 3), keepdim=True)
    return noise * variance.clamp(min=torch.finfo(noise.dtype).tiny).rsqrt()
