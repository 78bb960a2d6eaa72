"""StyleGAN2's projector (Karras et al. 2020, section 5 and appendix D), and PTI's version of it."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restyle_cli.generators.base import StyleGenerator
from restyle_cli.generators.patching import noise_maps
from restyle_cli.inversion import State
from restyle_cli.methods.optimize import Adam, Optimization, as_leaves, gradients_of, random_numbers, steps_made
from restyle_cli.perceptual import Perceptual

W_SAMPLES, PIVOT_W_SAMPLES, SEED = 10_000, 600, 123
"""Random latents from which the standard deviation of W is computed; for `PTIPivot` also the mean."""
W_NOISE, W_NOISE_END = 0.05, 0.75
"""Noise added to w at first, in standard deviations of W, and the share of the steps after which there is none."""
RAMP_UP, RAMP_DOWN = 0.05, 0.25
"""Shares of the steps in which the learning rate rises and falls."""
NOISE_REGULARIZATION = 1e5
"""Weight of the regularization of the noise maps."""
SMALLEST = 8
"""Side in px of the smallest scale at which a noise map is regularized."""


class Projector(Optimization):
    """Optimizes one w for all layers and the noise maps, from the average latent.

    The loss is LPIPS (VGG-16) of images resized to 256 px by area averaging, as in the published code. Noise is added
    to w for the loss: 0.05 sigma t^2, where t falls from 1 to 0 over the first three quarters of the steps and sigma is
    the standard deviation of W. The learning rate rises to 0.1 over the first 5 % of the steps and falls to 0, as a
    cosine, over the last 25 %. Noise maps are regularized against spatial correlation, and normalized after each step.
    """

    own_perceptual = "lpips-vgg"
    perceptual_side: ClassVar[int | None] = 256
    is_random = True
    has_schedule = True
    adam: ClassVar[Adam] = Adam(rate=0.1)
    noise_gain: ClassVar[float] = 2.0  # of a noise map when it is downsampled; 2 keeps the variance at 1

    def __init__(self, name: str, generator: StyleGenerator, perceptual: Perceptual) -> None:
        super().__init__(name, generator, perceptual)
        self._w_std: Tensor | None = None

    def step(self, x: Tensor, state: State) -> State:
        """One step of Adam on w and the noise maps. If the layers have different latents, it starts from their mean."""
        target, stored, made = self.comparison(x, state), noise_maps(self.generator), steps_made(state)
        if state.memory.get("count") is None:
            noises = {name: noise.expand(len(x), -1, -1, -1) for name, noise in self.first_noises(state).items()}
        else:
            noises = {name: state.memory[f"noise.{name}"] for name in stored}
        values = {"w": state.w.mean(dim=1), **noises}
        leaves = as_leaves(values)
        with torch.enable_grad():
            w = self.generator.w_plus(leaves["w"] + self.w_noise(made))
            patch = {**state.patch, **{name: leaves[name] - stored[name] for name in stored}}
            loss = target.perceptual_distance(self.generator(w, patch=patch))
            for name in stored:
                loss = loss + NOISE_REGULARIZATION * noise_regularization(leaves[name], self.noise_gain)
            gradients = gradients_of(loss, leaves)
        values, memory = self.adam.step(values, gradients, state.memory, learning_rate_ramp(made / self.steps))
        noises = {name: normalize_noise(values[name]) for name in stored}
        memory |= {f"noise.{name}": noise for name, noise in noises.items()}
        w = self.generator.w_plus(values["w"])
        patch = {**state.patch, **self.noise_changes(noises)}
        return State(w, self.generator(w, patch=patch).float(), patch, memory)

    def noise_changes(self, noises: dict[str, Tensor]) -> dict[str, Tensor]:
        """The patch that turns the generator's noise maps into these, rounded to fp16 as files store it."""
        stored = noise_maps(self.generator)
        return {name: (noise - stored[name]).half() for name, noise in noises.items()}

    def first_noises(self, state: State) -> dict[str, Tensor]:
        """The noise maps before the first step, [N or 1, 1, h, w]: those of the previous method."""
        changes = {name: state.patch[name].float() for name in noise_maps(self.generator) if name in state.patch}
        return {name: noise + changes.get(name, 0) for name, noise in noise_maps(self.generator).items()}

    def sample_z(self) -> Tensor:
        """The random z [W_SAMPLES, z_dim] that give the standard deviation of W."""
        return torch.randn(W_SAMPLES, self.generator.config.z_dim, generator=torch.Generator().manual_seed(SEED))

    def w_std(self, device: torch.device) -> Tensor:
        """sigma: the root of the mean squared distance between random w and their mean."""
        if self._w_std is None or self._w_std.device != device:
            with torch.no_grad():
                w = self.generator.mapping(self.sample_z().to(device)).float()
            self._w_std = (w - w.mean(dim=0)).square().sum(dim=-1).mean().sqrt()
        return self._w_std

    def w_noise(self, made: Tensor) -> Tensor:
        """The noise [N, w_dim] for images with `made` [N] steps behind them; it does not depend on the batch."""
        size = W_NOISE * (1 - made / self.steps / W_NOISE_END).clamp(min=0).square()
        width = self.generator.config.w_dim
        noise = torch.stack([torch.randn(width, generator=random_numbers(self.seed, step)) for step in made.tolist()])
        return size[:, None] * noise.to(size) * self.w_std(made.device)


class PTIPivot(Projector):
    """The projector as the published code of PTI (Roich et al. 2021) uses it to find pivots.

    450 steps with a learning rate of 0.01, from the mean of 600 latents. The noise maps start as new random noise and
    are discarded: the image is rendered with the generator's own.
    """

    default_steps = 450
    adam = Adam(rate=0.01)
    noise_gain = 1.0  # the published code has no factor

    def first_w(self) -> Tensor:
        """The mean latent [1, L, w_dim]."""
        z = self.sample_z().to(self.generator.w_avg.device)
        return self.generator.w_plus(self.generator.mapping(z).float().mean(dim=0, keepdim=True))

    def noise_changes(self, noises: dict[str, Tensor]) -> dict[str, Tensor]:
        """None: the noise maps are discarded."""
        return {}

    def first_noises(self, state: State) -> dict[str, Tensor]:
        """New noise, the same for every image."""
        random = random_numbers(self.seed, SEED)
        stored = noise_maps(self.generator)
        return {name: torch.randn(noise.shape, generator=random).to(noise) for name, noise in stored.items()}

    def sample_z(self) -> Tensor:
        """The random z [600, z_dim] of the published code, which are NumPy's."""
        z = np.random.RandomState(SEED).randn(PIVOT_W_SAMPLES, self.generator.config.z_dim)
        return torch.from_numpy(z).float()


def learning_rate_ramp(t: Tensor) -> Tensor:
    """The factor of the learning rate, [N], after the share t [N] of the steps."""
    down = ((1 - t) / RAMP_DOWN).clamp(max=1)
    return (0.5 - 0.5 * torch.cos(down * math.pi)) * (t / RAMP_UP).clamp(max=1)


def noise_regularization(noise: Tensor, gain: float = 2.0) -> Tensor:
    """Squared correlation of noise maps [N, 1, h, w] with themselves shifted by a pixel, summed over all scales: [N].

    `gain`: factor of a map when it is downsampled.
    """
    total = noise.new_zeros(len(noise))
    while True:
        for axis in (2, 3):
            total = total + (noise * noise.roll(1, dims=axis)).mean(dim=(1, 2, 3)).square()
        if min(noise.shape[-2:]) <= SMALLEST:
            return total
        noise = gain * F.avg_pool2d(noise, 2)


def normalize_noise(noise: Tensor) -> Tensor:
    """Each map of [N, 1, h, w] with mean 0 and variance 1; a constant one becomes 0."""
    noise = noise - noise.mean(dim=(1, 2, 3), keepdim=True)
    variance = noise.square().mean(dim=(1, 2, 3), keepdim=True)
    return noise * variance.clamp(min=torch.finfo(noise.dtype).tiny).rsqrt()
