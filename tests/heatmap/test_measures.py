"""How change is measured: at each place, how concentrated, how broad."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import deltaE_cie76, rgb2lab

from restyle_cli.heatmap.measures import ColourDistance, LPIPSDistance, broad_share, choose_measure, half_area, lab
from restyle_cli.perceptual.lpips import LPIPS, LPIPSConfig


def noise(count: int, size: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def network() -> LPIPS:
    torch.manual_seed(0)
    return LPIPS(LPIPSConfig((8, 8, 8, 8, 8))).eval().requires_grad_(False)


def test_lab_is_that_of_the_library() -> None:
    pictures = noise(2)
    rgb = ((pictures + 1) / 2).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(lab(pictures), rgb2lab(rgb), atol=1e-3)  # float32, of 100


def test_colours_change_where_they_do_and_by_how_much() -> None:
    before = torch.zeros(1, 3, 64, 64)
    after = before.clone()
    after[:, 0, :, 32:] = 0.5
    (heat,) = ColourDistance().maps(torch.cat([before, after]))
    rgb = [((p[0] + 1) / 2).permute(1, 2, 0).numpy() for p in (before, after)]
    exact = deltaE_cie76(rgb2lab(rgb[0]), rgb2lab(rgb[1]))
    assert heat[:, :24].max() < 0.05  # blurred, but not so far
    np.testing.assert_allclose(heat[:, 40:], exact[:, 40:], rtol=0.01)
    assert heat[32, 31] == pytest.approx(0.31 * exact[0, 63], rel=0.05)  # half a sigma from the edge


def test_equal_pictures_have_not_changed() -> None:
    same = noise(1).expand(3, -1, -1, -1)
    for measure in (ColourDistance(), LPIPSDistance(network(), torch.device("cpu"))):
        maps = measure.maps(same)
        assert maps.shape == (2, 64, 64)
        assert not maps.any()


def test_lpips_maps_average_to_lpips() -> None:
    pictures = noise(3, 128)
    judge = network()
    maps = LPIPSDistance(judge, torch.device("cpu")).maps(pictures)
    wanted = judge(pictures[:-1], pictures[1:])
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), wanted, rtol=0.05)  # bringing maps to full size weighs edges


def test_lpips_maps_show_where() -> None:
    before = noise(1, 128)
    after = before.clone()
    after[..., :32, :32] *= -1
    (heat,) = LPIPSDistance(network(), torch.device("cpu")).maps(torch.cat([before, after]))
    assert heat[:32, :32].mean() > 5 * heat[64:, 64:].mean()


def test_colours_are_measured_where_the_file_of_lpips_is_missing(without_lpips: None) -> None:
    assert choose_measure(torch.device("cpu")).name == "lab"


def test_half_of_a_change() -> None:
    even, spot, none = np.ones((10, 10)), np.zeros((10, 10)), np.zeros((10, 10))
    spot[3, 4] = 1
    areas = half_area(np.stack([even, spot, none]).astype(np.float32))
    assert areas.tolist() == pytest.approx([0.49, 0.0, 0.0])  # what lies before the half is reached


def test_broad_changes_outlive_a_blur() -> None:
    grey = torch.zeros(1, 3, 64, 64)
    half, stripes = grey.clone(), grey.clone()
    half[..., 32:] = 0.5
    stripes[..., ::2] = 0.5
    stripes[..., 1::2] = -0.5
    assert broad_share(torch.cat([grey, half]))[0] > 0.9
    assert broad_share(torch.cat([grey, stripes]))[0] < 0.1
    assert broad_share(torch.cat([grey, grey]))[0] == 0
