"""Which metrics are chosen, and the reasons for missing ones."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
import torch

from restyle_cli import metrics
from restyle_cli.errors import UsageError
from restyle_cli.metrics import METRICS, Missing, choose
from restyle_cli.metrics.base import Metric


def test_by_default_all_that_are_installed() -> None:
    chosen = choose()
    assert [metric.name for metric in chosen.metrics] == ["l2", "lpips", "ms_ssim", "id/dlib"]
    assert list(chosen.missing) == ["fid"]
    assert "Inception" in chosen.missing["fid"].message


def test_a_metric_whose_file_is_missing_is_left_out(without_lpips: None) -> None:
    chosen = choose()
    assert [metric.name for metric in chosen.metrics] == ["l2", "ms_ssim", "id/dlib"]
    assert list(chosen.missing) == ["lpips", "fid"]
    assert "install restyle again" in str(chosen.missing["lpips"].hint)
    with pytest.raises(Missing, match="lpips"):
        choose(["lpips"])


def test_images_without_faces_have_no_identity() -> None:
    chosen = choose(identities=())
    assert [metric.name for metric in chosen.metrics] == ["l2", "lpips", "ms_ssim"]
    assert "not faces" in chosen.missing["id"].message
    assert [metric.name for metric in choose(["id"], identities=()).metrics] == ["id/dlib"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("id/curricularface", "weights get curricularface"), ("fid", "choose from")],
)
def test_a_missing_metric_asked_for_by_name_is_an_error(name: str, hint: str) -> None:
    with pytest.raises(Missing, match=name) as caught:
        choose(["l2", name])
    assert hint in str(caught.value.hint)


def test_an_unknown_metric() -> None:
    with pytest.raises(UsageError, match="'lpps'") as caught:
        choose(["lpps"])
    assert caught.value.hint == "did you mean 'lpips'?"
    with pytest.raises(UsageError, match="no metric"):
        choose([])


def test_one_metric_under_two_names_is_measured_once() -> None:
    assert [metric.name for metric in choose(["id", "id/dlib", "l2"]).metrics] == ["id/dlib", "l2"]


def test_without_dlib_there_is_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **options: Any) -> Any:
        if name == "dlib":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    missing = choose().missing["id"]
    assert "pip install dlib-bin" in str(missing.hint)
    with pytest.raises(Missing):
        choose(["id"])


def test_every_metric_prefers_equal_images() -> None:
    equal = {"l2": [0], "lpips": [0], "structure": [0], "ms_ssim": [1], "id/dlib": [1, 0]}
    x = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    measured = []
    for name in METRICS.names():
        try:
            metric: Metric = METRICS.load(name)()
        except Missing:
            continue
        measured.append(name)
        assert metric.measure(x, x.clone()).reshape(2, -1).tolist() == [equal[name]] * 2, name
        apart = metric.measure(x, x.flip(0)).reshape(2, -1)
        for column, value, best in zip(metric.columns, apart[0].tolist(), equal[name], strict=True):
            assert value < best if column.better == "higher" else value > best
    assert measured == list(equal)
    assert set(metrics.IDENTITIES) < set(METRICS.names())


def test_the_features_of_other_targets_are_computed_anew() -> None:
    x, y, z = torch.rand(3, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    (metric,) = choose(["lpips"]).metrics
    values = [float(metric.measure(a, b)) for a, b in ((x, z), (x, y), (y, z), (x, z))]
    assert values[0] == values[3]
    assert len(set(values)) == 3
