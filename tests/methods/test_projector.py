"""StyleGAN2's projector, held against the paper's formulas."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from restyle_cli.generators.patching import noise_maps
from restyle_cli.generators.stylegan2 import StyleGAN2
from restyle_cli.inversion import State, invert, iterate
from restyle_cli.methods.optimize import steps_made
from restyle_cli.methods.projector import (
    Projector,
    PTIPivot,
    learning_rate_ramp,
    noise_regularization,
    normalize_noise,
)
from restyle_cli.perceptual.structure import Structure


def projector(network: StyleGAN2 | None = None, steps: int = 40) -> Projector:
    return Projector("projector", network or tiny.noisy_generator(), Structure()).over(steps)


@pytest.fixture
def x() -> Tensor:
    network = tiny.noisy_generator()
    torch.manual_seed(3)
    w = network.w_plus(network.mapping(torch.randn(2, 8)))
    return torch.nn.functional.interpolate(network(w, noise="random"), (256, 256), mode="bilinear")


@pytest.mark.parametrize(
    ("t", "factor"),
    [
        (0.0, 0.0),
        (0.025, 0.5),
        (0.05, 1.0),
        (0.75, 1.0),
        (0.875, 0.5),
        (0.9375, 0.5 - 0.5 * math.cos(math.pi / 4)),
        (1.0, 0.0),
    ],
)
def test_the_learning_rate_rises_and_falls(t: float, factor: float) -> None:
    assert float(learning_rate_ramp(torch.tensor([t]))) == pytest.approx(factor, abs=1e-6)


def test_noise_regularization_by_hand() -> None:
    maps = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    for index, noise in enumerate(maps[:, 0].double().numpy()):
        half = 2 * noise.reshape(8, 2, 8, 2).mean(axis=(1, 3))
        expected = sum(
            (n * np.roll(n, 1, axis=axis)).mean() ** 2 for n in (noise, half) for axis in (0, 1)
        )  # 16 and 8 px, and no smaller
        assert float(noise_regularization(maps)[index]) == pytest.approx(expected, rel=1e-4)
    assert float(noise_regularization(torch.ones(1, 1, 4, 4))) == pytest.approx(2)  # one scale, each axis 1
    stripes = torch.tensor([1.0, -1.0]).repeat(8).expand(1, 1, 16, 16)
    assert float(noise_regularization(stripes)) == pytest.approx(2)  # down 1, across (-1)^2; averaged, nothing is left


def test_each_noise_map_is_normalized() -> None:
    noise = normalize_noise(3 + torch.tensor([1.0, 5.0]).view(2, 1, 1, 1) * torch.randn(2, 1, 8, 8))
    torch.testing.assert_close(noise.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(noise.square().mean(dim=(1, 2, 3)), torch.ones(2))
    assert torch.equal(normalize_noise(torch.zeros(2, 1, 8, 8)), torch.zeros(2, 1, 8, 8)), "not NaN"


def test_the_spread_of_w() -> None:
    one = projector()
    z = torch.randn(10_000, 8, generator=torch.Generator().manual_seed(123))
    w = one.generator.mapping(z).double().numpy()
    expected = math.sqrt(((w - w.mean(axis=0)) ** 2).sum() / 10_000)
    assert float(one.w_std(torch.device("cpu"))) == pytest.approx(expected, rel=1e-4)


def test_the_noise_on_w_fades(x: Tensor) -> None:
    one = projector(steps=400)
    size = {k: float(one.w_noise(torch.full((1,), k)).norm()) for k in (0, 100, 200, 299, 300, 350)}
    root = math.sqrt(tiny.W_DIM)
    assert 0.5 < size[0] / (0.05 * root * float(one.w_std(torch.device("cpu")))) < 1.6
    sigma = float(one.w_std(torch.device("cpu")))
    ratios = [
        size[k] / sigma / float(torch.randn(tiny.W_DIM, generator=torch.Generator().manual_seed(k)).norm())
        for k in size
    ]
    expected = [0.05 * max(0.0, 1 - k / 300) ** 2 for k in size]
    assert ratios == pytest.approx(expected, abs=1e-8)


def test_one_w_and_noise_maps_as_changes(x: Tensor) -> None:
    one = projector()
    *_, state = iterate(x, [one] * 4)
    assert torch.equal(state.w, state.w[:, :1].expand_as(state.w))
    stored = noise_maps(one.generator)
    assert set(state.patch) == set(stored)
    for name, change in state.patch.items():
        assert change.dtype == torch.float16
        noise = stored[name] + change.float()
        torch.testing.assert_close(noise.square().mean(dim=(1, 2, 3)), torch.ones(2), rtol=3e-3, atol=0)  # rounded
        torch.testing.assert_close(noise.mean(dim=(1, 2, 3)), torch.zeros(2), rtol=0, atol=1e-3)
    torch.testing.assert_close(state.image, one.generator(state.w, patch=state.patch))
    moved = [float((stored[n] + state.patch[n].float() - normalize_noise(stored[n])).abs().max()) for n in stored]
    assert min(moved) > 0.05
    assert not torch.equal(state.patch["noise_6"][0], state.patch["noise_6"][1])  # each image has its own
    assert steps_made(state).tolist() == [4, 4]


def test_it_finds_images_and_noise_stays_uncorrelated(x: Tensor) -> None:
    one = projector(steps=60)
    result = invert(x, one, 60)
    assert (result.steps[60].l2 < 0.5 * result.steps[0].l2).all()
    largest = max(noise_maps(one.generator), key=lambda name: noise_maps(one.generator)[name].numel())
    noise = noise_maps(one.generator)[largest] + result.patch[largest].float()
    assert float(noise_regularization(noise).max()) < 1e-2


def test_a_generator_without_noise_maps(x: Tensor) -> None:
    network = tiny.generator()
    network.w_avg.copy_(network.w_avg[:1].expand_as(network.w_avg))
    result = invert(x, projector(network, 20), 20)
    assert not result.patch
    assert (result.steps[20].l2 < result.steps[0].l2).all()


def test_the_schedule_extends_over_the_steps(x: Tensor) -> None:
    laid = Projector("projector", tiny.noisy_generator(), Structure())
    assert laid.steps == 1000
    assert laid.over(10).steps == 10
    assert laid.steps == 1000
    seen = []
    invert(x[:1], laid, 4, on_step=lambda k, state, l2: seen.append(state.w[0, 0]))
    moved = [float((b - a).abs().max()) for a, b in pairwise(seen)]
    assert moved[0] == pytest.approx(0, abs=1e-6)  # the rate rises from 0
    assert moved[1] == pytest.approx(0.1, rel=0.5)


def test_in_a_chain_it_starts_from_the_mean_of_the_layers(x: Tensor) -> None:
    one = projector(steps=100)
    w = one.generator.start(2) + torch.randn(2, 8, tiny.W_DIM)
    state = one.step(x, State(w, one.generator(w)))  # at the first step the rate is 0
    torch.testing.assert_close(state.w[:, 0], w.mean(dim=1))


# --- PTI's pivot


def pivot(network: StyleGAN2 | None = None, steps: int = 40) -> PTIPivot:
    return PTIPivot("pti-pivot", network or tiny.noisy_generator(), Structure()).over(steps)


def test_the_pivot_starts_from_the_published_mean_of_600_latents(x: Tensor) -> None:
    one = pivot()
    z = np.random.RandomState(123).randn(600, 8)
    w = one.generator.mapping(torch.from_numpy(z).float())
    state = one.start(x)
    torch.testing.assert_close(state.w, w.mean(dim=0).expand(2, 8, -1))
    torch.testing.assert_close(state.image[:1], one.generator(state.w[:1]))
    expected = (w - w.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    torch.testing.assert_close(one.w_std(torch.device("cpu")), expected)


def test_the_pivot_has_the_settings_of_the_published_code() -> None:
    assert (PTIPivot.default_steps, PTIPivot.adam.rate, PTIPivot.needs_start) == (450, 0.01, False)
    noise = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    half = noise[0, 0].reshape(8, 2, 8, 2).mean(dim=(1, 3)).numpy()
    expected = sum((n * np.roll(n, 1, axis=a)).mean() ** 2 for n in (noise[0, 0].numpy(), half) for a in (0, 1))
    assert float(noise_regularization(noise, PTIPivot.noise_gain)) == pytest.approx(expected, rel=1e-4)


def test_the_noise_of_the_pivot_is_discarded(x: Tensor) -> None:
    result = invert(x, pivot(steps=30), 30, keep_w=True)
    assert not result.patch
    torch.testing.assert_close(result.images, tiny.noisy_generator()(result.w))
    assert torch.equal(result.w, result.w[:, :1].expand_as(result.w))
    assert (result.steps[30].l2 < result.steps[0].l2).all()
    moved = (result.w_steps[:, 12, 0] - result.w_steps[:, 11, 0]).abs().max()
    assert 0.002 < float(moved) < 0.02, "a step of Adam at a rate of 0.01"


def test_another_seed_gives_other_noise(x: Tensor) -> None:
    for kind in (projector, pivot):
        latents = {}
        for seed in (0, 0, 1):
            one = kind(steps=6)
            one.seed = seed
            found = invert(x[:1], one, 6, keep="last").w
            assert torch.equal(latents.setdefault(seed, found), found)
        assert not torch.equal(latents[0], latents[1])
