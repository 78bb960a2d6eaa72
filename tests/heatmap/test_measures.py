"""The measures of change: per pixel, how concentrated, how broad."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from restyle_cli.errors import RestyleError
from restyle_cli.heatmap.measures import broad_share, half_area, lab, load_lpips, lpips_maps
from restyle_cli.perceptual.lpips import LPIPS, LPIPSConfig


def noise(count: int, size: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def network() -> LPIPS:
    torch.manual_seed(0)
    return LPIPS(LPIPSConfig((8, 8, 8, 8, 8))).eval().requires_grad_(False)


def test_lab_equals_skimage() -> None:
    images = noise(2)
    rgb = ((images + 1) / 2).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(lab(images), rgb2lab(rgb), atol=1e-3)  # float32, of 100


def test_equal_images_have_not_changed() -> None:
    maps = lpips_maps(network(), noise(1).expand(3, -1, -1, -1))
    assert maps.shape == (2, 64, 64)
    assert not maps.any()


def test_lpips_maps_average_to_lpips() -> None:
    images = noise(3, 128)
    lpips = network()
    maps = lpips_maps(lpips, images)
    expected = lpips(images[:-1], images[1:])
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), expected, rtol=0.05)  # resizing weights the borders


def test_lpips_maps_show_where() -> None:
    before = noise(1, 128)
    after = before.clone()
    after[..., :32, :32] *= -1
    (heat,) = lpips_maps(network(), torch.cat([before, after]))
    assert heat[:32, :32].mean() > 5 * heat[64:, 64:].mean()


def test_a_missing_file_of_lpips_is_an_error(without_lpips: None) -> None:
    with pytest.raises(RestyleError, match="lpips-alex") as caught:
        load_lpips(torch.device("cpu"))
    assert "install restyle again" in str(caught.value.hint)


def test_half_area() -> None:
    even, spot, none = np.ones((10, 10)), np.zeros((10, 10)), np.zeros((10, 10))
    spot[3, 4] = 1
    areas = half_area(np.stack([even, spot, none]).astype(np.float32))
    assert areas.tolist() == pytest.approx([0.49, 0.0, 0.0])  # pixels before half is reached


def test_broad_changes_remain_after_a_blur() -> None:
    grey = torch.zeros(1, 3, 64, 64)
    half, stripes = grey.clone(), grey.clone()
    half[..., 32:] = 0.5
    stripes[..., ::2] = 0.5
    stripes[..., 1::2] = -0.5
    assert broad_share(torch.cat([grey, half]))[0] > 0.9
    assert broad_share(torch.cat([grey, stripes]))[0] < 0.1
    assert broad_share(torch.cat([grey, grey]))[0] == 0
