"""MS-SSIM against what the published script gives, and against a library where that computes the same."""

from __future__ import annotations

import parity
import pytest
import pytorch_msssim
import torch

from restyle_cli.metrics.pixel import ms_ssim


@pytest.mark.parametrize(("name", "share"), [("same", 0.0), ("near", 0.1), ("half", 0.4), ("far", 1.0)])
def test_ms_ssim_is_the_originals(name: str, share: float) -> None:
    a, b = parity.picture("result"), parity.picture("gt")
    value = float(ms_ssim(a, (1 - share) * a + share * b))
    error, limit = abs(value - float(parity.outputs("msssim")[name])), parity.limit("msssim", name)
    print(f"msssim {name}: greatest difference {error:.2e}, limit {limit:.2e}")
    assert error <= limit


def test_contradicting_images_are_at_zero_where_the_original_has_nan() -> None:
    x = parity.picture("result")
    assert ms_ssim(x, -x).tolist() == [0]


def test_pairs_have_their_own_value_at_any_size_and_precision() -> None:
    x = torch.cat([parity.picture("result"), parity.picture("gt")])
    y = x.flip(0)
    y[0] = x[0]
    values = ms_ssim(x, y)
    assert values.shape == (2,)
    assert values[0] == 1 > values[1]
    assert values[1] == ms_ssim(x[1:], y[1:])
    large = torch.nn.functional.interpolate(x, scale_factor=2)
    torch.testing.assert_close(ms_ssim(large, y), values)
    assert ms_ssim(x.bfloat16(), x.bfloat16()).max() <= 1


def test_grey_images_have_the_librarys_value() -> None:
    x, y = (parity.picture(name)[:, :1].expand(-1, 3, -1, -1) for name in ("result", "gt"))
    expected = pytorch_msssim.ms_ssim(x, (x + y) / 2, data_range=2, size_average=False)
    torch.testing.assert_close(ms_ssim(x, (x + y) / 2), expected, rtol=1e-5, atol=1e-5)
