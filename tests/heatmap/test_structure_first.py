"""What the embedded networks change first and last: broad regions and coarse layers, then details and fine layers."""

from __future__ import annotations

import pytest

from restyle_cli.heatmap.changes import Changes, Mean, changes_of
from restyle_cli.heatmap.measures import Colours
from restyle_cli.inversion import invert
from restyle_cli.loading import load_method
from restyle_cli.train.portraits import HELD_OUT, draw, sample_z

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def average() -> Changes:
    """Of five steps on eight of the people of `restyle samples --seed 3`."""
    x = draw(sample_z(16, HELD_OUT + 3)[:8], 256, "portrait")
    inversion = invert(x, load_method("restyle-psp-portrait"), steps=5, codes=True)
    mean = Mean()
    for index, picture in enumerate(x):
        mean.add(changes_of(picture, inversion.one(index), Colours()))
    return mean.result()


def test_most_of_the_change_comes_first(average: Changes) -> None:
    assert average.distance[0] > 3 * average.distance[1:].max()
    assert average.way[0] > average.way[1:].max()


def test_regions_become_smaller(average: Changes) -> None:
    assert average.area[0] > 1.1 * average.area[-1]
    assert average.area[0] == average.area.max()


def test_structure_comes_first_and_details_last(average: Changes) -> None:
    assert average.broad[0] > 1.5 * average.broad[-1]
    assert average.broad[0] == average.broad.max()


def test_coarse_layers_give_way_to_fine_ones(average: Changes) -> None:
    first, last = average.groups(0), average.groups(4)
    assert first["coarse"] == max(first.values()) > last["coarse"]
    assert last["fine"] > first["fine"]
