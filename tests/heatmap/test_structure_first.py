"""What the bundled models change first and last: broad regions and coarse layers, then details and fine layers."""

from __future__ import annotations

import pytest
import torch

from restyle_cli.data.looks import looks, sample_z
from restyle_cli.data.portraits import HELD_OUT, draw_looks
from restyle_cli.heatmap.changes import Changes, Mean, changes_of
from restyle_cli.heatmap.measures import load_lpips
from restyle_cli.inversion import invert
from restyle_cli.models import load_method

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def average() -> Changes:
    """Of five steps on the first six people of `restyle samples --seed 3`."""
    x = draw_looks(looks(sample_z(16, HELD_OUT + 3)[:6]), 256, finer=1)
    inversion = invert(x, load_method("restyle-psp-portrait"), steps=5, keep_w=True)
    mean, lpips = Mean(), load_lpips(torch.device("cpu"))
    for index, image in enumerate(x):
        mean.add(changes_of(image, inversion.one(index), lpips))
    return mean.result()


def test_most_of_the_change_comes_first(average: Changes) -> None:
    assert average.distance[0] > 3 * average.distance[1:].max()
    assert average.way[0] > average.way[1:].max()


def test_regions_become_smaller(average: Changes) -> None:
    assert average.area[0] > 1.03 * average.area[-1]
    assert average.area[0] == average.area.max()


def test_most_of_the_first_change_is_broad_and_of_the_last_small(average: Changes) -> None:
    assert average.broad[0] == average.broad.max()
    assert average.broad[0] > 0.6 > 0.5 > average.broad[-1]


def test_coarse_layers_lead_at_first_and_fine_ones_at_last(average: Changes) -> None:
    coarse, fine = ([average.groups(k)[name] for k in range(5)] for name in ("coarse", "fine"))
    first, last = average.groups(0), average.groups(4)
    assert first["coarse"] == max(first.values()) and last["fine"] == max(last.values())
    assert coarse == sorted(coarse, reverse=True) and fine == sorted(fine)
