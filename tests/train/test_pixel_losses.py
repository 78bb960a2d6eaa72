"""Loss terms."""

import pytest
import torch

from restyle_cli.errors import RestyleError
from restyle_cli.train.pixel_losses import feature_weights, pixel_loss


def test_terms_by_hand():
    target = torch.zeros(1, 1, 2, 2)
    image = torch.tensor([[[[1.0, 0.0], [0.0, -1.0]]]])
    assert float(pixel_loss(image, target, {"l1": 1.0})) == pytest.approx(0.5)
    assert float(pixel_loss(image, target, {"l2": 2.0})) == pytest.approx(1.0)
    # Across: -1, -1; down: -1, -1.
    assert float(pixel_loss(image, target, {"gradient_l1": 1.0})) == pytest.approx(2.0)
    assert float(pixel_loss(image, target, {"gradient_l2": 0.5})) == pytest.approx(1.0)


def test_equal_pictures_lose_nothing():
    x = torch.randn(2, 3, 16, 16)
    every = {"l1": 1.0, "l2": 1.0, "gradient_l1": 1.0, "gradient_l2": 1.0}
    assert float(pixel_loss(x, x, every, focus=2.0)) == 0


def test_focus_weighs_the_features_more_and_keeps_the_mean():
    weights = feature_weights(64, 2.0, torch.zeros(1))
    assert float(weights.mean()) == pytest.approx(1.0, abs=1e-5)
    assert weights[0, 0, 38, 32] > 2.5 * weights[0, 0, 2, 2]


def test_unknown_term():
    with pytest.raises(RestyleError, match="no loss named 'lpips2'"):
        pixel_loss(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), {"lpips2": 1.0})
