"""Means and standard errors against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from restyle_cli.evaluate.figures import format_value, titles
from restyle_cli.evaluate.summary import Mean
from restyle_cli.metrics.metric import Column


def test_mean_and_standard_error() -> None:
    values = np.random.default_rng(0).normal(1e6, 1.0, 1000)  # far from 0: squares that cancel would show
    mean = Mean()
    for value in values:
        mean.add(float(value))
    assert mean.value == pytest.approx(values.mean(), rel=1e-14)
    assert mean.error == pytest.approx(values.std(ddof=1) / np.sqrt(1000), rel=1e-9)


def test_one_number_has_no_error() -> None:
    mean = Mean()
    assert mean.error is None
    mean.add(3.0)
    assert (mean.value, mean.error) == (3.0, None)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(None, None, "—"), (0.01234567, None, "0.0123"), (0.5, 0.01, "0.5000 ± 0.0100"), (461.29, None, "461.3")],
)
def test_shown(value: float | None, error: float | None, text: str) -> None:
    assert format_value(value, error) == text


def test_columns_come_in_the_papers_order() -> None:
    columns = [Column("l2", "L2"), Column("id/dlib", "ID dlib")]
    assert list(titles(columns, ["fid", "lpips"])) == ["l2", "lpips", "id/dlib", "fid"]
