"""Anderson's acceleration and fitted step lengths on linear problems with known results."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from variants import Anderson, Stretched, fit_lengths, least_squares

from restyle_cli.inversion import iterate
from restyle_cli.methods.encoder import ReStyle

SIDE = 4


class LatentImages(nn.Module):
    """A generator whose images are their latents, 3 layers of SIDE² numbers."""

    layers, size = 3, (SIDE, SIDE)

    def start(self, n: int) -> Tensor:
        return torch.zeros(n, 3, SIDE**2)

    def forward(self, w: Tensor, patch: object = None) -> Tensor:
        return w.view(len(w), 3, SIDE, SIDE)


class Gains(nn.Module):
    """An encoder that corrects a part of the error, another part in each layer."""

    def __init__(self, *gains: float) -> None:
        super().__init__()
        self.gains = torch.tensor(gains)[:, None]

    def forward(self, pair: Tensor) -> Tensor:
        return self.gains * (pair[:, :3] - pair[:, 3:]).flatten(2)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def reached(x: Tensor, method: ReStyle, steps: int) -> Tensor:
    """The mean square error after so many steps."""
    *_, last = iterate(x, [method] * steps)
    return (last.image - x).square().mean()


@pytest.mark.parametrize("by_images", [False, True])
def test_a_window_of_two_solves_two_unknown_gains(x: Tensor, by_images: bool) -> None:
    plain = ReStyle("plain", Gains(0.1, 0.5, 0.5), LatentImages())
    fast = Anderson(plain, window=2, ridge=0.0, by_images=by_images)
    assert reached(x, plain, 3) > 0.1
    assert reached(x, fast, 3) < 1e-6  # a linear map with two eigenvalues: exact after the third step but for rounding


def test_the_first_step_is_plain(x: Tensor) -> None:
    plain = ReStyle("plain", Gains(0.1, 0.5, 0.9), LatentImages())
    assert reached(x, Anderson(plain, 2, damping=0.5), 1) == reached(x, plain, 1)


def test_guarded_discards_a_history_that_raised_the_error(x: Tensor) -> None:
    wild = ReStyle("wild", Gains(3.0, 3.0, 3.0), LatentImages())  # every plain step doubles the error
    assert reached(x, Anderson(wild, 2, ridge=0.0), 2) < 1e-9
    assert reached(x, Anderson(wild, 2, ridge=0.0, guarded=True), 2) == pytest.approx(float(reached(x, wild, 2)))


def test_least_squares_agrees_with_torch() -> None:
    rows, target = torch.randn(3, 2, 7), torch.randn(3, 7)
    expected = torch.linalg.lstsq(rows.mT, target[:, :, None]).solution[..., 0]
    torch.testing.assert_close(least_squares(rows, target, 0.0), expected, atol=1e-4, rtol=1e-4)


def test_fitted_lengths_correct_an_encoder_with_small_steps(x: Tensor) -> None:
    shy = ReStyle("shy", Gains(0.8, 0.8, 0.5), LatentImages())
    lengths = fit_lengths(shy, x, steps=1, groups=3, rounds=60)
    torch.testing.assert_close(lengths, torch.tensor([[1.25, 1.25, 2.0]]), atol=0.03, rtol=0)
    assert reached(x, Stretched(shy, lengths), 1) < 0.01 * reached(x, shy, 1)
