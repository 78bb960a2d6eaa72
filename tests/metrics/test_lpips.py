"""LPIPS through the catalog's file against the library itself."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from restyle_cli.metrics import choose


def alexnet(**options: object) -> SimpleNamespace:
    """AlexNet's convolutions as torchvision numbers them: the library takes them from there."""
    pool = [nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)]
    features = [nn.Conv2d(3, 64, 11, 4, 2), *pool, nn.Conv2d(64, 192, 5, 1, 2), *pool]
    for channels in ((192, 384), (384, 256), (256, 256)):
        features += [nn.Conv2d(*channels, 3, 1, 1), nn.ReLU(inplace=True)]
    return SimpleNamespace(features=nn.Sequential(*features))


def test_the_librarys_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    vision = ModuleType("torchvision")
    vision.models = SimpleNamespace(alexnet=alexnet)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", vision)
    lpips = pytest.importorskip("lpips")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    convs = {key: value for key, value in theirs.net.state_dict().items() if key.startswith("slice")}
    published = {f"features.{key.split('.', 1)[1]}": value for key, value in convs.items()}
    torch.save(published, Path(os.environ["RESTYLE_HOME"]) / "alexnet-owt-7be5be79.pth")

    x, y = torch.rand(2, 3, 3, 256, 256) * 2 - 1
    (metric,) = choose(["lpips"]).metrics
    with torch.no_grad():
        torch.testing.assert_close(metric.measure(x, y), theirs(x, y).flatten(), rtol=1e-5, atol=1e-6)
        assert metric.measure(x, x).tolist() == [0] * 3
    assert [entry.name for entry, _ in metric.networks] == ["lpips-alex"]
