"""Best and worst images, and the numbers and columns of tables."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from restyle_cli.evaluate.summary import MOST, extremes, format_value, titles
from restyle_cli.metrics.base import Column


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_best_and_worst_are_those_of_sorting_all(better: Literal["lower", "higher"]) -> None:
    values = np.random.default_rng(0).permutation(200) / 7
    best, worst = extremes(values, better)
    ranked = sorted(range(200), key=values.__getitem__, reverse=better == "higher")
    assert (best, worst) == (ranked[:MOST], ranked[: -MOST - 1 : -1])


def test_of_few_images_none_is_in_both_and_of_equal_ones_the_first_come_first() -> None:
    assert extremes(np.ones(6), better="lower") == ([0, 1, 2, 3], [])
    assert extremes(np.arange(6.0), better="lower") == ([0, 1, 2, 3], [5, 4])


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(None, None, "—"), (0.01234567, None, "0.0123"), (0.5, 0.01, "0.5000 ± 0.0100"), (461.29, None, "461.3")],
)
def test_shown(value: float | None, error: float | None, text: str) -> None:
    assert format_value(value, error) == text


def test_columns_come_in_the_papers_order() -> None:
    columns = [Column("l2", "L2"), Column("id/dlib", "ID dlib")]
    assert list(titles(columns, ["fid", "lpips"])) == ["l2", "lpips", "id/dlib", "fid"]
    assert list(titles([Column("sharpness", "sharpness"), *columns], [])) == ["l2", "id/dlib", "sharpness"]
