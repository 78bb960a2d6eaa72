"""L2 at the size of the published tables."""

from __future__ import annotations

import torch
from torch import Tensor

from restyle_cli.metrics import choose
from restyle_cli.metrics.base import compared
from restyle_cli.metrics.pixel import l2


def test_identical_images_are_at_zero() -> None:
    x = torch.rand(2, 3, 40, 60) * 2 - 1
    assert l2(x, x).tolist() == [0, 0]


def test_the_range_is_minus_one_to_one() -> None:
    x = torch.rand(3, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    y = x.roll(1, dims=-1)
    in_unit_range = (x - y).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(l2(2 * x - 1, 2 * y - 1), 4 * in_unit_range)


def test_both_images_are_compared_at_256() -> None:
    stripes = torch.ones(1, 3, 512, 512)
    stripes[..., ::2] = -1
    assert l2(stripes, torch.zeros(1, 3, 512, 512)).tolist() == [0]
    assert l2(torch.zeros(1, 3, 192, 256), torch.ones(1, 3, 384, 512)).tolist() == [1]


def overshooting() -> Tensor:
    """512 px stripes of 3 and -1: a file shows stripes of 1 and -1, which are 0 at 256 px. Pooled first they are 1."""
    stripes = torch.full((1, 3, 512, 512), 3.0)
    stripes[..., ::2] = -1
    return stripes


def test_images_are_clamped_before_they_are_pooled() -> None:
    assert l2(torch.zeros(1, 3, 256, 256), overshooting()).tolist() == [0]
    assert compared(overshooting()).abs().max() == 0


def test_every_metric_compares_what_a_file_shows() -> None:
    torch.manual_seed(0)
    target, wild = torch.rand(1, 3, 300, 300) * 2 - 1, 3 * torch.randn(1, 3, 300, 300)
    for metric in choose(["l2", "ms_ssim", "structure"]).metrics:
        assert torch.equal(metric.measure(target, wild), metric.measure(target, wild.clamp(-1, 1))), metric.name


def test_infinite_values_are_not_measured() -> None:
    image = torch.zeros(1, 3, 256, 256)
    image[0, 0, 0, 0] = torch.inf
    assert not l2(torch.zeros_like(image), image).isfinite().any()
