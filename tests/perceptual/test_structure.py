"""What stands in for LPIPS."""

from __future__ import annotations

import pytest
import torch

from restyle_cli.perceptual.structure import Structure

compare = Structure()


def images(n: int = 3, side: int = 64) -> torch.Tensor:
    """Smooth coloured noise in [-1, 1]."""
    noise = torch.randn(n, 3, side // 4, side // 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(noise, scale_factor=4, mode="bicubic").clamp(-1, 1)


def test_equal_images_have_distance_zero_and_no_gradient() -> None:
    x = images().requires_grad_(True)
    distance = compare(x, x.detach())
    assert distance.shape == (3,)
    torch.testing.assert_close(distance, torch.zeros(3), atol=1e-5, rtol=0)  # variances are differences of float32
    (gradient,) = torch.autograd.grad(distance.sum(), x)
    assert gradient.isfinite().all()
    assert float(gradient.abs().max()) < 1e-4


def test_strangers_are_farther_than_blurred_ones_and_these_than_dimmed_ones() -> None:
    x = images()
    blurred = torch.nn.functional.avg_pool2d(x, 5, stride=1, padding=2, count_include_pad=False)
    stranger, soft, dim = compare(x, x.roll(1, dims=0)), compare(x, blurred), compare(x, x * 0.95)
    assert (stranger > soft).all()
    assert (soft > dim).all()
    assert 0.2 < float(stranger.mean()) < 1.5


def test_each_pair_is_judged_by_itself_and_either_way() -> None:
    x, y = images(), images().flip(-1)
    together = compare(x, y)
    torch.testing.assert_close(together[1:2], compare(x[1:2], y[1:2]))
    torch.testing.assert_close(together, compare(y, x))


@pytest.mark.parametrize("size", [(8, 8), (48, 64), (17, 90)])
def test_any_shape(size: tuple[int, int]) -> None:
    x = torch.rand(1, 3, *size) * 2 - 1
    assert float(compare(x, -x)) > 0.1


def test_descending_it_leads_to_the_image() -> None:
    x = images(1)
    y = torch.zeros_like(x).requires_grad_(True)
    adam = torch.optim.Adam([y], lr=0.05)
    before = float(compare(x, y.detach()))
    for _ in range(60):
        adam.zero_grad()
        compare(x, y).sum().backward()
        adam.step()
    assert float(compare(x, y.detach())) < 0.1 * before
