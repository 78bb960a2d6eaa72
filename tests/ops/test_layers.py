"""Equalised layers."""

import torch

from restyle_cli.ops.layers import EqualConv2d, EqualLinear, leaky_relu, pixel_norm


def test_linear_is_scaled_at_run_time():
    layer = EqualLinear(64, 32, bias_init=1.0, lr_mul=0.01)
    x = torch.randn(5, 64)
    wanted = x @ (layer.weight * 0.01 / 8).t() + layer.bias * 0.01
    assert torch.allclose(layer(x), wanted, atol=1e-6)
    assert torch.allclose(layer.bias * 0.01, torch.ones(32))
    assert 0.9 < float(EqualLinear(512, 512)(torch.randn(64, 512)).detach().std()) < 1.1


def test_convolution_keeps_size_and_variance():
    y = EqualConv2d(32, 16, 3)(torch.randn(4, 32, 12, 12)).detach()
    assert y.shape == (4, 16, 12, 12)
    assert 0.85 < float(y[..., 1:-1, 1:-1].std()) < 1.15


def test_activation_and_norm():
    x = torch.tensor([-1.0, 2.0])
    assert torch.allclose(leaky_relu(x), torch.tensor([-0.2, 2.0]) * 2**0.5)
    assert torch.allclose(pixel_norm(torch.randn(3, 40) * 9).square().mean(dim=1), torch.ones(3), atol=1e-5)
