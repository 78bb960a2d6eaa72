"""Each resampling against its definition."""

import pytest
import torch

from restyle_cli.ops import fir

SHAPES = [(1, 1, 4, 4), (2, 3, 6, 10), (3, 5, 16, 8)]
ROUNDING = 1e-6  # sixteen products of order 1


@pytest.mark.parametrize("shape", SHAPES)
def test_fast_forms_equal_the_definition(shape):
    x = torch.randn(shape)
    assert torch.allclose(fir.upsample2(x), fir.resample_plain(x, up=2, pad=(2, 1), gain=4.0), atol=ROUNDING)
    assert torch.allclose(fir.downsample2(x), fir.resample_plain(x, down=2, pad=(1, 1)), atol=ROUNDING)
    assert torch.allclose(fir.blur(x, 1, 4.0), fir.resample_plain(x, pad=(1, 1), gain=4.0), atol=4 * ROUNDING)


def test_upsampling_keeps_a_flat_image_flat_inside():
    flat = fir.upsample2(torch.full((1, 2, 8, 8), 0.7))
    assert flat.shape == (1, 2, 16, 16)
    assert torch.allclose(flat[:, :, 2:-2, 2:-2], torch.tensor(0.7), atol=ROUNDING)


def test_gradients_agree():
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    (fast,) = torch.autograd.grad((fir.upsample2(x) * weights).sum(), x)
    (plain,) = torch.autograd.grad((fir.resample_plain(x, up=2, pad=(2, 1), gain=4.0) * weights).sum(), x)
    assert torch.allclose(fast, plain, atol=1e-12)
