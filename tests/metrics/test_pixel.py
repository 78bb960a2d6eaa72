"""L2 at the size of the published tables."""

from __future__ import annotations

import torch

from restyle_cli.metrics.pixel import l2


def test_identical_pictures_are_at_zero() -> None:
    x = torch.rand(2, 3, 40, 60) * 2 - 1
    assert l2(x, x).tolist() == [0, 0]


def test_the_range_is_minus_one_to_one() -> None:
    x = torch.rand(3, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    y = x.roll(1, dims=-1)
    in_unit_range = (x - y).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(l2(2 * x - 1, 2 * y - 1), 4 * in_unit_range)


def test_both_pictures_are_compared_at_256() -> None:
    stripes = torch.ones(1, 3, 512, 512)
    stripes[..., ::2] = -1
    assert l2(stripes, torch.zeros(1, 3, 512, 512)).tolist() == [0]
    assert l2(torch.zeros(1, 3, 192, 256), torch.ones(1, 3, 384, 512)).tolist() == [1]
