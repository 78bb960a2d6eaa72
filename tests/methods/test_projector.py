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
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
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


def noisy() -> StyleGAN2:
    """The tiny generator with noise inputs that are seen."""
    torch.manual_seed(0)
    channels = {2**k: 8 for k in range(2, 6)}
    network = StyleGAN2(StyleGAN2Config(32, channels, z_dim=8, w_dim=tiny.W_DIM, mapping_layers=1, noise=True))
    network.w_avg.copy_(torch.randn(tiny.W_DIM).expand_as(network.w_avg))
    for conv in network.convs:
        torch.nn.init.constant_(conv.noise_strength, 0.3)
    return network.eval().requires_grad_(False)


def test_maps_that_are_zero_stay_numbers() -> None:
    assert torch.equal(normalize_noise(torch.zeros(2, 1, 8, 8)), torch.zeros(2, 1, 8, 8))


def projector(network: StyleGAN2 | None = None, steps: int = 40) -> Projector:
    return Projector("projector", network or noisy(), Structure()).over(steps)


@pytest.fixture
def x() -> Tensor:
    """Pictures of other codes and other noise."""
    draws = noisy()
    torch.manual_seed(3)
    w = draws.w_plus(draws.mapping(torch.randn(2, 8)))
    return torch.nn.functional.interpolate(draws(w, noise="random"), (256, 256), mode="bilinear")


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
def test_the_rate_rises_and_falls(t: float, factor: float) -> None:
    assert float(learning_rate_ramp(torch.tensor([t]))) == pytest.approx(factor, abs=1e-6)


def test_self_likeness_by_hand() -> None:
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


def test_maps_are_normalised_each_by_itself() -> None:
    noise = normalize_noise(3 + torch.tensor([1.0, 5.0]).view(2, 1, 1, 1) * torch.randn(2, 1, 8, 8))
    torch.testing.assert_close(noise.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(noise.square().mean(dim=(1, 2, 3)), torch.ones(2))


def test_the_spread_of_w() -> None:
    one = projector()
    z = torch.randn(10_000, 8, generator=torch.Generator().manual_seed(123))
    w = one.generator.mapping(z).double().numpy()
    expected = math.sqrt(((w - w.mean(axis=0)) ** 2).sum() / 10_000)
    assert float(one.w_std(torch.device("cpu"))) == pytest.approx(expected, rel=1e-4)


def test_noise_on_the_vector_fades(x: Tensor) -> None:
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


def test_codes_are_of_one_vector_and_noise_is_kept_as_a_change(x: Tensor) -> None:
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
    assert not torch.equal(state.patch["noise_6"][0], state.patch["noise_6"][1])  # each picture's own
    assert steps_made(state).tolist() == [4, 4]


def test_it_finds_pictures_and_noise_keeps_unlike_itself(x: Tensor) -> None:
    one = projector(steps=60)
    result = invert(x, one, 60)
    assert (result.steps[60].l2 < 0.5 * result.steps[0].l2).all()
    largest = max(noise_maps(one.generator), key=lambda name: noise_maps(one.generator)[name].numel())
    noise = noise_maps(one.generator)[largest] + result.patch[largest].float()
    assert float(noise_regularization(noise).max()) < 1e-2


def test_without_noise_inputs_there_is_no_noise(x: Tensor) -> None:
    network = tiny.generator()
    network.w_avg.copy_(network.w_avg[:1].expand_as(network.w_avg))
    result = invert(x, projector(network, 20), 20)
    assert not result.patch
    assert (result.steps[20].l2 < result.steps[0].l2).all()


def test_pictures_of_a_batch_are_projected_as_if_alone(x: Tensor) -> None:
    both, alone = invert(x, projector(steps=12), 12, keep="last"), invert(x[1:], projector(steps=12), 12, keep="last")
    torch.testing.assert_close(both.w[1:], alone.w, rtol=2e-2, atol=2e-3)  # sums in another order, through Adam


def test_the_ramps_are_laid_out_over_the_steps_there_are(x: Tensor) -> None:
    laid = Projector("projector", noisy(), Structure())
    assert laid.steps == 1000
    assert laid.over(10).steps == 10
    assert laid.steps == 1000
    seen = []
    invert(x[:1], laid, 4, on_step=lambda k, state, l2: seen.append(state.w[0, 0]))
    moved = [float((b - a).abs().max()) for a, b in pairwise(seen)]
    assert moved[0] == pytest.approx(0, abs=1e-6)  # the rate rises from 0
    assert moved[1] == pytest.approx(0.1, rel=0.5)


def test_after_another_method_it_goes_on_from_its_codes_mean(x: Tensor) -> None:
    one = projector(steps=100)
    w = one.generator.start(2) + torch.randn(2, 8, tiny.W_DIM)
    state = one.step(x, State(w, one.generator(w)))  # at the first step the rate is 0
    torch.testing.assert_close(state.w[:, 0], w.mean(dim=1))


# --- PTI's pivot


def pivot(network: StyleGAN2 | None = None, steps: int = 40) -> PTIPivot:
    return PTIPivot("pti-pivot", network or noisy(), Structure()).over(steps)


def test_the_pivot_begins_at_the_mean_of_600_codes_of_the_published_random_numbers(x: Tensor) -> None:
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


def test_the_pivots_noise_is_dropped(x: Tensor) -> None:
    result = invert(x, pivot(steps=30), 30, keep_w=True)
    assert not result.patch
    torch.testing.assert_close(result.images, noisy()(result.w))
    assert torch.equal(result.w, result.w[:, :1].expand_as(result.w))
    assert (result.steps[30].l2 < result.steps[0].l2).all()
    moved = (result.w_steps[:, 12, 0] - result.w_steps[:, 11, 0]).abs().max()
    assert 0.002 < float(moved) < 0.02, "a step of Adam at a rate of 0.01"


def test_another_seed_gives_other_noise(x: Tensor) -> None:
    for kind in (projector, pivot):
        codes = {}
        for seed in (0, 0, 1):
            one = kind(steps=6)
            one.seed = seed
            found = invert(x[:1], one, 6, keep="last").w
            assert torch.equal(codes.setdefault(seed, found), found)
        assert not torch.equal(codes[0], codes[1])
